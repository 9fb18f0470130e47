//! Bars with features beside them, and what a feature file says about itself.

use serde::{Deserialize, Serialize};

use crate::{Bars, Provenance};

/// The version of the feature file's schema, written into its metadata.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole feature file: symbols in ascending order, each with the same features.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureTable {
    /// What the file says about itself.
    pub info: FileInfo,
    /// The symbols' rows.
    pub symbols: Vec<SymbolFeatures>,
}

/// One symbol's bars and features; `columns[i]` belongs to `info.features[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolFeatures {
    /// The bars, one a row.
    pub bars: Bars,
    /// The feature columns, each as long as the bars. NaN stands for a null: the rows before a feature's
    /// lookback.
    pub columns: Vec<FeatureColumn>,
}

/// The values of one feature; NaN stands for a null.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureColumn {
    /// The usual width.
    F32(Vec<f32>),
    /// For running totals that outgrow 24 bits, such as on-balance volume.
    F64(Vec<f64>),
}

impl FeatureColumn {
    /// The value at `row` in single precision.
    pub fn get(&self, row: usize) -> f32 {
        match self {
            Self::F32(values) => values[row],
            Self::F64(values) => values[row] as f32,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known about one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureInfo {
    /// The column's name: `rsi_14`, `macd_hist_12_26_9`, `rsi_14__zscore_100__lag_1`.
    pub name: String,
    /// How many leading rows are null.
    pub lookback: usize,
}

/// What a feature file says about itself, kept in the Parquet key-value metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileInfo {
    /// [`SCHEMA_VERSION`] when the file was written.
    pub schema_version: u32,
    /// Name and version of the tool that wrote it.
    pub tool: String,
    /// The specification that was asked for, such as `core`.
    pub specification: String,
    /// The feature columns in order.
    pub features: Vec<FeatureInfo>,
    /// Seconds from one bar to the next within a session; 86,400 for daily bars.
    pub bar_seconds: u32,
    /// Bars in a year, counted from the data; annualises returns.
    pub bars_per_year: f64,
    /// IANA name or fixed offset of the exchange's time zone, such as `Asia/Kolkata` or `+05:30`.
    pub timezone: String,
    /// The batch's calendar: `calendar[session]` is a trading date as `YYYY-MM-DD`.
    pub calendar: Vec<String>,
    /// The inputs and their digests.
    pub inputs: Vec<InputFile>,
    /// Where the bars come from.
    pub provenance: Provenance,
}

impl FileInfo {
    /// Whether bars are parts of a session rather than whole days.
    pub fn is_intraday(&self) -> bool {
        self.bar_seconds < 86_400
    }
}

/// One input of a feature file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The file's name without its folder.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}
