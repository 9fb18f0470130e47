//! Networks: what an algorithm sees of them, and what computes them.
//!
//! # Layout
//! - [`learner`]: all that an algorithm sees of a network.
//! - [`network`]: shapes, places and first values of the parameters, [`orthogonal`] matrices;
//!   [`policy`]: distributions over actions.
//! - [`torch`]: the learner that stands on libtorch; [`device`]: where it can live; [`measure`]: where it is
//!   fastest.
//! - [`small`]: networks that stay in a core's caches, of [`products`] and of what lies between them,
//!   [`elementwise`]; [`functions`]: exponentials and the like; [`vectors`]: the processor's best ones.
//! - [`aligned`]: memory that starts on a cache line; [`lent`]: parameters that another thread copies.
pub mod aligned;
pub mod device;
pub mod elementwise;
pub mod functions;
pub mod learner;
pub mod lent;
pub mod measure;
pub mod network;
pub mod orthogonal;
pub mod policy;
pub mod products;
pub mod small;
pub mod torch;
pub mod vectors;
