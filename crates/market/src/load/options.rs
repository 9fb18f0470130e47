//! What a person may say about the inputs.

use jiff::civil::Time;
use serde::Serialize;

use super::splits::Splits;
use crate::csv::header::ColumnNames;

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

/// What to do about bars that are missing inside a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Count them.
    #[default]
    None,
    /// Fill them in, flat and without volume, and count them.
    Session,
}

/// When the National Stock Exchange closes.
pub const DEFAULT_SESSION_CLOSE: Time = Time::constant(15, 30, 0, 0);

/// What a person may say about the inputs. Outputs record it as JSON, so that an output can be told to be up to
/// date; what changes no value is left out of that.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoadOptions {
    /// The symbol of the one input.
    pub symbol: Option<String>,
    /// Which columns are which, where their names do not show it.
    pub columns: ColumnNames,
    /// The exchange's zone, by IANA name or as an offset.
    pub timezone: Option<String>,
    /// What the stamps of intraday bars mean; the bar's open where nobody says.
    pub stamp: Option<StampMeaning>,
    /// When sessions close, local time: [`DEFAULT_SESSION_CLOSE`] where nobody says.
    pub session_close: Option<Time>,
    /// Rows that disagree about the same time.
    pub dedup: Dedup,
    /// Whether rows may be put in order.
    pub sort: bool,
    /// Rows that cannot be used.
    pub bad_rows: BadRows,
    /// Splits and bonus issues to adjust earlier bars for.
    pub splits: Option<Splits>,
    /// Bars that are missing inside a session.
    pub fill: Fill,
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
