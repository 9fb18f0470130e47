//! Shows what the cores do beside any process, and tells why they are not used.
//!
//! # Layout
//! - [`cli`], [`config`]: the command line, and the one validated configuration that comes of it.
//! - [`run`]: what the tool does: wrap a command, follow a process, watch the machine.
//! - [`filter`]: standing in a pipe.
//! - [`child`]: the wrapped command: starting, signals, waiting, counting every process that ends.
//! - [`sampler`], [`sampling`]: samples on a steady beat, and everybody who gets them: [`record`] and [`table`]
//!   (the file), [`view`] on a [`terminal`], [`metrics`] (Prometheus).
//! - [`sample`], [`losses`], [`totals`], [`history`]: one interval, and all of them added up.
//! - [`evidence`], [`hindrance`], [`verdict`], [`finding`]: from numbers to one finding and one piece of advice.
//! - [`summary`], [`words`], [`finish`]: a whole run in numbers, the same in words, and what is done with it.
//! - [`figures`], [`outfile`], [`talk`]: how numbers, files and standard error are written.
//! - [`replay`], [`compare`]: files of earlier runs.
//! - [`threads`], [`pools`]: which thread pools a process has, and which variables govern them.
//! - [`platform`]: what each operating system tells, behind one interface.
pub mod child;
pub mod cli;
pub mod compare;
pub mod config;
pub mod evidence;
pub mod figures;
pub mod filter;
pub mod finding;
pub mod finish;
pub mod hindrance;
pub mod history;
pub mod losses;
pub mod metrics;
pub mod outfile;
pub mod platform;
pub mod pools;
pub mod record;
pub mod replay;
pub mod run;
pub mod sample;
pub mod sampler;
pub mod sampling;
pub mod summary;
pub mod table;
pub mod talk;
pub mod terminal;
pub mod threads;
pub mod totals;
pub mod verdict;
pub mod view;
pub mod words;
