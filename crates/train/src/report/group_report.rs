//! What a group of runs has to show: a row each, and what they come to together.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Config;
use crate::judgement::bootstrap::{Interval, interquartile_mean};
use crate::report::HELD_NOTHING;
use crate::report::page::{escaped, head};
use crate::report::words::{percent, plural};

/// What tells the runs of a group from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Their seeds.
    Seeds,
    /// Their days.
    WalkForward,
}

/// One run of a group.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    seed: u64,
    days: Option<String>,
    report: Value,
}

impl Member {
    /// The run called `name` with the `report.json` that it left.
    pub fn new(name: &str, config: &Config, report: Value) -> Self {
        let days = config.window.as_ref().map(|window| window.test.clone());
        Self { name: name.to_owned(), seed: config.seed, days, report }
    }

    /// What the runs of a group are compared by: the total return, or where there is no market the reward.
    fn score(&self) -> f64 {
        let policy = &self.report["policy"];
        let number = policy["total_return"].as_f64().or_else(|| policy["mean_reward_per_step"].as_f64());
        number.unwrap_or(f64::NAN)
    }

    fn baseline(&self, key: &str) -> Option<f64> {
        self.report["baselines"][key]["total_return"].as_f64()
    }

    fn statistic(&self, key: &str) -> Option<f64> {
        self.report["policy"][key].as_f64()
    }

    /// Whether its policy bought and sold nothing at all.
    fn never_traded(&self) -> bool {
        self.statistic("trades") == Some(0.0) && self.statistic("turnover") == Some(0.0)
    }
}

/// What a group has to show.
#[derive(Debug, Clone)]
pub struct GroupReport {
    /// What tells the runs apart.
    pub kind: Kind,
    /// The runs.
    pub members: Vec<Member>,
    /// Where it all lies.
    pub directory: PathBuf,
}

impl GroupReport {
    fn interquartile_mean(&self) -> Interval {
        let scores: Vec<f64> = self.members.iter().map(Member::score).collect();
        interquartile_mean(&scores, self.members.first().map_or(1, |member| member.seed))
    }

    /// The returns of `of` each window, one after the other.
    fn compounded(&self, of: impl Fn(&Member) -> f64) -> f64 {
        self.members.iter().map(|member| 1.0 + of(member)).product::<f64>() - 1.0
    }

    fn held(&self) -> Option<f64> {
        let held: Option<Vec<f64>> =
            self.members.iter().map(|member| member.baseline("buy_and_hold")).collect();
        let held = held?;
        match self.kind {
            Kind::Seeds => held.first().copied(),
            Kind::WalkForward => Some(held.iter().map(|held| 1.0 + held).product::<f64>() - 1.0),
        }
    }

    /// Whether the policies of the group together did better than buy and hold.
    fn beats_buy_and_hold(&self) -> Option<bool> {
        self.held().map(|held| self.total() > held)
    }

    /// What the policies of the group earned together.
    fn total(&self) -> f64 {
        match self.kind {
            Kind::Seeds => self.interquartile_mean().estimate,
            Kind::WalkForward => self.compounded(Member::score),
        }
    }

    /// The first line of everything.
    pub fn headline(&self) -> String {
        let mean = self.interquartile_mean();
        let runs = self.members.len() as u64;
        let Some((held, beats)) = self.held().zip(self.beats_buy_and_hold()) else {
            if !self.provenance().is_null() {
                let runs = plural(runs, "seed");
                return format!(
                    "{runs}, NOT JUDGED: the server holds out no days (give envpool --test-days 30)."
                );
            }
            return format!(
                "{}: {:.5} (interquartile mean), 95 % interval {:.5} to {:.5}.",
                plural(runs, "seed"),
                mean.estimate,
                mean.low,
                mean.high
            );
        };
        let lost = if beats && self.total() < 0.0 { ", BUT LOST MONEY" } else { "" };
        let verb = if beats { "beats" } else { "DOES NOT BEAT" };
        let simulated = self.provenance()["kind"] == "simulated";
        let label = if simulated { " of SIMULATED data" } else { "" };
        let idle = self.members.iter().filter(|member| member.never_traded()).count() as u64;
        let (who, some_idle) = match idle {
            0 => ("The policy", String::new()),
            n if n == runs => (HELD_NOTHING, String::new()),
            n => ("The policy", format!(" {n} of them DID NOT TRADE (0 trades).")),
        };
        match self.kind {
            Kind::Seeds => format!(
                "{who} {verb} buy and hold{lost}: {} against {} on {}{label} that it never saw (interquartile mean \
                 of {}, 95 % interval {} to {}).{some_idle}",
                percent(mean.estimate),
                percent(held),
                plural(
                    self.members.first().and_then(|member| member.statistic("days")).unwrap_or(0.0) as u64,
                    "day"
                ),
                plural(runs, "seed"),
                percent(mean.low),
                percent(mean.high)
            ),
            Kind::WalkForward => format!(
                "Walking forward over {}{label}, {} {verb} buy and hold{lost}: {} against {}, one after the \
                 other.{some_idle}",
                plural(runs, "window"),
                who.replacen("The", "the", 1),
                percent(self.compounded(Member::score)),
                percent(held)
            ),
        }
    }

    /// Where the bars came from; nothing where there is no market.
    fn provenance(&self) -> &Value {
        self.members.first().map_or(&Value::Null, |member| &member.report["market"]["provenance"])
    }

    fn has_market(&self) -> bool {
        self.held().is_some()
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        let share = |value: Option<f64>| value.map_or("–".into(), percent);
        let probability =
            |value: &Value| value.as_f64().map_or("–".into(), |value| format!("{:.0} %", 100.0 * value));
        let row = |member: &Member| {
            let mut row = vec![member.name.clone()];
            if self.kind == Kind::WalkForward {
                row.push(member.days.clone().unwrap_or_default());
            }
            if self.has_market() {
                row.extend([
                    percent(member.score()),
                    share(member.baseline("buy_and_hold")),
                    number(member.statistic("sharpe")),
                    member
                        .statistic("max_drawdown")
                        .map_or("–".into(), |fall| format!("{:.2} %", 100.0 * fall)),
                    member.report["policy"]["trades"].to_string(),
                    probability(&member.report["deflated_sharpe"]["probability"]),
                ]);
            } else {
                let score = member.score();
                row.push(if score.is_finite() { format!("{score:.5}") } else { "–".into() });
            }
            row
        };
        let mut columns = vec!["run"];
        if self.kind == Kind::WalkForward {
            columns.push("judged on");
        }
        if self.has_market() {
            columns.extend(["return", "buy and hold", "Sharpe", "drawdown", "trades", "not luck"]);
        } else {
            columns.push("reward a step");
        }
        let header = columns.into_iter().map(String::from).collect();
        [header].into_iter().chain(self.members.iter().map(row)).collect()
    }

    /// What a person reads at the end.
    pub fn to_text(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let mut text = self.headline() + "\n";
        if let Some(label) = self.provenance()["label"].as_str() {
            let _ = writeln!(text, "data        {label}");
        }
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  "));
        }
        let _ = writeln!(text, "report      {}", self.directory.join("report.html").display());
        text
    }

    /// `report.html`.
    pub fn to_page(&self) -> String {
        let mut page = head(&self.headline());
        if let Some(label) = self.provenance()["label"].as_str() {
            let _ = writeln!(page, "<p class=\"label\">Data: {}</p>", escaped(label));
        }
        page.push_str("<div class=\"wide\"><table>\n");
        for (i, row) in self.rows().iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let cell = |(column, cell): (usize, &String)| {
                let text = escaped(cell);
                // The first cell leads to the run's own report, which lies in the directory of its name.
                match (i, column) {
                    (1.., 0) => format!("<{tag}><a href=\"{text}/report.html\">{text}</a></{tag}>"),
                    _ => format!("<{tag}>{text}</{tag}>"),
                }
            };
            let _ = writeln!(page, "<tr>{}</tr>", row.iter().enumerate().map(cell).collect::<String>());
        }
        page.push_str("</table></div>\n");
        page.push_str(self.notes());
        page.push_str("</body></html>\n");
        page
    }

    /// What the figures are, in words.
    fn notes(&self) -> &'static str {
        match self.kind {
            Kind::Seeds => {
                "<p>Returns are after all costs. The interquartile mean leaves out the best and the worst quarter of the \
                 runs; its 95 % interval comes from resampling them, and is too narrow for few. It tells how much is luck \
                 in learning; each run's own report tells how much is luck in the days. Not luck: the probability that a \
                 run's Sharpe ratio is above what the best of all runs beside it on these days shows by chance (deflated \
                 Sharpe ratio).</p>\n"
            }
            Kind::WalkForward => {
                "<p>Returns are after all costs. Each window is judged by a policy that learnt from the days before it \
                 alone; its own report says from which. The returns of the windows multiply to the one in the first \
                 line.</p>\n"
            }
        }
    }

    /// The document of `report.json`.
    pub fn to_json(&self) -> Value {
        let runs = self.members.iter().map(|member| {
            json!({
                "name": member.name,
                "seed": member.seed,
                "days": member.days,
                "policy": member.report["policy"],
                "buy_and_hold": member.report["baselines"]["buy_and_hold"],
                "deflated_sharpe": member.report["deflated_sharpe"],
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "headline": self.headline(),
            "kind": self.kind,
            "provenance": self.members.first().map(|member| member.report["provenance"].clone()),
            "seeds": self.members.iter().map(|member| member.seed).collect::<Vec<_>>(),
            "beats_buy_and_hold": self.beats_buy_and_hold(),
            "interquartile_mean": (self.kind == Kind::Seeds).then(|| self.interquartile_mean()),
            "compounded_return": (self.kind == Kind::WalkForward).then(|| self.compounded(Member::score)),
            "buy_and_hold": self.held(),
            "runs": runs.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(kind: Kind, returns: &[(f64, f64)]) -> GroupReport {
        let member = |(i, (own, held)): (usize, &(f64, f64))| {
            let report = json!({
                "policy": { "total_return": own, "sharpe": 1.25, "max_drawdown": 0.1, "trades": 7, "days": 30 },
                "baselines": { "buy_and_hold": { "total_return": held } },
                "market": { "provenance": { "kind": "simulated", "label": "SIMULATED (nse <1>, seed 7)" } },
                "deflated_sharpe": { "probability": 0.25, "trials": 4 },
            });
            Member::new(&format!("seed-{i}"), &Config { seed: i as u64, ..Config::default() }, report)
        };
        let members = returns.iter().enumerate().map(member).collect();
        GroupReport { kind, members, directory: "runs/x".into() }
    }

    #[test]
    fn seeds_are_judged_by_their_interquartile_mean() {
        // The best and the worst quarter do not count: (0.01 + 0.03) / 2.
        let report = group(Kind::Seeds, &[(9.0, 0.05), (0.01, 0.05), (-0.9, 0.05), (0.03, 0.05)]);
        let text = report.to_text();
        let first =
            "The policy DOES NOT BEAT buy and hold: +2.00 % against +5.00 % on 30 days of SIMULATED data";
        assert!(text.starts_with(first), "{text}");
        assert_eq!(report.to_json()["interquartile_mean"]["estimate"], 0.02);
        let page = report.to_page();
        assert!(
            page.contains("SIMULATED (nse &lt;1&gt;") && page.contains("href=\"seed-1/report.html\""),
            "{page}"
        );
    }

    #[test]
    fn runs_on_a_market_without_held_out_days_are_not_judged() {
        let mut report = group(Kind::Seeds, &[(0.0, 0.0); 2]);
        let market = json!({ "market": { "provenance": { "kind": "real", "label": "real (NSE)" } } });
        report.members.iter_mut().for_each(|member| member.report = market.clone());
        let text = report.to_text();
        assert!(text.starts_with("2 seeds, NOT JUDGED") && !text.contains("NaN"), "{text}");
        report.members.iter_mut().for_each(|member| {
            member.report = json!({ "policy": { "mean_reward_per_step": 0.5 } });
        });
        assert!(
            report.headline().starts_with("2 seeds: 0.50000 (interquartile mean)"),
            "{}",
            report.headline()
        );
    }

    #[test]
    fn policies_that_never_trade_are_named_in_the_first_line() {
        let idle = |kind: Kind, count: usize| {
            let mut report = group(kind, &[(0.0, -0.1); 3]);
            for member in &mut report.members[..count] {
                member.report["policy"]["trades"] = 0.into();
                member.report["policy"]["turnover"] = 0.0.into();
            }
            report.headline()
        };
        let none = idle(Kind::Seeds, 0);
        assert!(none.starts_with("The policy beats buy") && !none.contains("TRADE"), "{none}");
        let some = idle(Kind::Seeds, 2);
        assert!(some.ends_with("). 2 of them DID NOT TRADE (0 trades)."), "{some}");
        let all = idle(Kind::Seeds, 3);
        assert!(all.starts_with("The policy DID NOT TRADE (0 trades); holding nothing beats buy"), "{all}");
        let windows = idle(Kind::WalkForward, 3);
        assert!(
            windows.contains(", the policy DID NOT TRADE (0 trades); holding nothing beats"),
            "{windows}"
        );
    }

    #[test]
    fn windows_are_judged_one_after_the_other() {
        let report = group(Kind::WalkForward, &[(0.5, 0.1), (-0.5, -0.5)]);
        assert!(
            report.headline().contains("beats buy and hold, BUT LOST MONEY: -25.00 % against -45.00 %"),
            "{}",
            report.headline()
        );
    }
}
