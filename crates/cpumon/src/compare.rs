//! What changed between two runs.

use std::path::Path;

use anyhow::Result;
use cli::Exit;
use serde::Serialize;

use crate::replay::Past;
use crate::summary::Summary;
use crate::talk::print;

/// Two runs, and the second as a share of the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first.
    pub before: Summary,
    /// The second.
    pub after: Summary,
    /// Wall time of the second over that of the first.
    pub wall_ratio: Option<f64>,
    /// The same of the CPU time.
    pub cpu_ratio: Option<f64>,
    /// The same of the parallelism.
    pub parallelism_ratio: Option<f64>,
}

/// Prints what changed, in words or as JSON.
pub fn compare(before: &Path, after: &Path, json: bool) -> Result<Exit> {
    let comparison = Comparison::new(Past::read(before)?.summary(), Past::read(after)?.summary());
    print(&if json { serde_json::to_string(&comparison)? } else { comparison.words() })?;
    Ok(Exit::Done)
}

impl Comparison {
    /// Compares.
    pub fn new(before: Summary, after: Summary) -> Self {
        let wall_ratio = ratio(Some(before.wall_s), Some(after.wall_s));
        let cpu_ratio = ratio(before.cpu_s, after.cpu_s);
        let parallelism_ratio = ratio(before.parallelism, after.parallelism);
        Self { before, after, wall_ratio, cpu_ratio, parallelism_ratio }
    }

    /// A table, and the answer in its last line.
    pub fn words(&self) -> String {
        let (before, after) = (&self.before, &self.after);
        let number = |value: Option<f64>, unit: &str| {
            value.map_or("unknown".to_owned(), |value| format!("{value:.2}{unit}"))
        };
        let mut lines = vec![format!("{:<16} {:>14} {:>14} {:>9}", "", "before", "after", "change")];
        let mut row = |name: &str, unit: &str, read: &dyn Fn(&Summary) -> Option<f64>| {
            let (was, is) = (read(before), read(after));
            let change =
                ratio(was, is).map_or("–".to_owned(), |ratio| format!("{:+.1} %", (ratio - 1.0) * 100.0));
            lines.push(format!("{name:<16} {:>14} {:>14} {change:>9}", number(was, unit), number(is, unit)));
        };
        let percent = |share: Option<f64>| share.map(|share| share * 100.0);
        row("wall time", " s", &|s| Some(s.wall_s));
        row("CPU time", " s", &|s| s.cpu_s);
        row("parallelism", "", &|s| s.parallelism);
        row("effective cores", "", &|s| Some(s.effective_cores));
        row("peak", "", &|s| s.parallelism_peak);
        row("active cores", "", &|s| s.active_cores_mean);
        row("waited for cores", " %", &|s| percent(s.run_wait));
        row("hottest thread", " %", &|s| percent(s.hottest.as_ref().map(|hot| hot.cores)));
        row("idle for disk", " %", &|s| percent(s.losses.iowait));
        row("stolen", " %", &|s| percent(s.losses.steal));
        row("memory", " MB", &|s| s.resident_peak_bytes.map(|bytes| bytes as f64 / 1e6));
        lines.push(format!("before: {} ({})", before.verdict.finding.words(), before.verdict.because));
        lines.push(format!("after:  {} ({})", after.verdict.finding.words(), after.verdict.because));
        lines.push(self.answer());
        lines.join("\n")
    }

    fn answer(&self) -> String {
        let Some(wall) = self.wall_ratio else {
            return "the runs cannot be compared: one took no time".to_owned();
        };
        let speed = if (0.97..=1.03).contains(&wall) {
            "as fast as before".to_owned()
        } else if wall < 1.0 {
            format!("{:.2} times as fast", 1.0 / wall)
        } else {
            format!("{wall:.2} times as long")
        };
        let work = self.cpu_ratio.map_or(String::new(), |cpu| format!(", with {cpu:.2} times the CPU time"));
        // Runs of different commands say nothing about a change.
        let differ = if self.before.subject == self.after.subject { "" } else { " (of different subjects)" };
        format!("{speed}{work}{differ}")
    }
}

fn ratio(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    before.zip(after).filter(|(before, _)| *before > 0.0).map(|(before, after)| after / before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Outcome;
    use crate::totals::Totals;

    fn summary(wall_s: f64, cpu_s: f64) -> Summary {
        let outcome = Outcome {
            subject: "make".into(),
            wall_s,
            counted_s: wall_s,
            cpu_s: Some(cpu_s),
            effective_cores: 2.0,
            ..Outcome::default()
        };
        Summary::new(outcome, &Totals::default())
    }

    #[test]
    fn the_last_line_says_what_changed() {
        let check = |before, after, expected: &str| {
            let words = Comparison::new(before, after).words();
            assert!(words.lines().last().unwrap().starts_with(expected), "{words}");
        };
        check(summary(10.0, 10.0), summary(5.0, 10.0), "2.00 times as fast, with 1.00 times the CPU time");
        check(summary(10.0, 10.0), summary(12.0, 5.0), "1.20 times as long, with 0.50 times");
        check(summary(10.0, 0.0), summary(10.1, 5.0), "as fast as before");
        check(summary(0.0, 0.0), summary(1.0, 1.0), "the runs cannot be compared");
    }

    #[test]
    fn columns_line_up_and_nothing_is_divided_by_zero() {
        let words = Comparison::new(summary(10.0, 0.0), summary(5.0, 3.0)).words();
        assert!(words.contains("parallelism                0.00           0.60         –"), "{words}");
        assert!(!words.contains("NaN") && !words.contains("inf"));
    }
}
