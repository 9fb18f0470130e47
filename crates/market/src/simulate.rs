//! NSE-like bars from a seed, for examples, tests and a first look at the tools. They are not market data.
//!
//! The logarithm of the price is the sum of two parts. The efficient part is a random walk, whose variance
//! follows GARCH from session to session and from bar to bar, with an intraday U shape and an overnight gap.
//! The transient part is an Ornstein-Uhlenbeck process around zero that scales with the same variance: it is
//! what a policy can learn, since part of every deviation from a short average comes back within the hour.
//! Each bar is walked in [`STEPS_PER_BAR`] steps to find its high and low. Prices lie on the tick, volumes are
//! whole shares. All arithmetic beyond the four operations comes from `libm`, so that a seed gives the same
//! bytes on every platform.

use std::fmt::Write as _;

use jiff::civil::{Date, Weekday};
use random::{Purpose, Stream};

use crate::Provenance;

/// The generator's name and version, as written into labels. The version rises with every change of the
/// numbers that it makes.
pub const GENERATOR: &str = "market::simulate 1";

/// Bars in a session: 09:15 to 15:30 in steps of five minutes.
pub const BARS_PER_SESSION: usize = 75;

/// Steps of the random walk within a bar.
pub const STEPS_PER_BAR: usize = 8;

/// The smallest price move, in paise.
const TICK_PAISE: i64 = 5;
/// The first trading date.
const FIRST_DATE: Date = Date::constant(2024, 1, 1);
/// Part of the weekdays on which the made-up exchange is closed.
const HOLIDAY_SHARE: f64 = 0.04;

/// Standard deviation of the efficient log price over a usual bar.
const BAR_SIGMA: f64 = 0.00125;
/// Standard deviation of the overnight gap.
const OVERNIGHT_SIGMA: f64 = 0.0095;
/// Stationary standard deviation of the transient part.
const TRANSIENT_SIGMA: f64 = 0.0038;
/// What is left of the transient part after a bar.
const TRANSIENT_KEPT: f64 = 0.91;
/// GARCH(1,1) from session to session, and from bar to bar.
const SESSION_GARCH: Garch = Garch { news: 0.15, memory: 0.80 };
const BAR_GARCH: Garch = Garch { news: 0.17, memory: 0.80 };
/// Part of the bars in which news moves the efficient price by this many times the usual.
const NEWS_SHARE: f64 = 0.01;
const NEWS_SIZE: f64 = 4.0;
/// Rupees that change hands in a usual session.
const TURNOVER_PER_SESSION: f64 = 3.0e9;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The symbol; another one gives another path for the same seed, on the same dates.
    pub symbol: String,
    /// The seed.
    pub seed: u64,
    /// How many sessions.
    pub n_sessions: usize,
    /// The price before the first session, in rupees.
    pub start_price: f64,
}

/// One simulated bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulatedBar {
    /// The trading date.
    pub date: Date,
    /// The bar's place in its session.
    pub bar_of_session: usize,
    /// First price in paise.
    pub open: i64,
    /// Highest price in paise.
    pub high: i64,
    /// Lowest price in paise.
    pub low: i64,
    /// Last price in paise.
    pub close: i64,
    /// Shares.
    pub volume: u64,
}

impl Simulation {
    /// The label of what this makes.
    pub fn provenance(&self) -> Provenance {
        Provenance::Simulated { generator: GENERATOR.to_owned(), seed: self.seed }
    }

    /// Makes the bars.
    pub fn bars(&self) -> Vec<SimulatedBar> {
        let dates = trading_dates(self.seed, self.n_sessions);
        let mut bars = Vec::with_capacity(self.n_sessions * BARS_PER_SESSION);
        let mut path = Path::new(self.start_price);
        for (session, &date) in dates.iter().enumerate() {
            let mut stream =
                Stream::new(self.seed, Purpose::Simulate, symbol_key(&self.symbol), session as u64 + 1);
            path.open_session(&mut stream);
            for bar_of_session in 0..BARS_PER_SESSION {
                bars.push(path.bar(date, bar_of_session, &mut stream));
            }
        }
        bars
    }

    /// Makes the bars as the text of a CSV file that says in its first line what it is.
    pub fn csv(&self) -> String {
        let mut text = format!(
            "# {}: SIMULATED BARS, not market data (symbol {}, sessions {}, start price {})\n\
             date,open,high,low,close,volume\n",
            self.provenance().label().unwrap_or_default(),
            self.symbol,
            self.n_sessions,
            self.start_price
        );
        for bar in self.bars() {
            let minute = 9 * 60 + 15 + 5 * bar.bar_of_session;
            // Writing to a string cannot fail.
            let _ = write!(text, "{} {:02}:{:02}:00+05:30", bar.date, minute / 60, minute % 60);
            for paise in [bar.open, bar.high, bar.low, bar.close] {
                let _ = write!(text, ",{}.{:02}", paise / 100, paise % 100);
            }
            let _ = writeln!(text, ",{}", bar.volume);
        }
        text
    }
}

/// GARCH(1,1) of unit variance (Bollerslev 1986).
#[derive(Debug, Clone, Copy)]
struct Garch {
    news: f64,
    memory: f64,
}

impl Garch {
    /// The next variance after a standardised shock under `variance`.
    fn next(self, variance: f64, shock: f64) -> f64 {
        let next = 1.0 - self.news - self.memory + variance * (self.news * shock * shock + self.memory);
        // The bounds keep a long simulation from wandering to prices that no one would believe.
        next.clamp(0.3, 5.0)
    }
}

/// The state that one symbol carries from bar to bar.
#[derive(Debug)]
struct Path {
    efficient: f64,
    transient: f64,
    session_variance: f64,
    bar_variance: f64,
}

impl Path {
    fn new(start_price: f64) -> Self {
        Self { efficient: libm::log(start_price), transient: 0.0, session_variance: 1.0, bar_variance: 1.0 }
    }

    fn open_session(&mut self, stream: &mut Stream) {
        // The average of 75 shocks hardly differs from one; what makes sessions calm or busy is a draw.
        let shock = stream.normal();
        self.session_variance = SESSION_GARCH.next(self.session_variance, shock);
        let gap = stream.normal();
        // One night in twenty brings news of three times the usual size: the fat tails of daily returns.
        let size = if stream.uniform() < 0.05 { 3.0 } else { 1.0 };
        self.efficient += OVERNIGHT_SIGMA * size * libm::sqrt(self.session_variance) * gap;
        self.bar_variance = 1.0;
    }

    fn bar(&mut self, date: Date, bar_of_session: usize, stream: &mut Stream) -> SimulatedBar {
        let shape = u_shape(bar_of_session);
        let scale = shape * libm::sqrt(self.session_variance * self.bar_variance);
        let steps = STEPS_PER_BAR as f64;
        let kept = libm::exp(libm::log(TRANSIENT_KEPT) / steps);
        let news = if stream.uniform() < NEWS_SHARE { NEWS_SIZE } else { 1.0 };
        let efficient_sigma = BAR_SIGMA * scale * news / libm::sqrt(steps);
        let transient_sigma =
            TRANSIENT_SIGMA * libm::sqrt(self.session_variance) * libm::sqrt(1.0 - kept * kept);

        let (mut open, mut high, mut low, mut close) = (0, i64::MIN, i64::MAX, 0);
        let mut shock = 0.0;
        for step in 0..STEPS_PER_BAR {
            let draw = stream.normal();
            shock += draw / libm::sqrt(steps);
            self.efficient += efficient_sigma * draw;
            self.transient = kept * self.transient + transient_sigma * stream.normal();
            let price = paise(self.efficient + self.transient);
            open = if step == 0 { price } else { open };
            high = high.max(price);
            low = low.min(price);
            close = price;
        }
        self.bar_variance = BAR_GARCH.next(self.bar_variance, shock);

        let usual_shares = TURNOVER_PER_SESSION / BARS_PER_SESSION as f64 / (close as f64 / 100.0);
        let noise = libm::exp(0.45 * stream.normal() - 0.1);
        let volume =
            usual_shares * shape * (0.6 + 0.4 * shock.abs()) * libm::sqrt(self.session_variance) * noise;
        SimulatedBar {
            date,
            bar_of_session,
            open,
            high,
            low,
            close,
            volume: libm::floor(volume).max(1.0) as u64,
        }
    }
}

/// The nearest price on the tick to a log price, in paise, and at least one tick.
fn paise(log_price: f64) -> i64 {
    let ticks = libm::round(libm::exp(log_price) * 100.0 / TICK_PAISE as f64);
    (ticks as i64).max(1) * TICK_PAISE
}

/// How much busier a bar is than the average: high after the open, low at noon, rising to the close.
fn u_shape(bar_of_session: usize) -> f64 {
    let after_open = bar_of_session as f64;
    let before_close = (BARS_PER_SESSION - 1 - bar_of_session) as f64;
    0.72 + 1.30 * libm::exp(-after_open / 7.0) + 0.55 * libm::exp(-before_close / 9.0)
}

/// Weekdays from [`FIRST_DATE`] on without the made-up holidays, the same for every symbol of a seed.
fn trading_dates(seed: u64, n_sessions: usize) -> Vec<Date> {
    let mut stream = Stream::new(seed, Purpose::Simulate, 0, 0);
    let mut dates = Vec::with_capacity(n_sessions);
    let mut date = FIRST_DATE;
    while dates.len() < n_sessions {
        let is_weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        if !is_weekend && stream.uniform() >= HOLIDAY_SHARE {
            dates.push(date);
        }
        match date.tomorrow() {
            Ok(tomorrow) => date = tomorrow,
            // The calendar ends in the year 9999, two million sessions from here.
            Err(_) => break,
        }
    }
    dates
}

/// A symbol's number in the streams' names (FNV-1a), never that of the calendar.
fn symbol_key(symbol: &str) -> u64 {
    let hash = symbol.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1
}

#[cfg(test)]
mod tests;
