//! What a careful person would want to know about bars before trusting them: everything odd is counted, with
//! its first example. Nothing here changes a bar.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Bars, timestamp};

/// A kind of oddity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// Unusable rows left out by `--bad-rows skip`.
    SkippedRows,
    /// Exact copies of earlier rows, dropped.
    ExactCopies,
    /// Rows at odds with an earlier one of the same time, settled by `--dedup`.
    SettledConflicts,
    /// Rows that stepped back in time, put in place by `--sort`.
    SortedRows,
    /// Bars that were missing inside a session, filled in by `--fill session`.
    FilledBars,
    /// Bars in which nothing was traded.
    ZeroVolume,
    /// Opens or closes outside low to high.
    OutsideRange,
    /// Closes far from both neighbours, which agree: bad ticks.
    RevertingSpikes,
    /// Opens over the previous close near 1/2, 2/3, 2, 3 and their like.
    SplitLikeJumps,
    /// Distances within a session longer than the bar interval.
    SessionGaps,
    /// Sessions with fewer bars than usual: cut short, begun late, or with bars missing.
    ShortSessions,
}

impl Oddity {
    /// Whether it was seen while rows were read, and can no longer be seen in the bars that came of them.
    pub fn is_of_rows(self) -> bool {
        matches!(
            self,
            Self::SkippedRows
                | Self::ExactCopies
                | Self::SettledConflicts
                | Self::SortedRows
                | Self::FilledBars
        )
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SkippedRows => "bad rows skipped",
            Self::ExactCopies => "exact copies of rows dropped",
            Self::SettledConflicts => "conflicting rows settled",
            Self::SortedRows => "rows put in order",
            Self::FilledBars => "bars filled in where they were missing",
            Self::ZeroVolume => "bars without volume",
            Self::OutsideRange => "bars with open or close outside low to high",
            Self::RevertingSpikes => "spikes that revert",
            Self::SplitLikeJumps => "split-like jumps (prices look unadjusted)",
            Self::SessionGaps => "gaps inside a session",
            Self::ShortSessions => "sessions with fewer bars than usual",
        })
    }
}

/// How often an oddity occurs, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is odd.
    pub oddity: Oddity,
    /// How often.
    pub count: usize,
    /// Where first, with the values.
    pub first: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (first: {})", self.oddity, self.count, self.first)
    }
}

/// The ratios that bonus issues and splits leave behind, with their inverses.
const SPLIT_RATIOS: [f64; 7] = [1.0 / 2.0, 1.0 / 3.0, 2.0 / 3.0, 1.0 / 4.0, 1.0 / 5.0, 1.0 / 10.0, 3.0 / 5.0];
/// How near an open over the previous close must come to such a ratio.
const SPLIT_TOLERANCE: f64 = 0.04;
/// A spike moves at least so far (in logarithms) …
const SPIKE_FLOOR: f64 = 0.05;
/// … and so many times the median move.
const SPIKE_IN_MEDIANS: f64 = 12.0;
/// The neighbours of a spike differ by less than this part of it.
const SPIKE_RESIDUE: f64 = 0.2;

/// Bars of a long series that a thread takes at once.
const BARS_AT_ONCE: usize = 1 << 15;

/// Inspects the bars of one symbol. Where the source has no volume, its absence is no oddity.
pub fn inspect(bars: &Bars, bar_seconds: u32, has_volume: bool, zone: &TimeZone) -> Vec<Finding> {
    let mut findings = Findings { list: Vec::new() };
    let when = |bar: usize| timestamp::display(bars.ts[bar], zone);
    let moves = moves(&bars.close);
    let spike = spike_threshold(&moves);
    for bar in 0..bars.len() {
        let (open, high, low, close) = (bars.open[bar], bars.high[bar], bars.low[bar], bars.close[bar]);
        if has_volume && bars.volume[bar] == 0.0 {
            findings.add(Oddity::ZeroVolume, || when(bar));
        }
        if open.max(close) > high || open.min(close) < low {
            findings.add(Oddity::OutsideRange, || {
                format!("{}: open {open}, high {high}, low {low}, close {close}", when(bar))
            });
        }
        if bar == 0 {
            continue;
        }
        let before = bars.close[bar - 1];
        let next = bars.close.get(bar + 1).copied();
        let move_in = moves[bar - 1];
        let reverts = |next: f64| (next / before).ln().abs() < SPIKE_RESIDUE * move_in;
        if move_in > spike && next.is_some_and(reverts) {
            findings.add(Oddity::RevertingSpikes, || {
                format!("{}: close {close} after {before} and before {}", when(bar), next.unwrap_or(close))
            });
        } else if bars.session[bar] != bars.session[bar - 1]
            && is_split_like(open / before)
            && is_split_like(close / before)
        {
            findings
                .add(Oddity::SplitLikeJumps, || format!("{}: open {open} after close {before}", when(bar)));
        }
        let distance = bars.ts[bar] - bars.ts[bar - 1];
        let interval = i64::from(bar_seconds) * 1_000_000;
        if bars.session[bar] == bars.session[bar - 1] && distance > interval {
            findings.add(Oddity::SessionGaps, || {
                format!("{}: {} bars missing before it", when(bar), (distance - 1) / interval)
            });
        }
    }
    short_sessions(bars, &when, &mut findings);
    findings.list.sort_by_key(|finding| finding.oddity);
    findings.list
}

/// The usual length is the commonest one.
fn short_sessions(bars: &Bars, when: &impl Fn(usize) -> String, findings: &mut Findings) {
    let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
    for session in bars.session.chunk_by(|a, b| a == b) {
        *votes.entry(session.len()).or_default() += 1;
    }
    let Some((&usual, _)) = votes.iter().max_by_key(|&(length, n)| (n, length)) else { return };
    let mut start = 0;
    for session in bars.session.chunk_by(|a, b| a == b) {
        if session.len() < usual {
            findings.add(Oddity::ShortSessions, || {
                let last = when(start + session.len() - 1);
                format!("{} bars where {usual} are usual, {} to {last}", session.len(), when(start))
            });
        }
        start += session.len();
    }
}

struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, oddity: Oddity, first: impl FnOnce() -> String) {
        match self.list.iter_mut().find(|finding| finding.oddity == oddity) {
            Some(finding) => finding.count += 1,
            None => self.list.push(Finding { oddity, count: 1, first: first() }),
        }
    }
}

/// The size of each move from close to close, in logarithms; of a long series every thread takes a part.
fn moves(close: &[f64]) -> Vec<f64> {
    close.par_windows(2).with_min_len(BARS_AT_ONCE).map(|pair| (pair[1] / pair[0]).ln().abs()).collect()
}

fn spike_threshold(moves: &[f64]) -> f64 {
    if moves.is_empty() {
        return f64::INFINITY;
    }
    let mut moves = moves.to_vec();
    let middle = moves.len() / 2;
    let (_, median, _) = moves.select_nth_unstable_by(middle, f64::total_cmp);
    (*median * SPIKE_IN_MEDIANS).max(SPIKE_FLOOR)
}

/// Whether a price ratio is near one that a split leaves. Asked of the day's open and of its close, so that a
/// wild open alone does not pass for a split.
fn is_split_like(ratio: f64) -> bool {
    SPLIT_RATIOS.iter().any(|&split| {
        let near = |target: f64| (ratio / target - 1.0).abs() < SPLIT_TOLERANCE;
        near(split) || near(1.0 / split)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bar a session at the given closes, flat otherwise.
    fn daily(closes: &[f64]) -> Bars {
        let n = closes.len();
        Bars {
            symbol: "A".into(),
            ts: (0..n as i64).map(|day| day * 86_400_000_000).collect(),
            session: (0..n as i32).collect(),
            open: closes.to_vec(),
            high: closes.to_vec(),
            low: closes.to_vec(),
            close: closes.to_vec(),
            volume: vec![1.0; n],
        }
    }

    fn found(bars: &Bars, bar_seconds: u32) -> Vec<(Oddity, usize)> {
        let findings = inspect(bars, bar_seconds, true, &TimeZone::UTC);
        findings.iter().map(|finding| (finding.oddity, finding.count)).collect()
    }

    #[test]
    fn quiet_bars_have_nothing_to_report() {
        assert_eq!(found(&daily(&[100.0, 101.0, 99.5, 100.0, 92.0]), 86_400), []);
    }

    #[test]
    fn spikes_and_splits_are_told_apart() {
        assert_eq!(
            found(&daily(&[100.0, 101.0, 600.0, 101.0, 100.0, 101.0, 100.0]), 86_400),
            [(Oddity::RevertingSpikes, 1)]
        );
        assert_eq!(found(&daily(&[100.0, 101.0, 50.0, 51.0, 34.0]), 86_400), [(Oddity::SplitLikeJumps, 2)]);
        assert_eq!(found(&daily(&[100.0, 101.0, 85.0, 84.0]), 86_400), []);
    }

    #[test]
    fn zero_volume_impossible_prices_and_gaps_are_counted_with_the_first() {
        let mut bars = daily(&[100.0; 5]);
        bars.volume[2] = 0.0;
        bars.high[3] = 99.0;
        bars.session = vec![0; 5];
        bars.ts = [0, 300, 600, 1_500, 1_800].map(|second| second * 1_000_000).to_vec();
        let findings = inspect(&bars, 300, true, &TimeZone::UTC);
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "bars without volume: 1 (first: 1970-01-01 00:10)",
                "bars with open or close outside low to high: 1 (first: 1970-01-01 00:25: open 100, high 99, low \
                 100, close 100)",
                "gaps inside a session: 1 (first: 1970-01-01 00:25: 2 bars missing before it)",
            ]
        );
    }

    #[test]
    fn a_session_with_fewer_bars_than_usual_is_reported() {
        let mut bars = daily(&[100.0; 8]);
        bars.session = vec![0, 0, 0, 1, 1, 2, 2, 2];
        let minute = |minute: i64| minute * 60_000_000;
        bars.ts = [5, 10, 15, 1_445, 1_450, 2_885, 2_890, 2_895].map(minute).to_vec();
        let findings = inspect(&bars, 300, true, &TimeZone::UTC);
        assert_eq!(
            findings[0].to_string(),
            "sessions with fewer bars than usual: 1 (first: 2 bars where 3 are usual, 1970-01-02 00:05 to 1970-01-02 \
             00:10)"
        );
        assert_eq!(findings.len(), 1);
    }
}
