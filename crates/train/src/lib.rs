//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
//!
//! # Layout
//! - [`cli`], [`config`]: the command line, and the one configuration that comes of it.
//! - [`run`]: what each command does, as a handful of steps.
//! - [`algorithms`]: how a policy learns, a file an algorithm.
//! - [`networks`]: what an algorithm sees of a network, and libtorch, which computes it.
//! - [`training`]: what every training shares, whatever the algorithm: its server, its directory, checkpoints,
//!   resumption, metrics, several runs as one.
//! - [`judgement`]: the policy and its baselines on days that it never saw, and what chance explains of it.
//! - [`report`]: what a run has to show, for programs, in spreadsheets, in a browser, and at the end.
pub mod algorithms;
pub mod cli;
pub mod config;
pub mod judgement;
pub mod networks;
#[cfg(test)]
mod probe;
pub mod report;
pub mod run;
pub mod training;
