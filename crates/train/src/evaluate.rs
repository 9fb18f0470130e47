//! Judges a policy on the held-out days, through the same server, rules and costs that it learnt with, and
//! beside it what needs no learning: nothing, buy and hold, short, and chance.

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use wire::spec::{ActionSpace, Market};
use wire::{Client, Open, Range, Slab};

use crate::bootstrap::{self, Difference};
use crate::history::{Fill, History, SymbolTrace, TraceRow, Trade, portfolio};
use crate::learner::Learner;
use crate::network::Distribution;
use crate::ppo::Outgoing;
use crate::statistics::{self, Statistics};

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
    learner: &mut dyn Learner,
    seed: u64,
) -> Result<Evaluation> {
    let space = client.spec().action.clone();
    let cost_kinds = client.spec().cost_kinds.clone();
    let n_symbols = market.symbols.len() as u32;
    let traded = Open::evaluation(n_symbols, Range::Test);
    let held = Open { hold_account: true, ..traded.clone() };
    let mut outcome = |name, key, open: &Open, chooser: &mut Chooser<'_>| -> Result<Outcome> {
        let traces = play(client, market, open, chooser).with_context(|| format!("judging {name}"))?;
        let history = portfolio(&traces);
        let mut trades: Vec<Trade> = traces.iter().flat_map(SymbolTrace::trades).collect();
        trades.sort_by_key(|trade| trade.entry_ts);
        let statistics = statistics::judge(&history, &trades, &cost_kinds, market.bars_per_year);
        Ok(Outcome { name, key, traces, history, trades, statistics })
    };

    let policy = outcome("policy", "policy", &traded, &mut likeliest(&space, learner))?;
    let mut baselines = vec![
        outcome("flat", "flat", &traded, &mut always(&space, 0.0))?,
        outcome("buy and hold", "buy_and_hold", &held, &mut always(&space, 1.0))?,
    ];
    if market.rules.square_off {
        let name = "long every day";
        baselines.push(outcome(name, "long_every_day", &traded, &mut always(&space, 1.0))?);
    }
    if market.rules.short {
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

/// Judges `learner`'s likeliest actions where there is no market, on `n_envs` environments for `steps` each.
///
/// # Errors
/// If the server refuses or is gone, or the device fails.
pub fn judge_known_answer(
    client: &mut Client,
    learner: &mut dyn Learner,
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

/// Writes one action an environment, in stored form, given what the environments show.
type Chooser<'a> = dyn FnMut(&Slab, &mut Vec<f32>) -> Result<()> + 'a;

fn likeliest<'a>(
    space: &ActionSpace,
    learner: &'a mut dyn Learner,
) -> impl FnMut(&Slab, &mut Vec<f32>) -> Result<()> + use<'a> {
    let distribution = Distribution::over(space);
    move |slab, actions| {
        let heads = learner.infer(slab.obs())?;
        actions.resize(slab.layout().n_envs() * distribution.action_len(), 0.0);
        let slots = actions.chunks_exact_mut(distribution.action_len());
        for (outputs, slot) in heads.policy.chunks_exact(distribution.outputs()).zip(slots) {
            distribution.mode(outputs, slot);
        }
        Ok(())
    }
}

fn always(space: &ActionSpace, target: f64) -> impl FnMut(&Slab, &mut Vec<f32>) -> Result<()> + use<> {
    let action = action_for(space, target);
    move |slab, actions| {
        actions.clear();
        (0..slab.layout().n_envs()).for_each(|_| actions.extend_from_slice(&action));
        Ok(())
    }
}

/// Changes to another target, any of the others, with probability `chance` a step.
fn at_random(
    space: &ActionSpace,
    chance: f64,
    seed: u64,
) -> impl FnMut(&Slab, &mut Vec<f32>) -> Result<()> + use<> {
    let targets = match space {
        ActionSpace::Discrete { levels, .. } if !levels.is_empty() => levels.clone(),
        ActionSpace::Discrete { n, .. } => (0..*n).map(f64::from).collect(),
        ActionSpace::Box { low, .. } if low.first().is_some_and(|low| *low < 0.0) => vec![0.0, 1.0, -1.0],
        ActionSpace::Box { .. } => vec![0.0, 1.0],
    };
    let actions_of: Vec<Vec<f32>> = targets.iter().map(|&target| action_for(space, target)).collect();
    let flat = targets.iter().position(|target| *target == 0.0).unwrap_or(0);
    let mut players: Vec<(Stream, usize)> = Vec::new();
    move |slab, actions| {
        actions.clear();
        for env in 0..slab.layout().n_envs() {
            if players.len() <= env {
                players.push((Stream::new(seed, Purpose::Baseline, env as u64, 0), flat));
            }
            let (stream, current) = &mut players[env];
            if stream.uniform() < chance && targets.len() > 1 {
                let other = stream.below(targets.len() as u64 - 1) as usize;
                *current = if other < *current { other } else { other + 1 };
            }
            actions.extend_from_slice(&actions_of[*current]);
        }
        Ok(())
    }
}

/// The action that asks for `target`, a fraction of equity, or for what comes nearest.
fn action_for(space: &ActionSpace, target: f64) -> Vec<f32> {
    match space {
        ActionSpace::Discrete { levels, .. } => {
            let distance = |i: &usize| (levels[*i] - target).abs();
            let best = (0..levels.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            vec![best.unwrap_or(0) as f32]
        }
        ActionSpace::Box { low, high } => {
            low.iter().zip(high).map(|(low, high)| (target as f32).clamp(*low, *high)).collect()
        }
    }
}

/// Plays one continuous episode a symbol and keeps its trace.
fn play(
    client: &mut Client,
    market: &Market,
    open: &Open,
    choose: &mut Chooser<'_>,
) -> Result<Vec<SymbolTrace>> {
    let zone = time_zone(&market.timezone);
    let space = client.spec().action.clone();
    let mut session = client.open(open)?;
    client.reset(&mut session)?;
    let empty = |symbol: &wire::spec::Symbol| SymbolTrace {
        symbol: symbol.name.clone(),
        capital: market.rules.capital,
        rows: Vec::new(),
        costs_by_kind: vec![0.0; client.spec().cost_kinds.len()],
    };
    let mut traces: Vec<SymbolTrace> = market.symbols.iter().map(empty).collect();
    let (mut outgoing, mut actions) = (Outgoing::new(&space), Vec::new());
    let mut playing = vec![true; traces.len()];
    // An episode cannot have more steps than its symbol has rows; a server for which it has is broken.
    let limit = market.symbols.iter().map(|symbol| symbol.rows).max().unwrap_or(0) + 1;
    for _ in 0..limit {
        choose(session.slab(), &mut actions)?;
        client.step(&mut session, outgoing.fill(&actions))?;
        let slab = session.slab();
        for (env, trace) in traces.iter_mut().enumerate().filter(|(env, _)| playing[*env]) {
            trace.rows.push(trace_row(slab, env, &zone));
            trace.costs_by_kind.iter_mut().zip(slab.trace_costs(env)).for_each(|(sum, cost)| *sum += cost);
        }
        for (env, playing) in playing.iter_mut().enumerate() {
            *playing &= slab.terminated()[env] | slab.truncated()[env] == 0;
        }
        if !playing.contains(&true) {
            client.close(session)?;
            return Ok(traces);
        }
    }
    bail!("an episode of the environment server has no end")
}

fn trace_row(slab: &Slab, env: usize, zone: &TimeZone) -> TraceRow {
    let [ts, _, close, open_price, open_shares, close_price, close_shares, shares, equity] =
        std::array::from_fn(|column| slab.trace_column(column)[env]);
    let ts = ts as i64;
    // The price of no order is not a number, and would make every sum one.
    let fill = |shares: f64, price: f64| if shares == 0.0 { Fill::default() } else { Fill { shares, price } };
    TraceRow {
        ts,
        day: day_of(ts, zone),
        close,
        at_open: fill(open_shares, open_price),
        at_close: fill(close_shares, close_price),
        shares,
        equity,
        costs: slab.trace_costs(env).iter().sum(),
    }
}

/// A time zone by its IANA name or fixed offset (`+05:30`); UTC if this machine does not know it.
pub fn time_zone(name: &str) -> TimeZone {
    TimeZone::get(name)
        .or_else(|_| jiff::fmt::temporal::DateTimeParser::new().parse_time_zone(name))
        .unwrap_or(TimeZone::UTC)
}

/// The local date of a time, as days since 1970.
fn day_of(ts_micros: i64, zone: &TimeZone) -> i32 {
    let date = Timestamp::from_microsecond(ts_micros)
        .map_or(civil::date(1970, 1, 1), |ts| zone.to_datetime(ts).date());
    (date - civil::date(1970, 1, 1)).get_days()
}
