//! What a person may say about the inputs.

use jiff::civil::Time;
use serde::Serialize;

/// What the stamp of an intraday bar means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StampMeaning {
    /// The bar's start.
    Open,
    /// The bar's end.
    Close,
}

/// What to do about rows that disagree about the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dedup {
    /// Refuse.
    #[default]
    Error,
    /// The earlier row in the file holds.
    First,
    /// The later row in the file holds.
    Last,
}

/// What to do about rows that cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRows {
    /// Refuse.
    #[default]
    Error,
    /// Leave them out and count them.
    Skip,
}

/// What a person may say about the inputs. Outputs record it as JSON, so that an output can be told to be up to
/// date; what changes no value is left out of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadOptions {
    /// The symbol of the one input.
    pub symbol: Option<String>,
    /// The exchange's zone, by IANA name or as an offset.
    pub timezone: Option<String>,
    /// What the stamps of intraday bars mean; the bar's open where nobody says.
    pub stamp: Option<StampMeaning>,
    /// When daily bars are known, local time.
    pub session_close: Time,
    /// Rows that disagree about the same time.
    pub dedup: Dedup,
    /// Whether rows may be put in order.
    pub sort: bool,
    /// Rows that cannot be used.
    pub bad_rows: BadRows,
    /// Where real bars come from; refused for bars that are labelled as simulated.
    pub source: Option<String>,
    /// Whether whatever is odd about the bars is an error.
    pub is_strict: bool,
    /// Whether files that cannot be used are left out and listed, rather than refused with the whole batch.
    #[serde(skip)]
    pub skip_bad_files: bool,
    /// Seconds from bar to bar where they are known beforehand: a few new bars do not show them.
    #[serde(skip)]
    pub bar_seconds: Option<u32>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            symbol: None,
            timezone: None,
            stamp: None,
            session_close: Time::constant(15, 30, 0, 0),
            dedup: Dedup::Error,
            sort: false,
            bad_rows: BadRows::Error,
            source: None,
            is_strict: false,
            skip_bad_files: false,
            bar_seconds: None,
        }
    }
}
