//! What a run has to show: one value, from which `report.json`, the page and the summary are made.
//!
//! # Layout
//! - [`tables`]: for spreadsheets; [`page`], [`charts`], [`cpu_log`]: for a browser; [`summary`]: for the end of a
//!   command.
//! - [`group_report`]: the same of several runs as one.
//! - [`words`]: numbers, times and days as people read them.
pub mod charts;
pub mod cpu_log;
pub mod group_report;
pub mod page;
pub mod summary;
pub mod tables;
pub mod words;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::spec::{Market, Provenance};

use crate::config::Config;
use crate::judgement::bootstrap::{FEWEST_DAYS, Interval, Meaning};
use crate::judgement::deflated_sharpe::DeflatedSharpe;
use crate::judgement::evaluate::{Evaluation, KnownAnswer};
use crate::judgement::origin::Origin;
use crate::judgement::statistics::daily_returns;
use crate::report::words::{percent, plural, thousands};
use crate::training::files::put_file;
use crate::training::validation::Validation;

/// Who earned what a policy without a single trade earned: the subject of a first line.
pub const HELD_NOTHING: &str = "The policy DID NOT TRADE (0 trades); holding nothing";

/// Where the time of a run went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeSplit {
    /// Between sending actions and having the server's answer.
    pub environment: f64,
    /// The networks while acting, and drawing actions.
    pub inference: f64,
    /// Learning from rollouts.
    pub update: f64,
    /// Looking at the validation days.
    pub validation: f64,
    /// Copying checkpoints and writing metrics.
    pub checkpoint: f64,
    /// Waiting at the end for the disk to take the last checkpoint.
    pub waiting: f64,
}

impl TimeSplit {
    /// The parts by name; of validation only where there was any.
    pub fn parts(&self) -> Vec<(&'static str, f64)> {
        let parts = [
            ("environment", self.environment),
            ("inference", self.inference),
            ("update", self.update),
            ("validation", self.validation),
            ("checkpoint", self.checkpoint),
            ("waiting", self.waiting),
        ];
        parts.into_iter().filter(|(name, seconds)| *name != "validation" || *seconds > 0.0).collect()
    }

    /// The parts that come to a percent and more: `environment 8 %, update 91 %`.
    pub fn in_words(&self) -> String {
        let total = self.total().max(f64::MIN_POSITIVE);
        let shares = self.parts().into_iter().map(|(name, seconds)| (name, 100.0 * seconds / total));
        let words =
            shares.filter(|(_, share)| *share >= 1.0).map(|(name, share)| format!("{name} {share:.0} %"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.parts().iter().map(|(_, seconds)| seconds).sum()
    }
}

/// How the policy came to be; none where a checkpoint was judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Training {
    /// Environment steps.
    pub timesteps: u64,
    /// Wall-clock seconds of learning.
    pub seconds: f64,
    /// Where they went.
    pub time_split: TimeSplit,
    /// The longest that the loop stood still for a checkpoint, in milliseconds.
    pub longest_checkpoint_stall_ms: f64,
    /// The same of the usual update.
    pub median_checkpoint_stall_ms: f64,
    /// How the policy was chosen; none where the last one was taken.
    pub validation: Option<Validation>,
    /// Everything that decided the run.
    pub config: Config,
}

impl Training {
    /// Environment steps a second.
    pub fn steps_per_second(&self) -> f64 {
        self.timesteps as f64 / self.seconds
    }
}

/// What the judgement is about.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Held-out days of a market.
    Market(Box<Market>, Box<Evaluation>),
    /// A market that holds out no days.
    NoTestDays(Box<Market>),
    /// An environment with a known answer, by its name.
    KnownAnswer(String, KnownAnswer),
}

/// What a run has to show.
#[derive(Debug, Clone)]
pub struct Report {
    /// The judgement.
    pub verdict: Verdict,
    /// What the policy learnt from; none where there is no market.
    pub origin: Option<Origin>,
    /// The training.
    pub training: Option<Training>,
    /// The seed that the baseline at random, or the training, was keyed with.
    pub seed: u64,
    /// What is left of the policy's Sharpe ratio once luck is taken off; none where it has none, or where
    /// the runs beside it are not known.
    pub deflated_sharpe: Option<DeflatedSharpe>,
    /// The kinds of costs.
    pub cost_kinds: Vec<String>,
    /// The checkpoint that was judged.
    pub checkpoint: String,
}

impl Report {
    /// The market, where there is one.
    pub fn market(&self) -> Option<&Market> {
        match &self.verdict {
            Verdict::Market(market, _) | Verdict::NoTestDays(market) => Some(market),
            Verdict::KnownAnswer(..) => None,
        }
    }

    /// The judgement on held-out days, where there is one.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        match &self.verdict {
            Verdict::Market(_, evaluation) => Some(evaluation),
            _ => None,
        }
    }

    /// The first line of everything: whether the policy was worth it.
    pub fn headline(&self) -> String {
        match &self.verdict {
            Verdict::Market(market, evaluation) => {
                let held = evaluation.baseline("buy_and_hold");
                let held = held.map_or(f64::NAN, |held| held.statistics.total_return);
                let verb = if evaluation.beats_buy_and_hold() { "beats" } else { "DOES NOT BEAT" };
                let label = if market.provenance.kind == "simulated" { " of SIMULATED data" } else { "" };
                let own = evaluation.policy.statistics.total_return;
                let also = if own < 0.0 && evaluation.beats_buy_and_hold() { ", BUT LOST MONEY" } else { "" };
                let days = plural(evaluation.policy.statistics.days as u64, "day");
                let (warning, ending) = match self.seen_days() {
                    0 => (String::new(), " that it never saw"),
                    seen => (format!("NOT HELD OUT, {seen} of {days} were learnt from: "), ""),
                };
                let hidden = self.origin.as_ref().is_some_and(|origin| origin.hides_simulation(market));
                let learnt = if hidden { " It learnt on SIMULATED data." } else { "" };
                // Of whom holds nothing while prices fall, "beats" alone would be taken for skill.
                let who =
                    if evaluation.policy.statistics.never_traded() { HELD_NOTHING } else { "The policy" };
                format!(
                    "{warning}{who} {verb} buy and hold{also}: {} against {} on {days}{label}{ending}.{learnt}",
                    percent(own),
                    percent(held),
                )
            }
            Verdict::NoTestDays(_) => {
                "The policy is NOT JUDGED: the server holds out no days (give envpool --test-days 30).".into()
            }
            Verdict::KnownAnswer(name, answer) => {
                let mut line = format!("{name}: {:.5} reward a step", answer.mean_reward_per_step);
                if let Some(mean) = answer.mean_episode_return {
                    let _ = write!(line, ", {mean:.2} an episode");
                }
                format!("{line}, over {} steps of the likeliest actions.", thousands(answer.steps))
            }
        }
    }

    /// How many of the judged days the policy learnt from.
    pub fn seen_days(&self) -> u32 {
        match (&self.origin, self.market()) {
            (Some(origin), Some(market)) => origin.seen_days(market),
            _ => 0,
        }
    }

    /// The days that the policy learnt from, in words.
    pub fn learnt_days(&self) -> String {
        self.origin.as_ref().map_or("nothing".into(), |origin| {
            let chose = match origin.n_validation_days {
                0 => String::new(),
                n => format!(" (the last {n} chose among policies)"),
            };
            let days = plural(origin.n_days.into(), "day");
            format!("{days}{chose}, {} to {}", origin.first_day, origin.last_day)
        })
    }

    /// What the policy earned over buy and hold, and what chance does in so few days: one line.
    pub fn difference_in_words(&self) -> Option<String> {
        let evaluation = self.evaluation()?;
        let Some(difference) = &evaluation.difference else {
            return Some(format!(
                "fewer than {FEWEST_DAYS} days cannot tell a policy from chance (hold out more)"
            ));
        };
        let Interval { estimate, low, high } = difference.total_return;
        let points = |fraction: f64| percent(fraction).trim_end_matches(" %").to_owned();
        let days = plural(difference.days as u64, "day");
        let meaning = match difference.total_return.meaning() {
            Meaning::Chance => format!("within what chance does in {days}"),
            Meaning::Better => format!("more than chance does in {days}"),
            Meaning::Worse => format!("worse than chance does in {days}"),
        };
        Some(format!(
            "{} points to buy and hold, 95 % interval {} to {}: {meaning}",
            points(estimate),
            points(low),
            points(high)
        ))
    }

    /// The document of `report.json`.
    ///
    /// # Errors
    /// If a part of it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Value> {
        let mut document = Map::new();
        let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
        put("version", env!("CARGO_PKG_VERSION").into());
        put("headline", self.headline().into());
        match &self.verdict {
            Verdict::Market(market, evaluation) => {
                put("provenance", serde_json::to_value(&market.provenance)?);
                put("beats_buy_and_hold", evaluation.beats_buy_and_hold().into());
                put("policy", serde_json::to_value(&evaluation.policy.statistics)?);
                let baselines = evaluation
                    .baselines
                    .iter()
                    .map(|outcome| Ok((outcome.key.to_owned(), serde_json::to_value(&outcome.statistics)?)));
                put("baselines", Value::Object(baselines.collect::<Result<_>>()?));
                put("difference_to_buy_and_hold", serde_json::to_value(evaluation.difference)?);
                put("difference_in_words", self.difference_in_words().into());
                put("daily_returns", daily_returns(&evaluation.policy.history).into());
                put("deflated_sharpe", serde_json::to_value(self.deflated_sharpe)?);
            }
            Verdict::NoTestDays(market) => {
                put("provenance", serde_json::to_value(&market.provenance)?);
            }
            Verdict::KnownAnswer(name, answer) => {
                let label = Provenance { kind: "simulated".into(), label: format!("SIMULATED ({name})") };
                put("provenance", serde_json::to_value(label)?);
                put("policy", serde_json::to_value(answer)?);
                put("baselines", Value::Object(Map::new()));
            }
        }
        put("origin", serde_json::to_value(&self.origin)?);
        put("seen_days", self.seen_days().into());
        put("market", serde_json::to_value(self.market())?);
        put("seeds", vec![self.seed].into());
        put("checkpoint", self.checkpoint.clone().into());
        if let Some(training) = &self.training {
            put("timesteps", training.timesteps.into());
            put("seconds", training.seconds.into());
            put("steps_per_second", training.steps_per_second().into());
            put("time_split", serde_json::to_value(training.time_split)?);
            put("longest_checkpoint_stall_ms", training.longest_checkpoint_stall_ms.into());
            put("median_checkpoint_stall_ms", training.median_checkpoint_stall_ms.into());
            put("validation", serde_json::to_value(&training.validation)?);
            put("config", serde_json::to_value(&training.config)?);
        }
        Ok(Value::Object(document))
    }

    /// Writes `report.json`, `trades.csv` and `positions.csv` into `directory`.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.to_json()?)?;
        put_file(&directory.join("report.json"), &(text + "\n"))?;
        if let Verdict::Market(market, evaluation) = &self.verdict {
            put_file(&directory.join("trades.csv"), &tables::trades(market, evaluation))?;
            put_file(&directory.join("positions.csv"), &tables::positions(market, evaluation))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_told_by_its_larger_parts() {
        let split = TimeSplit { environment: 0.8, update: 9.16, waiting: 0.04, ..TimeSplit::default() };
        assert_eq!(split.in_words(), "environment 8 %, update 92 %");
        assert_eq!(TimeSplit::default().in_words(), "");
    }
}
