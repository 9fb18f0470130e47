//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
//!
//! # Layout
//! - [`cli`], [`config`]: the command line, and the one configuration that comes of it.
//! - [`run`]: what each command does, as a handful of steps.
//! - [`env`]: the environments as an algorithm sees them.
//! - [`ppo`]: proximal policy optimisation, in one file.
//! - [`rollout`]: the transitions of one update, and their advantages.
//! - [`reward_scaler`]: brings rewards to unit size.
//! - [`learner`]: all that an algorithm sees of a network.
//! - [`network`]: shapes, places and first values of the parameters.
//! - [`policy`]: distributions over actions.
//! - [`torch`]: the learner that stands on libtorch; [`device`]: where it lives and with how many threads.
//! - [`aligned`]: memory that starts on a cache line.
//! - [`validation`]: which of a training's policies is judged.
//! - [`run_directory`], [`checkpoint`], [`metrics`], [`tensorboard`]: what a run leaves while it learns.
//! - [`play`]: one continuous episode a symbol, traced; [`act`]: what the policy wants to hold, bar by bar.
//! - [`evaluate`]: the policy and its baselines on held-out days; [`history`]: accounts bar by bar, and trades;
//!   [`statistics`]: what is said of them; [`bootstrap`], [`deflated_sharpe`], [`probability`]: how much of it
//!   chance explains.
//! - [`origin`]: what a policy learnt from, held against what it is judged on.
//! - [`report`], [`page`], [`summary`]: what a run has to show, for programs, in a browser, and at the end.
pub mod act;
pub mod aligned;
pub mod bootstrap;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod deflated_sharpe;
pub mod device;
pub mod env;
pub mod evaluate;
pub mod history;
pub mod learner;
pub mod metrics;
pub mod network;
pub mod origin;
pub mod page;
pub mod play;
pub mod policy;
pub mod ppo;
pub mod probability;
#[cfg(test)]
mod probe;
pub mod report;
pub mod reward_scaler;
pub mod rollout;
pub mod run;
pub mod run_directory;
pub mod statistics;
pub mod summary;
pub mod tensorboard;
pub mod torch;
pub mod validation;
