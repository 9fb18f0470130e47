//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
//!
//! # Layout
//! - [`env`]: the environments as an algorithm sees them.
//! - [`ppo`]: proximal policy optimisation, in one file.
//! - [`rollout`]: the transitions of one update, and their advantages.
//! - [`reward_scaler`]: brings rewards to unit size.
//! - [`learner`]: all that an algorithm sees of a network.
//! - [`network`]: shapes, places and first values of the parameters.
//! - [`policy`]: distributions over actions.
//! - [`torch`]: the learner that stands on libtorch.
//! - [`aligned`]: memory that starts on a cache line.
pub mod aligned;
pub mod env;
pub mod learner;
pub mod network;
pub mod policy;
pub mod ppo;
pub mod reward_scaler;
pub mod rollout;
pub mod torch;
#[cfg(test)]
mod probe;
