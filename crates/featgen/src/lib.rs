//! Computes technical indicators in parallel into Parquet.
//!
//! # Layout
//! - [`cli`], [`mod@run`]: the command line, and what it does.
//! - [`inputs`]: the files that the arguments name; [`stop`]: Ctrl-C.
//! - [`pipeline`]: read, compute, encode, write; [`mod@in_order`]: in parallel, in order, in bounded memory.
//! - [`whole`]: one output of all symbols; [`partition`]: a folder with a part for each; [`record`]: how an output
//!   was made, so that it can be brought up to date; [`summary`]: what is said at the end.
//! - [`sink`]: where finished symbols go; [`skipped`]: the list of files that were left out.
//! - [`compute`]: one symbol's features from its bars; [`buffers`]: series used again.
//! - [`specification`]: from `core,rsi:21@lag:1` to the columns that it asks for.
//! - [`preset`]: specifications with a name.
//! - [`catalogue`]: every feature by name.
//!   - [`talib`]: TA-Lib's functions.
//!   - [`own`]: what TA-Lib has not.
//! - [`transform`]: what may be done to a feature after it is computed.
//! - [`verify`]: the proof that no feature looks ahead.
//! - [`stable`]: how many rows depend on where a series starts.
//! - [`list`], [`check`]: the catalogue and the quality report, as text and JSON.
pub mod buffers;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod compute;
pub mod in_order;
pub mod inputs;
pub mod list;
pub mod own;
pub mod partition;
pub mod pipeline;
pub mod preset;
pub mod record;
pub mod run;
pub mod sink;
pub mod skipped;
pub mod specification;
pub mod stable;
pub mod stop;
pub mod summary;
pub mod talib;
pub mod transform;
pub mod verify;
pub mod whole;

pub use run::run;
