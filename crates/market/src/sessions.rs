//! Intervals, sessions and years, found out from the bars themselves.

use std::collections::BTreeMap;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::load::StampMeaning;
use crate::rows::Row;
use crate::timestamp;

/// Seconds in a day; bars of this length or longer are daily bars.
pub const SECONDS_PER_DAY: u32 = 86_400;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// A shorter span says too little about a year's holidays; the usual number of sessions is taken instead.
const DAYS_TO_COUNT_A_YEAR_FROM: f64 = 60.0;
const SESSIONS_PER_YEAR: f64 = 252.0;

/// Seconds from one bar to the next: the commonest distance within a day, or in whole days where most days
/// have one bar. `None` for fewer than two rows.
pub fn bar_seconds(rows: &[Row]) -> Option<u32> {
    let n_days = 1 + rows.windows(2).filter(|pair| pair[0].day != pair[1].day).count();
    let mut distances: BTreeMap<i64, usize> = BTreeMap::new();
    let is_daily = rows.len() < n_days * 3 / 2 + 1;
    let mut run = (0, 0);
    for pair in rows.windows(2) {
        if is_daily {
            *distances
                .entry(i64::from(pair[1].day - pair[0].day) * i64::from(SECONDS_PER_DAY))
                .or_default() += 1;
        } else if pair[0].day == pair[1].day {
            let distance = (pair[1].stamp - pair[0].stamp) / MICROS_PER_SECOND;
            // Nearly all distances are one and the same, so that a run of them is entered at once.
            if run.0 == distance {
                run.1 += 1;
                continue;
            }
            *distances.entry(run.0).or_default() += run.1;
            run = (distance, 1);
        }
    }
    *distances.entry(run.0).or_default() += run.1;
    distances.remove(&0);
    // Of equally common distances the shortest, so that the answer does not depend on chance.
    let commonest = distances.into_iter().min_by_key(|&(distance, n)| (std::cmp::Reverse(n), distance));
    commonest.and_then(|(distance, _)| u32::try_from(distance).ok())
}

/// Whether rows cannot be bars of an interval that is known beforehand: within a day their distances are no
/// multiples of it, or are mostly others, or there are several days of a single bar each. A few rows need not show
/// their interval.
pub fn contradict(rows: &[Row], known: u32) -> bool {
    const FEW: usize = 3;
    let known = i64::from(known) * MICROS_PER_SECOND;
    let pairs = || rows.windows(2).filter(|pair| pair[0].day == pair[1].day);
    let n_days = 1 + rows.windows(2).filter(|pair| pair[0].day != pair[1].day).count();
    let n_pairs = pairs().count();
    if known >= i64::from(SECONDS_PER_DAY) * MICROS_PER_SECOND {
        return n_pairs > n_days;
    }
    let is_multiple = |pair: &[Row]| (pair[1].stamp - pair[0].stamp) % known == 0;
    let n_exact = pairs().filter(|pair| pair[1].stamp - pair[0].stamp == known).count();
    !pairs().all(is_multiple) || (n_pairs == 0 && n_days > FEW) || (n_pairs > FEW && n_exact * 2 < n_pairs)
}

/// Tells when the close of each row is known: for intraday bars at the stamp itself or an interval later, for daily
/// bars at the close of the session.
#[derive(Debug)]
pub struct KnownAt<'a> {
    /// Seconds from bar to bar.
    pub bar_seconds: u32,
    /// What the stamps of intraday bars mean.
    pub meaning: StampMeaning,
    /// When a session closes, local time.
    pub session_close: Time,
    /// Whether an intraday bar that begins before the session's close ends with it, as the last bar of an hour does
    /// that the session leaves unfinished. Only of sessions whose close is known for certain.
    pub ends_with_session: bool,
    /// The exchange's zone.
    pub zone: &'a TimeZone,
    /// The latest day that was asked for, and its close.
    pub latest: Option<(i32, i64)>,
}

impl KnownAt<'_> {
    /// Whether the bars say that sessions go on beyond the close, as those of commodities do: on more than one day in
    /// ten. An evening of its own, such as Muhurat trading, is no such sign.
    pub fn is_evening_usual(&mut self, rows: &[Row]) -> bool {
        let (mut n_days, mut n_evenings) = (0, 0);
        for day in rows.chunk_by(|a, b| a.day == b.day) {
            n_days += 1;
            n_evenings += usize::from(day.last().is_some_and(|row| self.is_after_close(row)));
        }
        n_evenings * 10 > n_days
    }

    /// Whether a row begins at the close of its day or later.
    pub fn is_after_close(&mut self, row: &Row) -> bool {
        self.close_of(row.day).is_some_and(|close| row.stamp >= close)
    }

    /// When the close of a row is known, in microseconds since 1970 in UTC. `goes_on` says that trading goes on beyond
    /// the close on its day.
    pub fn of(&mut self, row: &Row, goes_on: bool) -> Option<i64> {
        if self.bar_seconds >= SECONDS_PER_DAY {
            return self.close_of(row.day);
        }
        match self.meaning {
            StampMeaning::Close => Some(row.stamp),
            StampMeaning::Open => {
                let end = row.stamp.checked_add(i64::from(self.bar_seconds) * MICROS_PER_SECOND)?;
                let ends = self.ends_with_session && !goes_on;
                let close = if ends { self.close_of(row.day)? } else { i64::MAX };
                Some(if row.stamp < close { end.min(close) } else { end })
            }
        }
    }

    fn close_of(&mut self, day: i32) -> Option<i64> {
        if let Some((_, close)) = self.latest.filter(|(latest, _)| *latest == day) {
            return Some(close);
        }
        let civil = timestamp::day_date(day).to_datetime(self.session_close);
        let close = timestamp::civil_to_micros(civil, self.zone)?;
        self.latest = Some((day, close));
        Some(close)
    }
}

/// Bars in a year of a batch: the median over its symbols.
pub fn median_bars_per_year(mut counts: Vec<f64>) -> f64 {
    counts.sort_by(f64::total_cmp);
    counts.get(counts.len() / 2).copied().unwrap_or(SESSIONS_PER_YEAR)
}

/// Bars in a year of one symbol, from the times of its first and last bar and the lengths of its sessions:
/// bars by the year they span, or bars a session where they span too little.
pub fn bars_per_year_of(first: i64, last: i64, lengths: &[usize]) -> f64 {
    let span = (last - first) / MICROS_PER_SECOND;
    let days = span as f64 / f64::from(SECONDS_PER_DAY);
    if days >= DAYS_TO_COUNT_A_YEAR_FROM {
        return lengths.iter().sum::<usize>() as f64 / (days / 365.25);
    }
    let mut lengths = lengths.to_vec();
    lengths.sort_unstable();
    SESSIONS_PER_YEAR * lengths.get(lengths.len() / 2).copied().unwrap_or(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(day: i32, minute: i64) -> Row {
        let stamp = (i64::from(day) * 1_440 + minute) * 60 * MICROS_PER_SECOND;
        Row { stamp, day, line: 0, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 0.0 }
    }

    #[test]
    fn the_interval_is_the_commonest_within_a_day() {
        let mut rows: Vec<Row> = (0..6).map(|bar| row(0, bar * 5)).collect();
        rows.extend([row(1, 0), row(1, 5), row(1, 15)]);
        assert_eq!(bar_seconds(&rows), Some(300));
        let daily: Vec<Row> = [0, 1, 2, 3, 4, 7, 8, 9].map(|day| row(day, 0)).to_vec();
        assert_eq!(bar_seconds(&daily), Some(SECONDS_PER_DAY));
        assert_eq!(bar_seconds(&daily[..1]), None);
        let weekly: Vec<Row> = [0, 7, 14].map(|day| row(day, 0)).to_vec();
        assert_eq!(bar_seconds(&weekly), Some(7 * SECONDS_PER_DAY));
    }

    #[test]
    fn a_known_interval_is_contradicted_by_evidence_alone() {
        let check = |rows: &[(i32, i64)], known, expected| {
            let rows: Vec<Row> = rows.iter().map(|&(day, minute)| row(day, minute)).collect();
            assert_eq!(contradict(&rows, known), expected, "{rows:?}");
        };
        check(&[(0, 0)], 300, false);
        check(&[(0, 370), (1, 0)], 300, false);
        check(&[(0, 370), (1, 0), (1, 5), (2, 0)], 300, false);
        check(&[(0, 0), (0, 15), (0, 25), (0, 30), (0, 35)], 300, false);
        check(&[(0, 0), (0, 1)], 300, true);
        check(&[(0, 0), (0, 15), (0, 30), (0, 45), (0, 60)], 300, true);
        check(&[(0, 0), (1, 0), (2, 0), (3, 0)], 300, true);
        check(&[(0, 0), (1, 0)], SECONDS_PER_DAY, false);
        check(&[(0, 0), (0, 5), (0, 10)], SECONDS_PER_DAY, true);
    }

    #[test]
    fn a_close_is_known_at_the_end_of_its_bar_or_session() {
        let kolkata = timestamp::zone_by_name("Asia/Kolkata").unwrap();
        let close = Time::constant(15, 30, 0, 0);
        let at = |row: &Row, bar_seconds, meaning, ends_with_session| {
            let zone = &kolkata;
            let mut known =
                KnownAt { bar_seconds, meaning, session_close: close, ends_with_session, zone, latest: None };
            timestamp::display(known.of(row, false).unwrap(), zone)
        };
        let (open, end) = (StampMeaning::Open, StampMeaning::Close);
        // 225 minutes after midnight in UTC it is 09:15 in India.
        let bar = row(19_541, 225);
        assert_eq!(at(&bar, 300, open, true), "2023-07-03 09:20");
        assert_eq!(at(&bar, 300, end, true), "2023-07-03 09:15");
        assert_eq!(at(&bar, SECONDS_PER_DAY, open, true), "2023-07-03 15:30");
        // The last bar of an hour has fifteen minutes; where the close is not certain it is better late than early.
        let last = row(19_541, 585);
        assert_eq!(at(&last, 3_600, open, true), "2023-07-03 15:30");
        assert_eq!(at(&last, 3_600, open, false), "2023-07-03 16:15");
        assert_eq!(at(&last, 900, open, true), "2023-07-03 15:30");
        // Muhurat trading is in the evening, after the usual close.
        assert_eq!(at(&row(19_541, 765), 3_600, open, true), "2023-07-03 19:15");
    }

    #[test]
    fn a_year_is_counted_where_the_span_allows() {
        let daily = |days: &[i64]| {
            let ts = |day: i64| day * 86_400 * MICROS_PER_SECOND;
            bars_per_year_of(ts(days[0]), ts(days[days.len() - 1]), &vec![1; days.len()])
        };
        let year = daily(&(0..1_461).filter(|day| day % 7 < 5).collect::<Vec<_>>());
        assert!((median_bars_per_year(vec![year]) - 261.0).abs() < 1.0);
        assert_eq!(daily(&[0, 1, 2]), 252.0);
    }
}
