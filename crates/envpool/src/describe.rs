//! The specification for people.

use std::io::{self, Write};

use trading_env::EpisodeLength;
use wire::spec::{ActionSpace, Days, Market};

use crate::served::Served;

/// Writes what is served in under 25 lines.
pub fn write(served: &Served, out: &mut impl Write) -> io::Result<()> {
    let spec = &served.spec;
    writeln!(out, "environment   {}", spec.environment)?;
    if let Some(market) = &spec.market {
        write_market(market, served, out)?;
    }
    let observation = &spec.observation;
    writeln!(
        out,
        "observation   {} numbers: {} rows × {} features{} + {} of the account",
        observation.len,
        observation.window,
        observation.features.len(),
        if observation.feature_major { ", feature by feature," } else { "" },
        observation.account.len()
    )?;
    writeln!(out, "  features    {}", shortened(&observation.features))?;
    if !observation.account.is_empty() {
        writeln!(out, "  account     {}", observation.account.join(" "))?;
    }
    match &spec.action {
        ActionSpace::Discrete { n, levels } if levels.is_empty() => {
            writeln!(out, "actions       {n} choices")?;
        }
        ActionSpace::Discrete { levels, .. } => writeln!(out, "actions       target positions {levels:?}")?,
        ActionSpace::Box { low, high } => writeln!(out, "actions       from {low:?} to {high:?}")?,
    }
    let batch = if spec.batch == 0 { String::new() } else { format!(", {} at a time", spec.batch) };
    writeln!(out, "sessions      up to {} environments each{batch}, seed {}", spec.max_envs, spec.seed)
}

fn write_market(market: &Market, served: &Served, out: &mut impl Write) -> io::Result<()> {
    let symbols: Vec<String> =
        market.symbols.iter().map(|symbol| format!("{} ({} rows)", symbol.name, symbol.rows)).collect();
    writeln!(out, "data          {}", shortened(&symbols))?;
    writeln!(out, "provenance    {}", market.provenance.label)?;
    writeln!(out, "digest        {}", market.data_digest)?;
    writeln!(
        out,
        "bars          {} s, {:.0} a year, {}, features {}",
        market.bar_seconds, market.bars_per_year, market.timezone, market.feature_specification
    )?;
    let days = |name: &str, days: Option<Days>, out: &mut dyn Write| match days {
        None => writeln!(out, "{name:<14}none"),
        Some(days) => {
            let date = |ordinal: u32| market.calendar.get(ordinal as usize).map_or("?", String::as_str);
            writeln!(out, "{name:<14}{} days, {} to {}", days.count(), date(days.first), date(days.last))
        }
    };
    days("train", Some(market.train), out)?;
    days("validation", market.validation, out)?;
    days("test", market.test, out)?;
    let rules = &market.rules;
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    writeln!(
        out,
        "rules         {}: {} fills, costs {}, slippage {} bp, short {}, square-off {}, whole shares {}",
        rules.name,
        rules.fill,
        rules.costs,
        rules.slippage_bps,
        yes(rules.short),
        yes(rules.square_off),
        yes(rules.whole_shares)
    )?;
    writeln!(
        out,
        "account       {} {}, ruined at {} of it; leverage {}, borrowing at {} bp a year; reward {}; buy and hold pays {}",
        rules.capital,
        rules.currency,
        rules.ruin,
        rules.leverage,
        rules.borrow_bps_per_year,
        rules.reward,
        rules.hold_costs
    )?;
    if let (Some(length), Some(start)) = (served.episode_length(), served.start()) {
        match length {
            EpisodeLength::Bars(steps) => writeln!(out, "episodes      {steps} steps, {start}")?,
            EpisodeLength::Session => writeln!(out, "episodes      one session, {start}")?,
            EpisodeLength::Full => writeln!(out, "episodes      to the end of the days, {start}")?,
        }
    }
    if let Some(data) = served.data() {
        writeln!(
            out,
            "scaler        {}",
            match &market.scaler {
                None => "none: features are shown as they are".into(),
                Some(scaler) =>
                    format!("z-scores, clipped to ±{}; {} training rows", scaler.clip, data.scaler.n_rows),
            }
        )?;
    }
    Ok(())
}

/// The first names, and how many more there are.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let first = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} … and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::tests::served;

    #[test]
    fn a_page_says_days_rules_and_provenance() {
        let mut page = Vec::new();
        write(&served(&["--market", "nse", "--test-days", "4", "--batch", "32"]), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for expected in [
            "test          4 days, 2025-01-17 to 2025-01-20",
            "provenance    SIMULATED",
            "costs nse-intraday, rates of 2024-10-01",
            "square-off yes",
            "SYM0 (200 rows) SYM1 (200 rows)",
            "target positions [-1.0, 0.0, 1.0]",
            "up to 256 environments each, 32 at a time, seed 1",
        ] {
            assert!(page.contains(expected), "no {expected:?} in\n{page}");
        }
        assert!(page.lines().count() < 25);
    }
}
