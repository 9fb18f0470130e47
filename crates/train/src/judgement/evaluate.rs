//! Judges a policy on the held-out days, through the same server, rules and costs that it learnt with, and
//! beside it what needs no learning: nothing, buy and hold, short, and chance.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use wire::spec::Market;
use wire::{Client, Open};

use crate::algorithms::env::Outgoing;
use crate::judgement::bootstrap::{self, Difference};
use crate::judgement::history::{History, SymbolTrace, Trade, portfolio};
use crate::judgement::play::{Chooser, always, at_random, holding, likeliest, offers, play};
use crate::judgement::statistics::{self, Statistics};
use crate::networks::learner::Policy;
use crate::training::stop::Stop;
use crate::training::window::range;

/// One way of trading the held-out days, and what came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it is called in reports.
    pub name: &'static str,
    /// What it is called in files.
    pub key: &'static str,
    /// Account by account.
    pub traces: Vec<SymbolTrace>,
    /// All accounts together.
    pub history: History,
    /// All trades.
    pub trades: Vec<Trade>,
    /// What is said of it.
    pub statistics: Statistics,
}

/// The policy and its baselines on the held-out days.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The policy.
    pub policy: Outcome,
    /// Flat, buy and hold, and the others.
    pub baselines: Vec<Outcome>,
    /// What the policy earned over buy and hold, and what chance does; none for too few days.
    pub difference: Option<Difference>,
}

impl Evaluation {
    /// A baseline by its key.
    pub fn baseline(&self, key: &str) -> Option<&Outcome> {
        self.baselines.iter().find(|outcome| outcome.key == key)
    }

    /// Whether the policy ended with more than buy and hold.
    pub fn beats_buy_and_hold(&self) -> bool {
        let held = self.baseline("buy_and_hold").map(|outcome| outcome.statistics.total_return);
        held.is_some_and(|held| self.policy.statistics.total_return > held)
    }
}

/// What is said of a policy where there is no market: an environment with a known answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KnownAnswer {
    /// Mean reward of a step.
    pub mean_reward_per_step: f64,
    /// Mean return of the episodes that ended.
    pub mean_episode_return: Option<f64>,
    /// Steps judged, over all environments.
    pub steps: u64,
}

/// Judges `learner`'s likeliest actions on the held-out days of `market`, beside the baselines. `seed` is
/// for the baseline that acts at random, and for resampling the days.
///
/// # Errors
/// If the server refuses or is gone, or the device fails.
pub fn judge(
    client: &mut Client,
    market: &Market,
    learner: &mut dyn Policy,
    seed: u64,
    stop: &Stop,
) -> Result<Evaluation> {
    let space = client.spec().action.clone();
    let cost_kinds = client.spec().cost_kinds.clone();
    let n_symbols = market.symbols.len() as u32;
    let test = market.test.context("the server holds out no days")?;
    let traded = Open::evaluation(n_symbols, range(test));
    let held = Open { hold_account: true, ..traded.clone() };
    let mut outcome = |name, key, open: &Open, chooser: &mut Chooser<'_>| -> Result<Outcome> {
        let traces = play(client, market, open, chooser, stop).with_context(|| format!("judging {name}"))?;
        let history = portfolio(&traces);
        let mut trades: Vec<Trade> = traces.iter().flat_map(SymbolTrace::trades).collect();
        trades.sort_by_key(|trade| trade.entry_ts);
        let statistics = statistics::judge(&history, &trades, &cost_kinds, market.bars_per_year);
        Ok(Outcome { name, key, traces, history, trades, statistics })
    };

    let policy = outcome("policy", "policy", &traded, &mut likeliest(&space, learner))?;
    let mut baselines = vec![
        // Neither depends on what the policy may do.
        outcome("flat", "flat", &held, &mut always(&holding(), 0.0))?,
        outcome("buy and hold", "buy_and_hold", &held, &mut always(&holding(), 1.0))?,
    ];
    if market.rules.square_off && offers(&space, 1.0) {
        let name = "long every day";
        baselines.push(outcome(name, "long_every_day", &traded, &mut always(&space, 1.0))?);
    }
    if market.rules.short && offers(&space, -1.0) {
        baselines.push(outcome("always short", "always_short", &traded, &mut always(&space, -1.0))?);
    }
    let wanted = policy.statistics.turnover;
    let guess = wanted / (2.0 * policy.statistics.bars.max(1) as f64);
    let random = nearest(wanted, guess, |chance| {
        let random = outcome("random", "random", &traded, &mut at_random(&space, chance, seed))?;
        Ok((random.statistics.turnover, random))
    })?;
    baselines.push(random);
    let held = baselines.iter().find(|outcome| outcome.key == "buy_and_hold");
    let difference = held.and_then(|held| {
        let (own, held) = statistics::paired_daily_log_returns(&policy.history, &held.history);
        bootstrap::difference(&own, &held, seed)
    });
    Ok(Evaluation { policy, baselines, difference })
}

/// How often the account at random is played to find out how often it must change its position.
const MOST_TRIES: usize = 10;
/// How near its turnover must come to that of the policy, as a fraction.
const NEAR_ENOUGH: f64 = 0.01;

/// What `play` gives at the chance whose turnover comes nearest to `wanted`. It is told a chance of changing the
/// position, a step, and gives the turnover first, which grows with the chance as a rule. The search begins at
/// `guess` and goes between the nearest from below and the nearest from above.
fn nearest<T>(wanted: f64, guess: f64, mut play: impl FnMut(f64) -> Result<(f64, T)>) -> Result<T> {
    let mut chance = guess.clamp(0.0, 1.0);
    let (mut turnover, mut best) = play(chance)?;
    let (mut below, mut above) = ((0.0, 0.0), None::<(f64, f64)>);
    let mut found = turnover;
    for attempt in 1..MOST_TRIES {
        if (turnover - wanted).abs() <= NEAR_ENOUGH * wanted || (chance >= 1.0 && found < wanted) {
            break;
        }
        if found < wanted {
            below = (chance, found);
        } else {
            above = Some((chance, found));
        }
        let (from, low) = below;
        chance = match above {
            // Where to look next on the line between both, and in their middle now and again: turnover makes steps.
            Some((to, high)) if attempt % 3 > 0 && high > low => {
                from + (to - from) * ((wanted - low) / (high - low)).clamp(0.05, 0.95)
            }
            Some((to, _)) => 0.5 * (from + to),
            None if low > 0.0 => (from * (wanted / low).clamp(1.05, 4.0)).min(1.0),
            None => (4.0 * from).clamp(1e-6, 1.0),
        };
        let tried = play(chance)?;
        found = tried.0;
        if (found - wanted).abs() < (turnover - wanted).abs() {
            (turnover, best) = tried;
        }
    }
    Ok(best)
}

/// The total return of `learner`'s likeliest actions on the validation days of `market`, by the rules and costs
/// of the held-out days.
///
/// # Errors
/// If the server refuses or is gone, or the device fails.
pub fn on_validation_days(
    client: &mut Client,
    market: &Market,
    learner: &mut dyn Policy,
    stop: &Stop,
) -> Result<f64> {
    let space = client.spec().action.clone();
    let days = market.validation.context("the server keeps no validation days")?;
    let open = Open::evaluation(market.symbols.len() as u32, range(days));
    let choose = &mut likeliest(&space, learner);
    let traces = play(client, market, &open, choose, stop).context("validation days")?;
    let history = portfolio(&traces);
    Ok(history.rows.last().map_or(0.0, |row| row.equity / history.capital - 1.0))
}

/// Judges `learner`'s likeliest actions where there is no market, on `n_envs` environments for `steps` each.
///
/// # Errors
/// If the server refuses or is gone, or the device fails.
pub fn judge_known_answer(
    client: &mut Client,
    learner: &mut dyn Policy,
    n_envs: u32,
    steps: u32,
    seed: u64,
) -> Result<KnownAnswer> {
    let space = client.spec().action.clone();
    let mut session = client.open(&Open::training(n_envs, seed))?;
    client.reset(&mut session)?;
    let (mut outgoing, mut actions) = (Outgoing::new(&space), Vec::new());
    let (mut total, mut returns, mut episodes) = (0.0, 0.0, 0_u32);
    let mut choose = likeliest(&space, learner);
    for _ in 0..steps {
        choose(session.slab(), &mut actions)?;
        client.step(&mut session, outgoing.fill(&actions))?;
        total += session.slab().reward().iter().copied().map(f64::from).sum::<f64>();
        for (record, ..) in session.slab().finished() {
            returns += record.episode_return;
            episodes += 1;
        }
    }
    let judged = u64::from(n_envs) * u64::from(steps);
    client.close(session)?;
    Ok(KnownAnswer {
        mean_reward_per_step: total / judged as f64,
        mean_episode_return: (episodes > 0).then(|| returns / f64::from(episodes)),
        steps: judged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turnover that is found for `wanted` where a chance makes `turnover`, and how often that was played.
    fn found(wanted: f64, guess: f64, turnover: impl Fn(f64) -> f64) -> (f64, usize) {
        let mut tries = 0;
        let found = nearest(wanted, guess, |chance| {
            assert!((0.0..=1.0).contains(&chance), "{chance}");
            tries += 1;
            Ok((turnover(chance), turnover(chance)))
        });
        (found.unwrap(), tries)
    }

    #[test]
    fn chance_trades_as_much_as_the_policy_did() {
        // In proportion; growing ever slower; in whole steps; from a guess that trades nothing at all.
        let (straight, tries) = found(240.0, 0.05, |chance| 2000.0 * chance);
        assert!((straight / 240.0 - 1.0).abs() <= 0.01 && tries <= 3, "{straight} {tries}");
        let (bent, _) = found(300.0, 0.07, |chance| 700.0 * (1.0 - (-2.0 * chance).exp()));
        assert!((bent / 300.0 - 1.0).abs() <= 0.01, "{bent}");
        let (stepped, _) = found(7.7, 0.001, |chance| (30.0 * chance).floor());
        assert_eq!(stepped, 8.0);
        let (late, _) = found(50.0, 1e-5, |chance| if chance < 0.001 { 0.0 } else { 900.0 * chance });
        assert!((late / 50.0 - 1.0).abs() <= 0.02, "{late}");
    }

    #[test]
    fn a_policy_that_never_trades_and_one_that_trades_more_than_chance_can_are_met_at_once() {
        assert_eq!(found(0.0, 0.0, |chance| 100.0 * chance), (0.0, 1));
        let (most, tries) = found(400.0, 0.9, |chance| 100.0 * chance);
        assert_eq!((most, tries), (100.0, 2));
    }
}
