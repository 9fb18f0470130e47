//! What every training shares, whatever the algorithm.
//!
//! # Layout
//! - [`learn`]: one training, from the server to the report; [`group`]: several runs as one; [`window`]: the days of
//!   a walk forward.
//! - [`server`]: the server of a command; [`stop`]: being asked to stop; [`memory`]: whether it fits.
//! - [`journal`]: what a run does with what an algorithm tells it.
//! - [`run_directory`], [`checkpoint`], [`metrics`], [`tensorboard`], [`files`]: what a run leaves while it learns.
//! - [`validation`]: which of a training's policies is judged.
pub mod checkpoint;
pub mod files;
pub mod group;
pub mod journal;
pub mod learn;
pub mod memory;
pub mod metrics;
pub mod run_directory;
pub mod server;
pub mod stop;
pub mod tensorboard;
pub mod validation;
pub mod window;
