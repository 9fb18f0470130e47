//! What the tools share at the terminal: exit codes, error printing, progress, logging.
//!
//! # Layout
//! - [`exit`]: exit codes, and the one place where an error becomes a line on stderr.
//! - [`progress`]: bars on a terminal, plain lines now and then elsewhere.
//! - [`talk`]: a line to a person.
//! - [`pages`]: man pages and completions out of a tool's own `clap` definitions.
pub mod exit;
pub mod pages;
pub mod progress;
pub mod talk;

pub use exit::{Exit, UsageError, run_main};
pub use progress::Progress;
pub use talk::say;
