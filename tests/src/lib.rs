//! The harness that finds the real binaries in `target/release` and runs them in a directory of their own.
