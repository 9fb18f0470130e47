//! Shows what the cores do beside any process, and tells why they are not used.
//!
//! # Layout
//! - [`cli`]: the command line, and the one validated configuration that comes of it.
//! - [`run`]: what the tool does: wrap a command, follow a process, or watch the machine.
//! - [`child`]: the wrapped command: starting, signals, waiting, counting every process that ends.
//! - [`sample`]: what the cores and the processes did in one interval.
//! - [`totals`]: all intervals added up.
//! - [`record`]: the JSON lines on disk.
//! - [`verdict`]: from numbers to one finding and one piece of advice.
//! - [`summary`]: a whole run in numbers.
//! - [`words`]: the same in words, one line or a screen.
//! - [`platform`]: what each operating system tells, behind one interface.
pub mod child;
pub mod cli;
pub mod platform;
pub mod record;
pub mod run;
pub mod sample;
pub mod summary;
pub mod totals;
pub mod verdict;
pub mod words;
