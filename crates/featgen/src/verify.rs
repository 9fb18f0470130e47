//! The proof that no feature looks ahead: a row must stay bit-identical when all later bars are cut off, and when
//! they are altered beyond recognition.

use std::fmt;
use std::sync::Arc;

use market::{Bars, FeatureColumn};
use rayon::prelude::*;

use crate::catalogue::{Frame, Others};
use crate::compute::Plan;
use crate::talib::Failure;

/// Altered bars that follow the cut: more than a session of five-minute bars, so that a total over the rest of a
/// session is seen too.
const ALTERED_BARS: usize = 100;

/// A feature whose row changes with later bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAhead {
    /// The column.
    pub feature: String,
    /// The first row that changes.
    pub row: usize,
    /// How many bars were left as they are.
    pub kept: usize,
    /// What was done to the others, `cut off` or `altered`.
    pub later_bars: &'static str,
}

impl fmt::Display for LookAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, row, kept, later_bars } = self;
        write!(f, "{feature} looks ahead: row {row} changes when the bars from {kept} on are {later_bars}")
    }
}

/// Where to cut: at every session edge and one bar on either side, and at `n_more` places drawn from `seed`.
pub fn places(bars: &Bars, n_more: usize, seed: u64) -> Vec<usize> {
    let n = bars.len();
    let edges = (1..n).filter(|&row| bars.session[row] != bars.session[row - 1]);
    let mut places: Vec<usize> = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
    let mut stream = random::Stream::new(seed, random::Purpose::Test, 0, 0);
    if n > 1 {
        places.extend((0..n_more).map(|_| 1 + stream.below(n as u64 - 1) as usize));
    }
    places.retain(|&place| (1..n).contains(&place));
    places.sort_unstable();
    places.dedup();
    places
}

/// The first look-ahead that cutting and altering at `places` shows, if any. The other symbols that features
/// refer to are cut and altered at the same times. `go_on` is asked before each place.
pub fn look_ahead(
    plan: &Plan,
    frame: &Frame,
    places: &[usize],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Option<LookAhead>, Failure> {
    let whole = plan.compute(frame)?.columns;
    let found = places.par_iter().find_map_first(|&kept| {
        if !go_on() {
            return None;
        }
        let until = frame.bars.ts[kept - 1];
        for (later_bars, change) in [("cut off", cut as fn(&Bars, usize) -> Bars), ("altered", altered)] {
            let bars = change(frame.bars, kept);
            let other = |(name, other): (&String, &Arc<Bars>)| {
                let kept = other.ts.partition_point(|&ts| ts <= until);
                (name.clone(), Arc::new(change(other, kept)))
            };
            let others: Others = frame.others.iter().map(other).collect();
            let changed = Frame { bars: &bars, others: &others, ..*frame };
            let columns = match plan.compute(&changed) {
                Ok(computed) => computed.columns,
                Err(failure) => return Some(Err(failure)),
            };
            for (place, feature) in plan.features.iter().enumerate() {
                if let Some(row) = first_difference(&whole[place], &columns[place], kept) {
                    let feature = feature.column.clone();
                    return Some(Ok(LookAhead { feature, row, kept, later_bars }));
                }
            }
        }
        None
    });
    found.transpose()
}

fn first_difference(a: &FeatureColumn, b: &FeatureColumn, n: usize) -> Option<usize> {
    match (a, b) {
        (FeatureColumn::F32(a), FeatureColumn::F32(b)) => {
            (0..n).find(|&at| a[at].to_bits() != b[at].to_bits())
        }
        (FeatureColumn::F64(a), FeatureColumn::F64(b)) => {
            (0..n).find(|&at| a[at].to_bits() != b[at].to_bits())
        }
        _ => Some(0),
    }
}

fn cut(bars: &Bars, n: usize) -> Bars {
    let mut cut = Bars { symbol: bars.symbol.clone(), ..Bars::default() };
    cut.ts.extend_from_slice(&bars.ts[..n]);
    cut.session.extend_from_slice(&bars.session[..n]);
    cut.open.extend_from_slice(&bars.open[..n]);
    cut.high.extend_from_slice(&bars.high[..n]);
    cut.low.extend_from_slice(&bars.low[..n]);
    cut.close.extend_from_slice(&bars.close[..n]);
    cut.volume.extend_from_slice(&bars.volume[..n]);
    cut
}

/// The same bars up to `n`; then a few that are altered beyond recognition, in a session that ends early.
fn altered(bars: &Bars, n: usize) -> Bars {
    let mut altered = cut(bars, bars.len().min(n + ALTERED_BARS));
    for row in n..altered.len() {
        let columns = [&mut altered.open, &mut altered.high, &mut altered.low, &mut altered.close];
        for column in columns {
            column[row] *= 3.0 + (row % 5) as f64;
        }
        altered.volume[row] = 1.0;
        altered.session[row] += 1;
        altered.ts[row] += 3_600_000_000;
    }
    altered
}
