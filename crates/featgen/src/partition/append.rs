//! Recorded bars and new ones into one series. What is recorded holds; new bars come behind it, and whatever else
//! they say is an error that names the option which settles it.

use std::cmp::Ordering;

use jiff::tz::TimeZone;
use market::load::Dedup;
use market::{Bars, LoadOptions, timestamp};

/// The bars of `recorded` and of `new`, oldest first, and how many of them were not recorded, or not so. Both
/// have their sessions in one calendar.
pub fn merge(
    recorded: &Bars,
    new: &Bars,
    load: &LoadOptions,
    zone: &TimeZone,
) -> Result<(Bars, usize), String> {
    let Some(&last) = recorded.ts.last() else { return Ok((new.clone(), new.len())) };
    let when = |at: usize| timestamp::display(new.ts[at], zone);
    let mut merged = Bars { symbol: recorded.symbol.clone(), ..Bars::default() };
    let (mut n_new, mut old, mut at) = (0, 0, 0);
    while old < recorded.len() || at < new.len() {
        let order = match (recorded.ts.get(old), new.ts.get(at)) {
            (Some(old), Some(new)) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => push(&mut merged, recorded, old),
            Ordering::Greater => {
                if new.ts[at] < last && !load.sort {
                    return Err(format!(
                        "the bar of {} is new, and older than what is recorded (put it in its place with --sort)",
                        when(at)
                    ));
                }
                n_new += 1;
                push(&mut merged, new, at);
            }
            Ordering::Equal if is_same(recorded, old, new, at) => push(&mut merged, recorded, old),
            Ordering::Equal => match load.dedup {
                Dedup::Error => {
                    return Err(format!(
                        "the bar of {} is not the one that is recorded (close {} where {} is recorded; settle it \
                         with --dedup first or --dedup last, or make the part anew from all bars without --append)",
                        when(at),
                        new.close[at],
                        recorded.close[old]
                    ));
                }
                Dedup::First => push(&mut merged, recorded, old),
                Dedup::Last => {
                    n_new += 1;
                    push(&mut merged, new, at);
                }
            },
        }
        old += usize::from(order != Ordering::Greater);
        at += usize::from(order != Ordering::Less);
    }
    Ok((merged, n_new))
}

fn values(bars: &Bars, at: usize) -> [f64; 5] {
    [bars.open[at], bars.high[at], bars.low[at], bars.close[at], bars.volume[at]]
}

fn is_same(one: &Bars, at: usize, other: &Bars, other_at: usize) -> bool {
    values(one, at).map(f64::to_bits) == values(other, other_at).map(f64::to_bits)
        && one.session[at] == other.session[other_at]
}

fn push(bars: &mut Bars, from: &Bars, at: usize) {
    bars.ts.push(from.ts[at]);
    bars.session.push(from.session[at]);
    bars.open.push(from.open[at]);
    bars.high.push(from.high[at]);
    bars.low.push(from.low[at]);
    bars.close.push(from.close[at]);
    bars.volume.push(from.volume[at]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars at these minutes with these closes.
    fn bars(minutes_and_closes: &[(i64, f64)]) -> Bars {
        let mut bars = Bars { symbol: "A".into(), ..Bars::default() };
        for &(minute, close) in minutes_and_closes {
            bars.ts.push(minute * 60_000_000);
            bars.session.push((minute / 1_440) as i32);
            for column in [&mut bars.open, &mut bars.high, &mut bars.low, &mut bars.close, &mut bars.volume] {
                column.push(close);
            }
        }
        bars
    }

    fn merged(new: &[(i64, f64)], load: &LoadOptions) -> Result<(Vec<f64>, usize), String> {
        let recorded = bars(&[(5, 1.0), (10, 2.0), (20, 3.0)]);
        merge(&recorded, &bars(new), load, &TimeZone::UTC).map(|(bars, n_new)| (bars.close, n_new))
    }

    #[test]
    fn new_bars_come_behind_and_copies_are_no_news() {
        let load = LoadOptions::default();
        assert_eq!(merged(&[(25, 4.0)], &load), Ok((vec![1.0, 2.0, 3.0, 4.0], 1)));
        assert_eq!(merged(&[(10, 2.0), (20, 3.0), (25, 4.0)], &load), Ok((vec![1.0, 2.0, 3.0, 4.0], 1)));
        assert_eq!(merged(&[(5, 1.0), (20, 3.0)], &load), Ok((vec![1.0, 2.0, 3.0], 0)));
    }

    #[test]
    fn what_disputes_the_record_names_the_option_that_settles_it() {
        let mut load = LoadOptions::default();
        let error = merged(&[(10, 9.0)], &load).unwrap_err();
        assert!(
            error.starts_with("the bar of 1970-01-01 00:10 is not the one") && error.contains("--dedup"),
            "{error}"
        );
        load.dedup = Dedup::First;
        assert_eq!(merged(&[(10, 9.0), (25, 4.0)], &load), Ok((vec![1.0, 2.0, 3.0, 4.0], 1)));
        load.dedup = Dedup::Last;
        assert_eq!(merged(&[(10, 9.0)], &load), Ok((vec![1.0, 9.0, 3.0], 1)));
        let error = merged(&[(15, 7.0)], &load).unwrap_err();
        assert!(error.contains("--sort"), "{error}");
        load.sort = true;
        assert_eq!(merged(&[(0, 0.5), (15, 7.0)], &load), Ok((vec![0.5, 1.0, 2.0, 7.0, 3.0], 2)));
    }
}
