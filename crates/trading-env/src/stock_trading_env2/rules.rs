//! The constants of the rule set, and the prices that it trades at.

use market::{FeatureTable, SymbolFeatures};

use crate::EnvError;
use crate::portfolio::CAPITAL;
use crate::scaler::{is_complete, value};

/// The constants of the rule set.
#[derive(Debug, Clone, PartialEq)]
pub struct StockTradingEnv2Rules {
    /// Money at the start: K.
    pub capital: f64,
    /// The largest value of shares sold short: S.
    pub largest_short_value: f64,
    /// What each side of a trade costs, as a fraction of its value: c.
    pub cost_rate: f64,
    /// The direction from which on shares are bought.
    pub buy_threshold: f64,
    /// The direction down from which shares are sold.
    pub sell_threshold: f64,
    /// How many rows before the present one an observation shows: L.
    pub lags: u32,
    /// The row at which an episode is cut at the latest.
    pub episode_limit: u32,
    /// Whether the account only stays out (choice 0) or buys once and holds (choice 1), for comparison.
    pub holds: bool,
}

impl Default for StockTradingEnv2Rules {
    fn default() -> Self {
        Self {
            capital: 100_000.0,
            largest_short_value: 100_000.0,
            cost_rate: 0.0,
            buy_threshold: 0.3,
            sell_threshold: -0.3,
            lags: 5,
            episode_limit: 20_000,
            holds: false,
        }
    }
}

impl StockTradingEnv2Rules {
    /// Whether the constants make sense.
    pub fn validate(&self) -> Result<(), EnvError> {
        let require = |holds: bool, text: String| if holds { Ok(()) } else { Err(EnvError::Rule(text)) };
        require(
            CAPITAL.contains(&self.capital),
            format!("a capital of {:?} is not in {} to {:e}", self.capital, CAPITAL.start(), CAPITAL.end()),
        )?;
        require(
            (0.0..=*CAPITAL.end()).contains(&self.largest_short_value),
            format!("a short limit of {} is not an amount", self.largest_short_value),
        )?;
        require(
            (0.0..=0.1).contains(&self.cost_rate),
            format!("a cost rate of {} is not in 0 to 0.1", self.cost_rate),
        )?;
        require(
            (-1.0..=1.0).contains(&self.buy_threshold)
                && (-1.0..=1.0).contains(&self.sell_threshold)
                && self.sell_threshold < self.buy_threshold,
            format!(
                "thresholds {} to sell and {} to buy are not in -1 to 1, the first below the second",
                self.sell_threshold, self.buy_threshold
            ),
        )?;
        // The reward looks one row back.
        require((1..=4096).contains(&self.lags), format!("{} lags are not in 1 to 4096", self.lags))?;
        require(
            self.episode_limit > self.lags,
            format!(
                "an episode cut at row {} ends before its start at row {}",
                self.episode_limit, self.lags
            ),
        )
    }
}

/// The prices of every symbol's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    column: String,
    symbols: Vec<Vec<f64>>,
}

impl Prices {
    /// The column named `column`: open, high, low, close, or a feature.
    pub fn new(table: &FeatureTable, column: &str) -> Result<Self, EnvError> {
        let feature_idx = table.info.features.iter().position(|feature| feature.name == column);
        let of = |symbol: &SymbolFeatures| -> Option<Vec<f64>> {
            let bars = &symbol.bars;
            Some(match (column, feature_idx) {
                ("open", _) => bars.open.clone(),
                ("high", _) => bars.high.clone(),
                ("low", _) => bars.low.clone(),
                ("close", _) => bars.close.clone(),
                (_, feature_idx) => {
                    let feature_idx = feature_idx?;
                    (0..bars.len()).map(|row| value(symbol, feature_idx, row)).collect()
                }
            })
        };
        let wrong = |what: String| EnvError::Rule(format!("price column {column:?}: {what}"));
        let mut symbols = Vec::new();
        for symbol in &table.symbols {
            let prices =
                of(symbol).ok_or_else(|| wrong("take open, high, low, close or a feature's name".into()))?;
            let bad = (0..prices.len())
                .find(|&row| is_complete(symbol, row) && !(prices[row].is_finite() && prices[row] > 0.0));
            if let Some(row) = bad {
                return Err(wrong(format!("{}: row {row}: {} is no price", symbol.bars.symbol, prices[row])));
            }
            symbols.push(prices);
        }
        Ok(Self { column: column.into(), symbols })
    }

    /// The column's name.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The price of one row.
    pub(super) fn of(&self, symbol_idx: u32, row: u32) -> f64 {
        self.symbols[symbol_idx as usize][row as usize]
    }
}
