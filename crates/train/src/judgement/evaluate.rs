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
    // A first guess at how often to change, corrected once by the turnover that it makes.
    let wanted = policy.statistics.turnover;
    let steps = policy.statistics.bars.max(1) as f64;
    let mut chance = (wanted / (2.0 * steps)).min(1.0);
    let mut random = outcome("random", "random", &traded, &mut at_random(&space, chance, seed))?;
    if random.statistics.turnover > 0.0 {
        chance = (chance * wanted / random.statistics.turnover).min(1.0);
        random = outcome("random", "random", &traded, &mut at_random(&space, chance, seed))?;
    }
    baselines.push(random);
    let held = baselines.iter().find(|outcome| outcome.key == "buy_and_hold");
    let difference = held.and_then(|held| {
        let (own, held) = statistics::paired_daily_log_returns(&policy.history, &held.history);
        bootstrap::difference(&own, &held, seed)
    });
    Ok(Evaluation { policy, baselines, difference })
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
