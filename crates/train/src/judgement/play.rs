//! Plays one continuous episode a symbol on a server and keeps its trace: what an evaluation judges, and what
//! `train act` prints.

use anyhow::{Result, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use random::{Purpose, Stream};
use wire::spec::{ActionSpace, Market};
use wire::{Client, Open, Slab};

use crate::algorithms::env::Outgoing;
use crate::judgement::history::{Fill, SymbolTrace, TraceRow};
use crate::networks::learner::Policy;
use crate::networks::network::Distribution;
use crate::training::stop::Stop;

/// Writes one action an environment, in stored form, given what the environments show.
pub type Chooser<'a> = dyn FnMut(&Slab, &mut Vec<f32>) -> Result<()> + 'a;

/// Plays one continuous episode a symbol and keeps its trace.
///
/// # Errors
/// If the server refuses or is gone, no action can be chosen, or it is to stop.
pub fn play(
    client: &mut Client,
    market: &Market,
    open: &Open,
    choose: &mut Chooser<'_>,
    stop: &Stop,
) -> Result<Vec<SymbolTrace>> {
    let zone = time_zone(&market.timezone);
    let space = if open.hold_account { holding() } else { client.spec().action.clone() };
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
        stop.check()?;
        choose(session.slab(), &mut actions)?;
        decide(&mut traces, &space, &actions, |env| playing[env]);
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
            // An account that goes on past its last bar has one more decision to make; one that was closed
            // there, or is ruined, has none.
            if !open.liquidate_at_end {
                choose(session.slab(), &mut actions)?;
                decide(&mut traces, &space, &actions, |env| session.slab().terminated()[env] == 0);
            }
            client.close(session)?;
            return Ok(traces);
        }
    }
    bail!("an episode of the environment server has no end")
}

/// Notes what `actions` want to hold from the next bar on, at the bars at whose close they were chosen.
fn decide(
    traces: &mut [SymbolTrace],
    space: &ActionSpace,
    actions: &[f32],
    deciding: impl Fn(usize) -> bool,
) {
    let width = actions.len() / traces.len().max(1);
    for (env, trace) in traces.iter_mut().enumerate().filter(|(env, _)| deciding(*env)) {
        let wanted = trace.rows.iter().rev().nth(1).and_then(|row| row.target).unwrap_or(0.0);
        if let (Some(row), Some(action)) =
            (trace.rows.last_mut(), actions.get(env * width..(env + 1) * width))
        {
            row.target = target_of(space, action).or(Some(wanted));
        }
    }
}

/// A direction that points less far from 0 than this asks for no change, where an action is a direction and a size.
const DIRECTION_THRESHOLD: f64 = 1.0 / 3.0;

/// The target position that `action`, in stored form, asks for, as a fraction of equity; none if it asks for no
/// change. Of a direction and a size it is the size, with the direction's sign.
fn target_of(space: &ActionSpace, action: &[f32]) -> Option<f64> {
    match (space, action) {
        (ActionSpace::Discrete { levels, .. }, [choice]) => {
            Some(levels.get(*choice as usize).copied().unwrap_or_else(|| (*choice).into()))
        }
        (ActionSpace::Box { low, high }, _) => {
            let bounded = |(value, (low, high)): (&f32, (&f32, &f32))| f64::from(value.max(*low).min(*high));
            let values: Vec<f64> = action.iter().zip(low.iter().zip(high)).map(bounded).collect();
            match values[..] {
                [target] => Some(target),
                [direction, size] => {
                    (direction.abs() > DIRECTION_THRESHOLD).then(|| size.copysign(direction))
                }
                _ => None,
            }
        }
        (ActionSpace::Discrete { .. }, _) => None,
    }
}

/// Plays what `learner` holds likeliest.
pub fn likeliest<'a>(
    space: &ActionSpace,
    learner: &'a mut dyn Policy,
) -> impl FnMut(&Slab, &mut Vec<f32>) -> Result<()> + use<'a> {
    let distribution = Distribution::over(space);
    let mut seen = Vec::new();
    move |slab, actions| {
        slab.observations().copy_into(&mut seen);
        let heads = learner.infer(&seen)?;
        actions.resize(slab.layout().n_envs() * distribution.action_len(), 0.0);
        let slots = actions.chunks_exact_mut(distribution.action_len());
        for (outputs, slot) in heads.policy.chunks_exact(distribution.outputs()).zip(slots) {
            distribution.mode(outputs, slot);
        }
        Ok(())
    }
}

/// Plays one target all the time.
pub fn always(space: &ActionSpace, target: f64) -> impl FnMut(&Slab, &mut Vec<f32>) -> Result<()> + use<> {
    let action = action_for(space, target);
    move |slab, actions| {
        actions.clear();
        (0..slab.layout().n_envs()).for_each(|_| actions.extend_from_slice(&action));
        Ok(())
    }
}

/// Changes to another target, any of the others, with probability `chance` a step. Each step draws the same
/// numbers whatever the chance, so that who changes more often changes at the same steps and at others too.
pub fn at_random(
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
            let changes = stream.uniform() < chance && targets.len() > 1;
            let other = stream.below((targets.len() as u64).saturating_sub(1).max(1)) as usize;
            if changes {
                *current = if other < *current { other } else { other + 1 };
            }
            actions.extend_from_slice(&actions_of[*current]);
        }
        Ok(())
    }
}

/// What the account of buy and hold can do: stay out, or be fully invested.
pub fn holding() -> ActionSpace {
    ActionSpace::Discrete { n: 2, levels: vec![0.0, 1.0] }
}

/// Whether exactly `target`, a fraction of equity, can be asked for.
pub fn offers(space: &ActionSpace, target: f64) -> bool {
    match space {
        ActionSpace::Discrete { levels, .. } => levels.contains(&target),
        ActionSpace::Box { .. } => target_of(space, &action_for(space, target)) == Some(target),
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
            let values = match low.len() {
                // To be flat is to be long with nothing: a direction of 0 would keep what is held.
                2 => vec![1.0_f32.copysign(target as f32), target.abs() as f32],
                n => vec![target as f32; n],
            };
            values
                .iter()
                .zip(low.iter().zip(high))
                .map(|(value, (low, high))| value.clamp(*low, *high))
                .collect()
        }
    }
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
        target: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_levels_that_actions_stand_for() {
        let discrete = ActionSpace::Discrete { n: 3, levels: vec![-1.0, 0.0, 0.5] };
        assert_eq!([0.0, 2.0].map(|action| target_of(&discrete, &[action])), [Some(-1.0), Some(0.5)]);
        let numbers = ActionSpace::Box { low: vec![-0.5], high: vec![1.0] };
        let targets = [-3.0, 0.25, 2.0].map(|action| target_of(&numbers, &[action]));
        assert_eq!(targets, [Some(-0.5), Some(0.25), Some(1.0)]);
        let pair = ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 1.0] };
        let of_pair = [[-2.0, 0.5], [0.3, 1.0], [0.4, 0.25]].map(|action| target_of(&pair, &action));
        assert_eq!(of_pair, [Some(-0.5), None, Some(0.25)]);
        for space in [&discrete, &pair] {
            for target in [-1.0, 0.0, 0.5] {
                assert_eq!(target_of(space, &action_for(space, target)), Some(target));
                assert!(offers(space, target));
            }
        }
        assert!(!offers(&numbers, -1.0) && offers(&numbers, 1.0));
    }

    #[test]
    fn a_decision_is_noted_at_the_bar_at_whose_close_it_was_made() {
        let row = |ts| TraceRow { ts, ..TraceRow::default() };
        let trace = |rows| SymbolTrace { rows, ..SymbolTrace::default() };
        let mut traces = [trace(vec![row(1), row(2)]), trace(vec![]), trace(vec![row(3)])];
        let space = ActionSpace::Discrete { n: 2, levels: vec![0.0, 1.0] };
        decide(&mut traces, &space, &[1.0, 1.0, 1.0], |env| env != 2);
        let targets = |env: usize| traces[env].rows.iter().map(|row| row.target).collect::<Vec<_>>();
        assert_eq!((targets(0), targets(1), targets(2)), (vec![None, Some(1.0)], vec![], vec![None]));
    }
}
