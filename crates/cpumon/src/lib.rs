//! Shows what the cores do beside any process.
