//! Bars and feature tables as plain columns, and the files that hold them.
//!
//! # Layout
//! - [`bars`]: one symbol's bars, column by column.
//! - [`features`]: bars with features beside them, and what a feature file says about itself.
//! - [`provenance`]: where numbers come from: simulated, real, or nobody said.
pub mod bars;
pub mod features;
pub mod provenance;

pub use bars::Bars;
pub use features::{FeatureColumn, FeatureInfo, FeatureTable, FileInfo, SymbolFeatures};
pub use provenance::Provenance;
