//! One symbol's bars, column by column.

/// Bars of one symbol, oldest first. All columns have the same length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// The symbol, such as `BPCL`.
    pub symbol: String,
    /// When each bar's close is known: microseconds since 1970 in UTC, strictly increasing.
    pub ts: Vec<i64>,
    /// The trading date of each bar, as its ordinal in the batch's calendar.
    pub session: Vec<i32>,
    /// First price.
    pub open: Vec<f64>,
    /// Highest price.
    pub high: Vec<f64>,
    /// Lowest price.
    pub low: Vec<f64>,
    /// Last price.
    pub close: Vec<f64>,
    /// Shares traded.
    pub volume: Vec<f64>,
}

impl Bars {
    /// How many bars there are.
    pub fn len(&self) -> usize {
        self.ts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }
}
