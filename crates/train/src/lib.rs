//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
//!
//! # Layout
//! What every run shares, whatever the algorithm:
//! - [`cli`], [`config`]: the command line, and the one configuration that comes of it; [`hyper`]: how an
//!   algorithm declares its part of both; [`schedule`]: values that change over a training.
//! - [`run`]: what each command does, as a handful of steps; [`learn`]: one training; [`group`], [`group_report`]: several runs as one; [`window`]: the days
//!   of a walk forward; [`stop`]: being asked to stop.
//! - [`server`]: the server of a command; [`env`]: the environments as an algorithm sees them.
//! - [`task`]: what a run and an algorithm say to each other; [`journal`]: what a run does with what it is told.
//! - [`run_directory`], [`checkpoint`], [`metrics`], [`tensorboard`], [`files`]: what a run leaves while it learns.
//! - [`validation`]: which of a training's policies is judged.
//!
//! Algorithms, a file each:
//! - [`algorithm`]: the list of them.
//! - [`ppo`]: proximal policy optimisation; [`rollout`]: the transitions of one update, and their advantages;
//!   [`reward_scaler`]: brings rewards to unit size.
//! - [`openes`]: the evolution strategy of Salimans et al.; [`cem`]: the cross-entropy method; [`ars`]: augmented random search;
//!   [`evolution`]: all that these three share.
//!
//! Networks:
//! - [`learner`]: all that an algorithm sees of a network; [`network`]: shapes, places and first values of the
//!   parameters; [`policy`]: distributions over actions; [`aligned`]: memory that starts on a cache line.
//! - [`torch`]: the learner that stands on libtorch; [`device`]: where it can live; [`measure`]: where it is
//!   fastest.
//!
//! Judgement:
//! - [`play`]: one continuous episode a symbol, traced; [`act`]: what the policy wants to hold, bar by bar.
//! - [`evaluate`]: the policy and its baselines on held-out days; [`history`]: accounts bar by bar, and trades;
//!   [`statistics`]: what is said of them; [`bootstrap`], [`deflated_sharpe`], [`probability`]: how much of it
//!   chance explains.
//! - [`origin`]: what a policy learnt from, held against what it is judged on.
//! - [`report`], [`tables`], [`page`], [`charts`], [`summary`], [`words`]: what a run has to show, for programs, in
//!   spreadsheets, in a browser, and at the end; [`cpu_log`]: what the cores did meanwhile.
pub mod act;
pub mod algorithm;
pub mod aligned;
pub mod ars;
pub mod bootstrap;
pub mod cem;
pub mod charts;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod cpu_log;
pub mod deflated_sharpe;
pub mod device;
pub mod env;
pub mod evaluate;
pub mod evolution;
pub mod files;
pub mod group;
pub mod group_report;
pub mod history;
pub mod hyper;
pub mod journal;
pub mod learn;
pub mod learner;
pub mod measure;
pub mod metrics;
pub mod network;
pub mod openes;
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
pub mod schedule;
pub mod server;
pub mod statistics;
pub mod stop;
pub mod summary;
pub mod tables;
pub mod task;
pub mod tensorboard;
pub mod torch;
pub mod validation;
pub mod window;
pub mod words;
