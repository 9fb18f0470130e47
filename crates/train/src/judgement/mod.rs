//! Policies and baselines on days that they never saw.
//!
//! # Layout
//! - [`play`]: one continuous episode a symbol, traced; [`act`]: what the policy wants to hold, bar by bar.
//! - [`evaluate`]: the policy and its baselines on held-out days; [`history`]: accounts bar by bar, and trades;
//!   [`statistics`]: what is said of them.
//! - [`bootstrap`], [`deflated_sharpe`], [`probability`]: how much of it chance explains.
//! - [`origin`]: what a policy learnt from, held against what it is judged on.
pub mod act;
pub mod bootstrap;
pub mod deflated_sharpe;
pub mod evaluate;
pub mod history;
pub mod origin;
pub mod play;
pub mod probability;
pub mod statistics;
