//! How much of the difference between two accounts chance explains: a stationary bootstrap (Politis and
//! Romano 1994, "The Stationary Bootstrap") of their days, drawn in pairs and in blocks, so that days that
//! resemble the days before them do not count as new evidence. Pure: returns in, an interval out.

use random::{Purpose, Stream};
use serde::Serialize;

use crate::judgement::probability::{normal_cdf, student_quantile};

/// Resamples drawn: the ends of the interval then wander by about one part in a hundred of its width.
const RESAMPLES: u64 = 10_000;
/// Fewer days are not judged: their autocorrelations, and so the length of blocks, are not to be had.
pub const FEWEST_DAYS: usize = 10;
/// The bootstraps' statistic numbers, part of the key of their random numbers.
const DIFFERENCE: u64 = 1;
const INTERQUARTILE: u64 = 2;

/// A number, and between which ones chance may have moved it, with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// As measured.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What one account earned over another, day by day, and what chance does to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of mean daily log returns.
    pub mean_daily_log_return: Interval,
    /// Of total returns over all days, as fractions.
    pub total_return: Interval,
    /// Days.
    pub days: usize,
    /// Mean length of the blocks, in days: see [`block_length`].
    pub block_days: f64,
}

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The interval contains 0.
    Chance,
    /// It lies above 0.
    Better,
    /// It lies below 0.
    Worse,
}

impl Interval {
    /// On which side of 0 it lies.
    pub fn meaning(&self) -> Meaning {
        match (self.low > 0.0, self.high < 0.0) {
            (true, _) => Meaning::Better,
            (_, true) => Meaning::Worse,
            _ => Meaning::Chance,
        }
    }
}

/// Compares accounts with the daily log returns `own` and `other`, day by day; `None` for fewer than
/// [`FEWEST_DAYS`], or if an account was wiped out.
pub fn difference(own: &[f64], other: &[f64], seed: u64) -> Option<Difference> {
    let days = own.len();
    let finite = own.iter().chain(other).all(|value| value.is_finite());
    if days != other.len() || days < FEWEST_DAYS || !finite {
        return None;
    }
    let differences: Vec<f64> = own.iter().zip(other).map(|(own, other)| own - other).collect();
    let block_days = block_length(&differences);
    let (mut means, mut totals) = (Vec::new(), Vec::new());
    for resample in 0..RESAMPLES {
        let mut stream = Stream::new(seed, Purpose::Bootstrap, DIFFERENCE, resample);
        let (mut sum, mut other_sum) = (0.0, 0.0);
        stationary(days, block_days, &mut stream, |day| {
            sum += own[day];
            other_sum += other[day];
        });
        means.push((sum - other_sum) / days as f64);
        totals.push(sum.exp_m1() - other_sum.exp_m1());
    }
    let (sum, other_sum) = (own.iter().sum::<f64>(), other.iter().sum::<f64>());
    let tail = tail_probability(days);
    Some(Difference {
        mean_daily_log_return: interval((sum - other_sum) / days as f64, &mut means, tail),
        total_return: interval(sum.exp_m1() - other_sum.exp_m1(), &mut totals, tail),
        days,
        block_days,
    })
}

/// The mean of the middle half of `values` (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
/// Statistical Precipice"): a quarter, rounded down, is left out at each end. The interval is that of a bootstrap
/// of the values; for one value it is a point, and for few of them too narrow.
pub fn interquartile_mean(values: &[f64], seed: u64) -> Interval {
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let cut = values.len() / 4;
        let kept = &values[cut..values.len() - cut];
        kept.iter().sum::<f64>() / kept.len() as f64
    };
    let resampled = |resample: u64| {
        let mut stream = Stream::new(seed, Purpose::Bootstrap, INTERQUARTILE, resample);
        let mut drawn: Vec<f64> =
            values.iter().map(|_| values[stream.below(values.len() as u64) as usize]).collect();
        middle(&mut drawn)
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(resampled).collect();
    interval(middle(&mut values.to_vec()), &mut means, 0.025)
}

/// The mean length of the blocks of a stationary bootstrap that suits `series` (Politis and White 2004,
/// "Automatic Block-Length Selection for the Dependent Bootstrap", with the correction of Patton, Politis
/// and White 2009), at least 1.
pub fn block_length(series: &[f64]) -> f64 {
    let n = series.len();
    let mean = series.iter().sum::<f64>() / n as f64;
    let centred: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    // Lags beyond this many insignificant ones in a row do not matter.
    let quiet_lags = ((n as f64).log10() as usize).max(5);
    let last_lag = (((n as f64).sqrt().ceil() as usize) + quiet_lags).min(n.saturating_sub(2));
    let bound = 2.0 * ((n as f64).log10() / n as f64).sqrt();
    let mut covariances = Vec::new();
    let mut significant = Vec::new();
    for lag in 0..=last_lag {
        let product: f64 = centred[lag..].iter().zip(&centred).map(|(late, early)| late * early).sum();
        let scale = (squares(&centred[lag + 1..]) * squares(&centred[..n - lag - 1])).sqrt();
        covariances.push(product / n as f64);
        significant.push(product.abs() >= bound * scale);
    }
    let first_quiet = (0..=last_lag.saturating_sub(quiet_lags))
        .find(|&lag| !significant[lag..lag + quiet_lags].contains(&true));
    let window = first_quiet.map_or(last_lag, |lag| (2 * lag.max(1)).min(last_lag));
    let (mut slope, mut spectrum) = (0.0, covariances[0]);
    for (lag, covariance) in covariances.iter().enumerate().take(window + 1).skip(1) {
        // The trapezoidal lag window of Politis and Romano 1995.
        let weight = (2.0 * (1.0 - lag as f64 / window as f64)).min(1.0);
        slope += 2.0 * weight * lag as f64 * covariance;
        spectrum += 2.0 * weight * covariance;
    }
    let longest = (3.0 * (n as f64).sqrt()).min(n as f64 / 3.0).ceil();
    let length = (slope * slope / (spectrum * spectrum)).cbrt() * (n as f64).cbrt();
    // A series without variance has no length; one day at a time is then as good as any.
    if length.is_finite() { length.clamp(1.0, longest.max(1.0)) } else { 1.0 }
}

/// Draws `n` of `0..n` in blocks of geometric length that begin anywhere and wrap around.
fn stationary(n: usize, block_length: f64, stream: &mut Stream, mut take: impl FnMut(usize)) {
    let mut at = 0;
    for drawn in 0..n {
        let begins = drawn == 0 || stream.uniform() * block_length < 1.0;
        at = if begins { stream.below(n as u64) as usize } else { (at + 1) % n };
        take(at);
    }
}

/// What to leave out at each end. Quantiles of a bootstrap are too narrow for few days, by the deviation's
/// n over n − 1 and by the normal's tails in place of Student's; Hesterberg 2015, "What Teachers Should Know
/// About the Bootstrap", widens them so that normal data get Student's interval.
fn tail_probability(n: usize) -> f64 {
    let n = n as f64;
    normal_cdf(-(n / (n - 1.0)).sqrt() * student_quantile(0.975, n - 1.0))
}

fn interval(estimate: f64, resampled: &mut [f64], tail: f64) -> Interval {
    resampled.sort_by(f64::total_cmp);
    let last = resampled.len() - 1;
    let place = (tail * last as f64).round() as usize;
    Interval { estimate, low: resampled[place], high: resampled[last - place] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An autoregression on the noise of a textbook generator, simple enough to repeat in any language.
    fn autoregression(n: usize, rho: f64) -> Vec<f64> {
        let (mut state, mut value) = (12_345_u64, 0.0);
        let mut next = || {
            state = (1_103_515_245 * state + 12_345) % (1 << 31);
            value = rho * value + (state as f64 / f64::from(1_u32 << 31) - 0.5);
            value
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn block_lengths_are_those_of_an_independent_implementation() {
        // `optimal_block_length` of the Python package arch 8, column `stationary`, on the same series.
        for (n, rho, expected) in [
            (16, 0.5, 1.101_364_687_264_770_2),
            (30, 0.0, 1.005_333_787_487_098_7),
            (30, 0.5, 2.259_862_702_848_019_4),
            (30, 0.8, 5.081_324_533_976_618),
            (250, 0.0, 1.0), // 0.91 there; a block has at least a day here
            (250, 0.3, 2.975_963_431_250_754),
            (250, 0.7, 9.928_049_040_566_625),
            (1000, 0.5, 11.155_837_550_460_227),
            (1000, 0.9, 25.325_077_028_523_378),
            (1000, -0.4, 5.997_308_487_607_952),
        ] {
            let found = block_length(&autoregression(n, rho));
            assert!((found - expected).abs() < 1e-9, "{n} values, ρ {rho}: {found} is not {expected}");
        }
    }

    #[test]
    fn blocks_have_their_mean_length_and_every_day_its_turn() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let (mut counts, mut begun, mut before) = ([0_u32; 40], 0_u32, usize::MAX - 1);
        for _ in 0..5_000 {
            stationary(40, 8.0, &mut stream, |day| {
                counts[day] += 1;
                begun += u32::from(day != (before + 1) % 40);
                before = day;
            });
        }
        assert!(counts.iter().all(|&count| (4_600..5_400).contains(&count)), "{counts:?}");
        // Each resample begins one block, and 39 of its days begin another one in eight times, one in 40 of
        // which looks like going on.
        let expected = 5_000.0 * (1.0 + 39.0 / 8.0) * (39.0 / 40.0);
        assert!((f64::from(begun) / expected - 1.0).abs() < 0.02, "{begun} blocks, {expected} expected");
    }

    /// How often, of `trials`, the interval holds the true mean of an autoregression.
    fn coverage(n: usize, rho: f64, trials: u64) -> f64 {
        let mut held = 0;
        for trial in 0..trials {
            let mut noise = Stream::new(3, Purpose::Test, n as u64, trial);
            let mut value = noise.normal() / (1.0 - rho * rho).sqrt();
            let series: Vec<f64> = (0..n)
                .map(|_| {
                    value = rho * value + noise.normal();
                    0.01 * value
                })
                .collect();
            let block = block_length(&series);
            let mut means: Vec<f64> = (0..500)
                .map(|resample| {
                    let mut sum = 0.0;
                    let mut stream = Stream::new(trial, Purpose::Bootstrap, 9, resample);
                    stationary(n, block, &mut stream, |day| sum += series[day]);
                    sum / n as f64
                })
                .collect();
            held += u64::from(interval(0.0, &mut means, tail_probability(n)).meaning() == Meaning::Chance);
        }
        held as f64 / trials as f64
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        // Two in a hundred of these 1,000 intervals is three standard errors.
        let independent = coverage(30, 0.0, 1_000);
        assert!((0.92..=0.975).contains(&independent), "30 independent days: {independent}");
        let dependent = coverage(250, 0.5, 300);
        assert!((0.88..=0.98).contains(&dependent), "250 days, ρ 0.5: {dependent}");
    }

    #[test]
    fn a_difference_that_is_there_is_told_from_one_that_is_not() {
        let mut noise = Stream::new(5, Purpose::Test, 0, 0);
        let other: Vec<f64> = (0..60).map(|_| 0.01 * noise.normal()).collect();
        let wiggle: Vec<f64> = (0..60).map(|_| 0.002 * noise.normal()).collect();
        let plus = |drift: f64| -> Vec<f64> {
            other.iter().zip(&wiggle).map(|(other, wiggle)| other + wiggle + drift).collect()
        };
        for (drift, meaning) in [(0.002, Meaning::Better), (-0.002, Meaning::Worse), (0.0, Meaning::Chance)] {
            let found = difference(&plus(drift), &other, 1).unwrap();
            assert_eq!(found.mean_daily_log_return.meaning(), meaning, "{found:?}");
            assert_eq!(found.total_return.meaning(), meaning, "{found:?}");
            let Interval { estimate, low, high } = found.total_return;
            assert!(low < estimate && estimate < high, "{found:?}");
            let total: f64 = plus(drift).iter().sum::<f64>().exp() - other.iter().sum::<f64>().exp();
            assert!((estimate - total).abs() < 1e-12);
            assert_eq!(difference(&plus(drift), &other, 1), Some(found), "equal seeds, equal bits");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_none_and_equal_accounts_differ_by_nothing() {
        assert_eq!(difference(&[0.01; 9], &[0.0; 9], 1), None);
        assert_eq!(difference(&[f64::NEG_INFINITY; 20], &[0.0; 20], 1), None);
        let same = difference(&[0.01; 20], &[0.01; 20], 1).unwrap();
        assert_eq!((same.total_return.meaning(), same.block_days), (Meaning::Chance, 1.0));
    }
}
