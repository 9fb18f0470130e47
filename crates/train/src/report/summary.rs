//! What a person reads at the end of a run: at most twenty lines, the verdict first.

use std::fmt::Write as _;
use std::path::Path;

use wire::spec::Rules;

use crate::judgement::statistics::Statistics;
use crate::report::words::{days_in_words, percent, plural, thousands};
use crate::report::{Report, Verdict};

/// The summary of `report`, whose page lies at `page`.
pub fn of(report: &Report, page: Option<&Path>) -> String {
    let mut text = report.headline() + "\n";
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "{name:<11} {words}");
    };
    if let Some(market) = report.market() {
        let symbols: Vec<&str> = market.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
        let symbols =
            if symbols.len() > 6 { format!("{} symbols", symbols.len()) } else { symbols.join(", ") };
        line(
            "data",
            format!("{symbols}, {} bars, {}", bar_in_words(market.bar_seconds), market.provenance.label),
        );
        let held_out = market.test.map_or("nothing".into(), |days| days_in_words(market, days));
        let name = if report.seen_days() == 0 { "held out" } else { "judged on" };
        line(name, format!("{held_out}; trained on {}", report.learnt_days()));
        line("rules", rules_in_words(&market.rules));
    }
    if let Verdict::Market(_, evaluation) = &report.verdict {
        let _ = writeln!(
            text,
            "{:<15} {:>9} {:>7} {:>9} {:>7} {:>9} {:>9}",
            "", "return", "Sharpe", "drawdown", "trades", "turnover", "costs"
        );
        for outcome in [&evaluation.policy].into_iter().chain(&evaluation.baselines) {
            let _ = writeln!(text, "{}", table_row(outcome.name, &outcome.statistics));
        }
    }
    if let Some(words) = report.difference_in_words() {
        let _ = writeln!(text, "difference  {words}");
    }
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "{name:<11} {words}");
    };
    if let Some(training) = &report.training {
        let config = &training.config;
        let threads = config.update_threads.max(config.inference_threads);
        line(
            "speed",
            format!(
                "{} steps a second: {} steps in {:.1} s on {}, {}",
                thousands(training.steps_per_second() as u64),
                thousands(training.timesteps),
                training.seconds,
                config.device,
                plural(threads as u64, "thread")
            ),
        );
        let total = training.time_split.total();
        let parts = training.time_split.parts();
        let parts: Vec<String> =
            parts.iter().map(|(name, seconds)| format!("{name} {:.1} %", 100.0 * seconds / total)).collect();
        line("time", parts.join(", "));
        if let (Some(validation), Some(market)) = (&training.validation, report.market()) {
            line(
                "validation",
                format!(
                    "best of {} on {}: {} there, after {}; the one judged",
                    plural(validation.scores.len() as u64, "policy"),
                    days_in_words(market, validation.days),
                    percent(validation.best_total_return),
                    plural(validation.best_timesteps, "step")
                ),
            );
        }
    }
    if let Some(page) = page {
        line("report", page.display().to_string());
    }
    line("checkpoint", report.checkpoint.clone());
    text
}

fn table_row(name: &str, statistics: &Statistics) -> String {
    let sharpe = statistics.sharpe.map_or("–".into(), |sharpe| format!("{sharpe:.2}"));
    format!(
        "{name:<15} {:>9} {sharpe:>7} {:>9} {:>7} {:>8.1}x {:>9}",
        percent(statistics.total_return),
        format!("{:.2} %", 100.0 * statistics.max_drawdown),
        statistics.trades,
        statistics.turnover,
        format!("{:.2} %", 100.0 * statistics.costs_fraction),
    )
}

/// What the account is charged and allowed, in words; what is seldom changed only where it was.
pub fn rules_in_words(rules: &Rules) -> String {
    let name = if rules.name == "portfolio" { String::new() } else { format!("{}, ", rules.name) };
    let also = [
        (rules.short, ", shorts".to_owned()),
        (rules.square_off, ", square-off".to_owned()),
        (rules.leverage != 1.0, format!(", leverage {}x", rules.leverage)),
        (rules.slippage_bps != 0.0, format!(", {} bps slippage", rules.slippage_bps)),
        (rules.whole_shares, ", whole shares".to_owned()),
        (rules.reward != "log-return", format!(", learns from {}", rules.reward)),
    ];
    let also: String = also.into_iter().filter(|(holds, _)| *holds).map(|(_, words)| words).collect();
    format!("{name}{}, fills at the {}{also}", rules.costs, rules.fill.replace('-', " "))
}

/// The length of a bar in words.
pub fn bar_in_words(seconds: u32) -> String {
    match seconds {
        86_400 => "daily".into(),
        s if s % 3600 == 0 => format!("{}-hour", s / 3600),
        s if s % 60 == 0 => format!("{}-minute", s / 60),
        s => format!("{s}-second"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Config;
    use crate::judgement::bootstrap::{Difference, Interval};
    use crate::judgement::deflated_sharpe::DeflatedSharpe;
    use crate::judgement::evaluate::{Evaluation, KnownAnswer, Outcome};
    use crate::judgement::history::{History, Trade};
    use crate::judgement::origin::Origin;
    use crate::report::page;
    use crate::report::{TimeSplit, Training};
    use crate::training::validation::{Score, Validation};
    use wire::spec::{Days, Market, Provenance, Symbol};

    /// Three days, the last of them held out.
    pub fn market() -> Market {
        Market {
            symbols: vec![Symbol { name: "BPCL".into(), rows: 300 }],
            calendar: vec!["2026-01-01".into(), "2026-01-02".into(), "2026-01-05".into()],
            bar_seconds: 300,
            bars_per_year: 18_600.0,
            timezone: "Asia/Kolkata".into(),
            data_digest: "abc".into(),
            feature_specification: "core".into(),
            provenance: Provenance { kind: "simulated".into(), label: "SIMULATED (nse <1>, seed 7)".into() },
            train: Days { first: 0, last: 1 },
            validation: None,
            test: Some(Days { first: 2, last: 2 }),
            scaler: None,
            rules: Rules {
                name: "portfolio".into(),
                fill: "next-open".into(),
                costs: "nse-intraday, rates of 2024-10-01".into(),
                borrow_bps_per_year: 0.0,
                leverage: 1.0,
                hold_costs: "nse-delivery, rates of 2024-10-01".into(),
                slippage_bps: 0.0,
                short: true,
                square_off: true,
                whole_shares: false,
                capital: 100_000.0,
                currency: "INR".into(),
                ruin: 0.1,
                reward: "log-return".into(),
            },
        }
    }

    fn outcome(name: &'static str, key: &'static str, total_return: f64) -> Outcome {
        let history = History { capital: 100_000.0, ..History::default() };
        let trades: Vec<Trade> = Vec::new();
        let statistics = Statistics {
            total_return,
            sharpe: (total_return != 0.0).then_some(1.25),
            turnover: 3.25,
            days: 1,
            ..crate::judgement::statistics::judge(&history, &trades, &[], 18_600.0)
        };
        Outcome { name, key, traces: vec![], history, trades, statistics }
    }

    /// An interval of two points to each side.
    fn around(estimate: f64) -> Interval {
        Interval { estimate, low: estimate - 0.02, high: estimate + 0.02 }
    }

    fn report(policy: f64, held: f64) -> Report {
        let evaluation = Evaluation {
            policy: outcome("policy", "policy", policy),
            baselines: vec![outcome("flat", "flat", 0.0), outcome("buy and hold", "buy_and_hold", held)],
            difference: Some(Difference {
                mean_daily_log_return: around(policy - held),
                total_return: around(policy - held),
                days: 30,
                block_days: 1.5,
            }),
        };
        let split = TimeSplit {
            environment: 1.0,
            inference: 2.0,
            update: 6.5,
            validation: 0.0,
            checkpoint: 0.25,
            waiting: 0.25,
        };
        let config =
            Config { device: "cpu".into(), update_threads: 2, inference_threads: 1, ..Config::default() };
        Report {
            verdict: Verdict::Market(Box::new(market()), Box::new(evaluation)),
            training: Some(Training {
                timesteps: 1_234_567,
                seconds: 10.0,
                time_split: split,
                longest_checkpoint_stall_ms: 0.5,
                median_checkpoint_stall_ms: 0.25,
                validation: None,
                config,
            }),
            seed: 1,
            origin: Some(Origin::of(&market())),
            deflated_sharpe: Some(DeflatedSharpe { probability: 0.25, expected_by_chance: 0.1, trials: 3 }),
            cost_kinds: vec![],
            checkpoint: "runs/BPCL/x/checkpoints/1234567".into(),
        }
    }

    #[test]
    fn a_policy_that_loses_says_so_first_and_simulated_data_says_so_at_once() {
        let expected = "\
The policy DOES NOT BEAT buy and hold: -1.50 % against +2.00 % on 1 day of SIMULATED data that it never saw.
data        BPCL, 5-minute bars, SIMULATED (nse <1>, seed 7)
held out    1 day, 2026-01-05 to 2026-01-05; trained on 2 days, 2026-01-01 to 2026-01-02
rules       nse-intraday, rates of 2024-10-01, fills at the next open, shorts, square-off
                   return  Sharpe  drawdown  trades  turnover     costs
policy            -1.50 %    1.25    0.00 %       0      3.2x    0.00 %
flat               0.00 %       –    0.00 %       0      3.2x    0.00 %
buy and hold      +2.00 %    1.25    0.00 %       0      3.2x    0.00 %
difference  -3.50 points to buy and hold, 95 % interval -5.50 to -1.50: worse than chance does in 30 days
speed       123,456 steps a second: 1,234,567 steps in 10.0 s on cpu, 2 threads
time        environment 10.0 %, inference 20.0 %, update 65.0 %, checkpoint 2.5 %, waiting 2.5 %
report      runs/BPCL/x/report.html
checkpoint  runs/BPCL/x/checkpoints/1234567
";
        assert_eq!(of(&report(-0.015, 0.02), Some(Path::new("runs/BPCL/x/report.html"))), expected);
    }

    #[test]
    fn rules_that_are_not_the_usual_ones_are_named() {
        let usual = market().rules;
        let rules = Rules { leverage: 2.5, whole_shares: true, ..usual.clone() };
        assert_eq!(rules_in_words(&rules), rules_in_words(&usual) + ", leverage 2.5x, whole shares");
        let rules = Rules { name: "stock-trading-env2".into(), ..usual.clone() };
        assert_eq!(rules_in_words(&rules), format!("stock-trading-env2, {}", rules_in_words(&usual)));
    }

    #[test]
    fn only_more_than_buy_and_hold_beats_it() {
        let first = |policy, held| of(&report(policy, held), None).lines().next().unwrap().to_owned();
        assert!(first(0.021, 0.02).starts_with("The policy beats buy and hold: +2.10 % against +2.00 %"));
        assert!(first(0.02, 0.02).contains("DOES NOT BEAT"));
        assert!(first(-0.01, -0.02).starts_with("The policy beats buy and hold, BUT LOST MONEY: -1.00 %"));
    }

    #[test]
    fn a_difference_that_chance_explains_says_so() {
        let line = |policy, held| {
            let text = of(&report(policy, held), None);
            text.lines().find(|line| line.starts_with("difference")).unwrap().to_owned()
        };
        let luck = "difference  +1.00 points to buy and hold, 95 % interval -1.00 to +3.00: \
                    within what chance does in 30 days";
        assert_eq!(line(0.02, 0.01), luck);
        assert!(line(0.06, 0.01).ends_with("+3.00 to +7.00: more than chance does in 30 days"));
        let mut few = report(0.02, 0.01);
        if let Verdict::Market(_, evaluation) = &mut few.verdict {
            evaluation.difference = None;
        }
        assert!(of(&few, None).contains("difference  fewer than 10 days cannot tell a policy from chance"));
    }

    #[test]
    fn a_policy_that_validation_days_chose_says_so() {
        let mut report = report(-0.015, 0.02);
        let score = |timesteps, total_return| Score { timesteps, total_return };
        if let Some(training) = &mut report.training {
            training.time_split.validation = 1.0;
            training.validation = Some(Validation {
                days: Days { first: 1, last: 1 },
                scores: vec![score(4096, 0.01), score(8192, -0.01)],
                best_timesteps: 4096,
                best_total_return: 0.01,
            });
        }
        let text = of(&report, None);
        let expected = "\nvalidation  best of 2 policies on 1 day, 2026-01-02 to 2026-01-02: +1.00 % there, \
                        after 4,096 steps; the one judged\n";
        assert!(text.contains(expected) && text.contains("validation 9.1 %"), "{text}");
        assert_eq!(report.to_json().unwrap()["validation"]["scores"][1]["timesteps"], 8192);
        assert!(page::of(&report, &[], None).contains("Return on the validation days"));
    }

    #[test]
    fn the_report_has_its_keys_and_the_page_needs_no_network() {
        let report = report(-0.015, 0.02);
        let json = report.to_json().unwrap();
        for key in ["provenance", "policy", "baselines", "steps_per_second", "time_split", "seeds", "config"]
        {
            assert!(!json[key].is_null(), "no {key}");
        }
        assert_eq!(json["baselines"]["buy_and_hold"]["total_return"], 0.02);
        assert_eq!(json["beats_buy_and_hold"], false);
        assert_eq!(json["difference_to_buy_and_hold"]["total_return"]["high"], -0.015_000_000_000_000_003);
        assert_eq!(json["deflated_sharpe"]["trials"], 3);
        let page = page::of(&report, &[], None);
        assert!(page.contains("<h1>The policy DOES NOT BEAT buy and hold"));
        assert!(page.contains("worse than chance does in 30 days") && page.contains("25 %"));
        assert!(page.contains("SIMULATED (nse &lt;1&gt;, seed 7)"), "the label is shown, and escaped");
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn a_policy_that_never_trades_says_so_first_whatever_prices_did() {
        let first = |held: f64| {
            let mut report = report(0.0, held);
            let Verdict::Market(_, evaluation) = &mut report.verdict else { panic!("a market") };
            evaluation.policy.statistics.turnover = 0.0;
            let page = page::of(&report, &[], None);
            let headline = report.headline();
            assert!(page.contains(&format!("<h1>{headline}</h1>")), "{page}");
            assert!(of(&report, None).starts_with(&headline), "{headline}");
            headline
        };
        let expected =
            "The policy DID NOT TRADE (0 trades); holding nothing beats buy and hold: 0.00 % against -2.00 %";
        assert!(first(-0.02).starts_with(expected), "{}", first(-0.02));
        assert!(
            first(0.02).contains("(0 trades); holding nothing DOES NOT BEAT buy and hold"),
            "{}",
            first(0.02)
        );
    }

    #[test]
    fn a_known_answer_is_told_in_one_line() {
        let answer = KnownAnswer { mean_reward_per_step: 0.5, mean_episode_return: Some(12.0), steps: 1_000 };
        let verdict = Verdict::KnownAnswer("cartpole".into(), answer);
        let text = of(&Report { verdict, training: None, ..report(0.0, 0.0) }, None);
        let first =
            "cartpole: 0.50000 reward a step, 12.00 an episode, over 1,000 steps of the likeliest actions.";
        assert_eq!(text.lines().next(), Some(first));
    }

    #[test]
    fn days_that_were_learnt_from_are_not_called_unseen() {
        let mut report = report(0.02, 0.01);
        assert!(report.headline().ends_with("that it never saw."), "{}", report.headline());
        let Some(origin) = &mut report.origin else { panic!("a market has an origin") };
        origin.last_day = "2026-12-31".into();
        let text = of(&report, None);
        assert!(text.starts_with("NOT HELD OUT, 1 of 1 day were learnt from: The policy beats"), "{text}");
        assert!(!text.contains("never saw") && !text.contains("held out "), "{text}");
    }
}
