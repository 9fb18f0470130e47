//! The deflated Sharpe ratio (Bailey and López de Prado 2014, "The Deflated Sharpe Ratio"): how probable it
//! is that a policy's true Sharpe ratio is above what the best of so many tries shows by chance alone. The
//! tries are the runs that lie beside this one and were judged on the same data.

use std::f64::consts::E;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use wire::spec::{Days, Market};

use crate::judgement::probability::{normal_cdf, normal_quantile};
use crate::training::group::plan::GroupPlan;

/// The Euler-Mascheroni constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// What is left of a Sharpe ratio once luck is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DeflatedSharpe {
    /// The probability that the true ratio is above `expected_by_chance`.
    pub probability: f64,
    /// The ratio, of daily returns, that the best of `trials` tries shows if none has any skill.
    pub expected_by_chance: f64,
    /// Tries, this one included.
    pub trials: usize,
}

/// Deflates the Sharpe ratio of `daily` returns by the daily ratios of the `other_trials`; `None` if the
/// returns have no deviation.
pub fn deflate(daily: &[f64], other_trials: &[f64]) -> Option<DeflatedSharpe> {
    let n = daily.len() as f64;
    let mean = daily.iter().sum::<f64>() / n;
    let moment = |power: i32| daily.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n;
    let deviation = moment(2).sqrt();
    // Rounding leaves a crumb of deviation in equal returns.
    if daily.len() < 3 || deviation <= 1e-12 {
        return None;
    }
    let sharpe = mean / (deviation * (n / (n - 1.0)).sqrt());
    let (skewness, kurtosis) = (moment(3) / deviation.powi(3), moment(4) / deviation.powi(4));
    let trials: Vec<f64> = other_trials.iter().copied().chain([sharpe]).collect();
    let expected_by_chance = best_by_chance(&trials);
    let probability = probability_above(expected_by_chance, sharpe, n, skewness, kurtosis);
    Some(DeflatedSharpe { probability, expected_by_chance, trials: trials.len() })
}

/// The probability that the true ratio is above `benchmark`, by `sharpe` of `n` returns: the probabilistic
/// Sharpe ratio (Bailey and López de Prado 2012, "The Sharpe Ratio Efficient Frontier").
fn probability_above(benchmark: f64, sharpe: f64, n: f64, skewness: f64, kurtosis: f64) -> f64 {
    let spread = (1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe).max(f64::EPSILON);
    normal_cdf((sharpe - benchmark) * (n - 1.0).sqrt() / spread.sqrt())
}

/// The largest ratio to expect of so many tries without skill, which scatter as these do. One is no choice.
fn best_by_chance(trials: &[f64]) -> f64 {
    let n = trials.len() as f64;
    if trials.len() < 2 {
        return 0.0;
    }
    let mean = trials.iter().sum::<f64>() / n;
    let variance = trials.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let largest =
        (1.0 - EULER) * normal_quantile(1.0 - 1.0 / n) + EULER * normal_quantile(1.0 - 1.0 / (n * E));
    variance.sqrt() * largest
}

/// The daily Sharpe ratios of the runs beside `run`, those of its group and of groups beside it included, that were judged on the same days of the same data as those of
/// `market`; a policy that never traded counts with 0. What is no report of a run is passed over.
pub fn trials_beside(run: &Path, market: &Market) -> Vec<f64> {
    // `latest` may have led to it.
    let Ok(run) = fs::canonicalize(run) else { return Vec::new() };
    let Some(parent) = run.parent() else { return Vec::new() };
    // Runs of a group lie one deeper.
    let out = if GroupPlan::lies_in(parent) { parent.parent().unwrap_or(parent) } else { parent };
    let mut others: Vec<PathBuf> = directories(out)
        .into_iter()
        .flat_map(|path| if GroupPlan::lies_in(&path) { directories(&path) } else { vec![path] })
        .filter(|path| *path != run)
        .collect();
    others.sort();
    others
        .iter()
        .filter_map(|path| {
            let report: Value = serde_json::from_slice(&fs::read(path.join("report.json")).ok()?).ok()?;
            let days: Option<Days> = serde_json::from_value(report["market"]["test"].clone()).ok()?;
            let is_same = report["market"]["data_digest"] == *market.data_digest && days == market.test;
            is_same.then(|| daily_sharpe(&report)).flatten()
        })
        .collect()
}

/// The directories in `directory`, but for links to them.
fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_own = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_own).map(|entry| entry.path()).collect()
}

fn daily_sharpe(report: &Value) -> Option<f64> {
    let policy = &report["policy"];
    let bars_per_year = report["market"]["bars_per_year"].as_f64()?;
    let days_per_year = bars_per_year * policy["days"].as_f64()? / policy["bars"].as_f64()?;
    Some(policy["sharpe"].as_f64().map_or(0.0, |sharpe| sharpe / days_per_year.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_example_of_the_paper() {
        // Bailey and López de Prado 2014, page 102: 100 trials whose annual ratios have variance 1/2, so the
        // daily benchmark is 0.1132; a daily ratio of 2.5/√250 with skewness −3 and kurtosis 10 over 1250
        // days is then right with probability 0.9004.
        let ratios: Vec<f64> = {
            let deviation = (0.5_f64 / 250.0).sqrt();
            // 100 numbers with exactly that sample variance.
            let scale = deviation * (99.0_f64 / 100.0).sqrt();
            (0..100).map(|i| if i % 2 == 0 { scale } else { -scale }).collect()
        };
        let benchmark = best_by_chance(&ratios);
        assert!((benchmark - 0.1132).abs() < 1e-4, "{benchmark}");
        let probability = probability_above(benchmark, 2.5 / 250.0_f64.sqrt(), 1250.0, -3.0, 10.0);
        assert!((probability - 0.9004).abs() < 1e-4, "{probability}");
    }

    #[test]
    fn one_trial_is_compared_with_nothing_and_many_lower_the_probability() {
        let daily: Vec<f64> = (0..60).map(|i| 0.001 + 0.01 * f64::from(i * 7 % 11 - 5)).collect();
        let alone = deflate(&daily, &[]).unwrap();
        assert_eq!((alone.trials, alone.expected_by_chance), (1, 0.0));
        assert!(daily.iter().sum::<f64>() > 0.0 && alone.probability > 0.5);
        let many = deflate(&daily, &[0.1, -0.1, 0.2, -0.2]).unwrap();
        assert!(many.trials == 5 && many.probability < alone.probability, "{many:?} {alone:?}");
        assert_eq!(deflate(&[0.0; 30], &[]), None);
    }

    #[test]
    fn trials_are_the_runs_beside_on_the_same_days_of_the_same_data() {
        let out = tempfile::tempdir().unwrap();
        let put_days = |name: &str, digest: &str, sharpe: &str, last: u32| {
            fs::create_dir_all(out.path().join(name)).unwrap();
            let text = format!(
                "{{\"market\": {{\"data_digest\": \"{digest}\", \"bars_per_year\": 1000.0, \
                 \"test\": {{\"first\": 2, \"last\": {last}}}}}, \
                 \"policy\": {{\"days\": 25, \"bars\": 100, \"sharpe\": {sharpe}}}}}"
            );
            fs::write(out.path().join(name).join("report.json"), text).unwrap();
        };
        let put = |name: &str, digest: &str, sharpe: &str| put_days(name, digest, sharpe, 2);
        put("a", "same", "5.0");
        put_days("other-days", "same", "8.0", 3);
        put("b", "other", "7.0");
        put("c", "same", "null");
        put("own", "same", "9.0");
        fs::create_dir(out.path().join("unfinished")).unwrap();
        std::os::unix::fs::symlink("a", out.path().join("latest")).unwrap();
        let market = Market { data_digest: "same".into(), ..crate::report::summary::tests::market() };
        let found = trials_beside(&out.path().join("own"), &market);
        let daily = |annual: f64| annual / 250.0_f64.sqrt();
        assert_eq!(found, [daily(5.0), 0.0]);

        // Runs of groups are tries like any other, from within and from without.
        put("group/seed-1", "same", "1.0");
        put("group/seed-2", "same", "2.0");
        GroupPlan::seeds(&Config::default(), 2, 1).write(&out.path().join("group")).unwrap();
        let found = trials_beside(&out.path().join("own"), &market);
        assert_eq!(found, [daily(5.0), 0.0, daily(1.0), daily(2.0)]);
        std::os::unix::fs::symlink("group", out.path().join("newest")).unwrap();
        let found = trials_beside(&out.path().join("newest/seed-2"), &market);
        assert_eq!(found, [daily(5.0), 0.0, daily(1.0), daily(9.0)]);
    }
}
