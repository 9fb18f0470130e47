//! Bars and feature tables as plain columns, and the files that hold them.
//!
//! # Layout
//! - [`bars`]: one symbol's bars, column by column.
//! - [`features`]: bars with features beside them, and what a feature file says about itself.
//! - [`provenance`]: where numbers come from: simulated, real, or nobody said.
//! - [`mod@load`]: input files into one batch of bars: read, ordered, stamped, placed in a calendar, inspected;
//!   as a whole, or symbol by symbol in bounded memory.
//!   - [`csv`]: CSV in every dialect.
//!   - [`rows`]: bars as a file holds them; time zones.
//!   - [`timestamp`]: the text of a date or time.
//!   - [`order`]: duplicates and disorder.
//!   - [`sessions`]: intervals, sessions and years found out from the bars.
//!   - [`quality`]: oddities counted.
//! - [`parquet`]: feature files written and read, bars out of anybody's Parquet.
//! - [`temporary`]: files that appear whole or not at all.
//! - [`digest`]: SHA-256 over files and tables.
//! - [`simulate`]: NSE-like bars from a seed.
//! - [`error`]: what can be wrong with a file.
pub mod bars;
pub mod csv;
pub mod digest;
pub mod error;
pub mod features;
pub mod load;
pub mod order;
pub mod parquet;
pub mod provenance;
pub mod quality;
pub mod rows;
pub mod sessions;
pub mod simulate;
pub mod temporary;
pub mod timestamp;

pub use bars::Bars;
pub use error::Error;
pub use features::{FeatureColumn, FeatureInfo, FeatureTable, FileInfo, SymbolFeatures};
pub use load::{Batch, LoadOptions, Scan, load, scan};
pub use provenance::Provenance;
