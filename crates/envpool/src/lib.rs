//! Serves a batched multi-core trading environment on stdin and stdout or a Unix socket.
//!
//! # Layout
//! - [`cli`]: the command line; [`config`]: the one validated configuration that comes of it; [`rules`]: the
//!   rules in it.
//! - [`load`]: feature files into one table.
//! - [`served`]: what is served: data, rules, split; [`specification`]: what clients get to know of it;
//!   [`scaling`]: how features are scaled.
//! - [`session`]: one batch of environments and its slabs, which [`fill`] fills. Below it: what a client may ask for,
//!   each request (reset, step), and going back to a [`snapshot`], its whole state in bytes.
//! - [`client`]: one client's conversation: requests in, answers out, whatever carries them.  [`watch`]: the
//!   threads that stay awake for it; [`cores`]: the cores that they keep to.
//! - [`stdio`], [`socket`]: the two carriers; [`stop`]: the end on a signal; [`clock`]: what steps are timed by.
//! - [`describe`]: the specification for people; [`ping`]: whether a server serves; [`log`]: what it says meanwhile.
//! - [`bench`]: how fast steps reach another process.
pub mod bench;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod cores;
pub mod describe;
pub mod fill;
pub mod load;
pub mod log;
pub mod ping;
pub mod rules;
pub mod run;
pub mod scaling;
pub mod served;
pub mod session;
pub mod snapshot;
pub mod socket;
pub mod specification;
pub mod stdio;
pub mod stop;
pub mod watch;

pub use run::run;
