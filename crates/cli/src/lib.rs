//! What the tools share at the terminal: exit codes, error printing, progress, logging.
//!
//! # Layout
//! - [`exit`]: exit codes, and the one place where an error becomes a line on stderr.
//! - [`progress`]: bars on a terminal, plain lines now and then elsewhere.
//! - [`pages`]: man pages and completions out of a tool's own `clap` definitions.
pub mod exit;
pub mod pages;
pub mod progress;

pub use exit::{Exit, UsageError, run_main};
pub use progress::Progress;
