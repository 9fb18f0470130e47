//! Shows what the cores do beside any process, and tells why they are not used.
//!
//! # Layout
//! - [`cli`], [`config`]: the command line, and the one validated configuration that comes of it.
//! - [`run`]: what the tool does: wrap a command, follow a process, watch the machine.
//! - [`filter`]: standing in a pipe.
//! - [`child`]: the wrapped command: starting, signals, waiting, counting every process that ends.
//! - [`sampling`]: samples on a steady beat, and everybody who gets them: [`record`] and [`csv`] (the file),
//!   [`view`] on a [`terminal`], [`metrics`] (Prometheus).
//! - [`sample`], [`totals`]: one interval, and all of them added up.
//! - [`finding`], [`verdict`]: from numbers to one finding and one piece of advice.
//! - [`summary`], [`words`], [`finish`]: a whole run in numbers, the same in words, and what is done with it.
//! - [`replay`], [`compare`]: files of earlier runs.
//! - [`threads`], [`pools`]: which thread pools a process has, and which variables govern them.
//! - [`talk`]: standard error.
//! - [`platform`]: what each operating system tells, behind one interface.
pub mod child;
pub mod cli;
pub mod compare;
pub mod config;
pub mod csv;
pub mod filter;
pub mod finding;
pub mod finish;
pub mod metrics;
pub mod platform;
pub mod pools;
pub mod record;
pub mod replay;
pub mod run;
pub mod sample;
pub mod sampling;
pub mod summary;
pub mod talk;
pub mod terminal;
pub mod threads;
pub mod totals;
pub mod verdict;
pub mod view;
pub mod words;
