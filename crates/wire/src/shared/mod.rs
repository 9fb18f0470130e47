//! Memory that two processes share, so that the stream between them carries control messages and wake-ups alone.
//!
//! A session has two pieces of it. The *exchange* may be written by both sides: it holds the counters by which
//! they tell each other that it is their turn, whether they sleep, and the actions. Nothing in it is trusted:
//! it is read and written by atomic operations alone, and actions are copied out before they are checked. The
//! *slab* is the server's to write: its client gets no right to. The server therefore fills it in place; the
//! client, which cannot know whether the server keeps to its turn, copies rewards, ends and records before it
//! checks them, and lets observations be copied to where they are to go ([`crate::observations`]). With partial
//! batches there is a slot of the exchange, and a slab, for each request that may be in flight.
//!
//! A side that waits looks at the other's counter for a while and then says that it sleeps; only a side that
//! said so is sent a frame to wake it. So the death of the other side is the end of the stream, as ever.
//!
//! # Layout
//! - [`platform`]: pieces of memory, as Linux and macOS make them and hand them over.
//! - [`mapping`]: mapping them.
//! - [`exchange`]: the counters and the actions.
//! - [`spin`]: waiting awake, for as long as that pays.
//! - [`client_end`], [`server_end`]: the two sides.

pub(crate) mod client_end;
pub(crate) mod exchange;
pub(crate) mod mapping;
pub(crate) mod platform;
pub(crate) mod server_end;
pub(crate) mod spin;

pub use platform::remove_pending;
