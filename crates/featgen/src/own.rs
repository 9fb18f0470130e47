//! Features that neither TA-Lib nor `ta` has.
//!
//! # Layout
//! - [`returns`]: log returns, realised volatility, position within Bollinger's bands, volume ratio.
//! - [`candle`]: the shape of one bar (the names are Qlib's).
//! - [`session`]: what depends on trading sessions: VWAP, gaps, the opening range, the clock.
//! - [`alpha158`]: Qlib's rolling families.
//! - [`pair`]: beta and correlation to another symbol.
//! - [`pivot`]: confirmed pivots.
//! - [`efficiency`]: Kaufman's efficiency ratio, by the `ta` crate.

pub mod alpha158;
pub mod candle;
pub mod efficiency;
pub mod pair;
pub mod pivot;
pub mod returns;
pub mod session;

use market::parquet::Width;

use crate::catalogue::{Compute, Definition, Origin, Parameter};

/// All of them.
pub fn definitions() -> Vec<Definition> {
    let mut definitions = returns::definitions();
    definitions.extend(candle::definitions());
    definitions.extend(session::definitions());
    definitions.extend(alpha158::definitions());
    definitions.extend(pair::definitions());
    definitions.push(pivot::definition());
    definitions.push(efficiency::definition());
    definitions
}

/// A definition with one output that looks back over as many bars as its first parameter says.
fn over_bars(
    name: &str,
    summary: &str,
    inputs: &[&'static str],
    default_bars: f64,
    compute: Compute,
) -> Definition {
    Definition {
        name: name.to_owned(),
        summary: summary.to_owned(),
        parameters: vec![whole("bars", default_bars, 1.0, 100_000.0)],
        inputs: inputs.to_vec(),
        outputs: vec![String::new()],
        width: Width::F32,
        is_intraday_only: false,
        origin: Origin::Own(compute),
        lookback: |_, parameters| Some(parameters[0] as usize),
    }
}

fn whole(name: &str, default: f64, min: f64, max: f64) -> Parameter {
    Parameter { name: name.to_owned(), default, min, max, is_whole: true }
}

/// The quotient, or `otherwise` where it would divide by zero or overflow.
fn ratio(numerator: f64, denominator: f64, otherwise: f64) -> f64 {
    let value = numerator / denominator;
    if value.is_finite() { value } else { otherwise }
}
