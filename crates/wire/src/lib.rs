//! The protocol between an environment server and a learner: messages, frames, slabs, and both ends of a
//! connection. `PROTOCOL.md` beside this crate's manifest describes the bytes for other languages.
//!
//! A client opens one connection and on it any number of sessions, each a batch of environments with its own
//! seed, range of days and reset rule. One exchange a batch: actions go out, and one [`Slab`] comes back with
//! observations, rewards, ends and the records of finished episodes as plain arrays. With partial batches
//! ([`Open::batch`]) an exchange is about some of the environments, and several may be under way at once.
//!
//! # Layout
//! - [`message`]: the control messages, encoded with bincode.
//! - [`spec`]: the specification document that the server sends first: all that a learner needs to know.
//! - [`frame`]: the header in front of every message, and reading and writing whole frames.
//! - [`slab`]: the arrays of one exchange in one buffer, the same on both sides. Below it: what a server fills, what a
//!   client receives, how bytes from elsewhere are checked. `layout` says where the arrays lie, `observations` how the
//!   largest of them is read in place.
//! - [`shared`]: memory that both sides map, so that the stream carries wake-ups alone.
//! - [`wait`]: waiting on a file descriptor with an end; `awake`: not going to sleep on one at once.
//! - `channel`: the client's byte stream, and the process at its other end; `early` reads while it writes.
//! - [`client`]: the learner's end: spawn or connect, open, reset, step; `partial`: some environments at a time.
//! - [`server`]: the environment server's end.
#[cfg(target_endian = "big")]
compile_error!("slabs are little-endian memory; a big-endian port needs byte swapping in `slab` and `frame`");

mod awake;
mod channel;
pub mod client;
mod early;
pub mod error;
pub mod frame;
mod layout;
pub mod message;
mod observations;
mod partial;
pub mod server;
pub mod shared;
pub mod slab;
pub mod spec;
pub mod wait;

pub use awake::{Awake, Incoming};
pub use client::{Client, Session, Transport};
pub use error::WireError;
pub use layout::SlabLayout;
pub use message::{Actions, Autoreset, Episode, Open, Range, Start};
pub use observations::Observations;
pub use server::{Carrier, Connection, Request};
pub use slab::{Finished, Slab};
pub use spec::Spec;

/// The version of this protocol. Both sides name theirs in every frame, and a mismatch is refused by name.
pub const PROTOCOL_VERSION: u16 = 2;
