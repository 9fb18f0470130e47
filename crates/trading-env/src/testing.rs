//! Tables and rollouts for tests and benchmarks, here and in the crates above.

use market::{Bars, FeatureColumn, FeatureInfo, FeatureTable, FileInfo, Provenance, SymbolFeatures};
use random::{Purpose, Stream};

use crate::{ActionSpace, Actions, Batch, Environment, EpisodeStatistics, Outputs, TraceRow};

/// Rows before the features of [`random_walk_table`] are known.
const LOOKBACK: usize = 2;

/// Bars that walk at random, by about a percent each, with features made of the two closes before.
pub fn random_walk_table(
    n_symbols: usize,
    n_sessions: usize,
    bars_per_session: usize,
    n_features: usize,
    seed: u64,
) -> FeatureTable {
    let symbols = (0..n_symbols)
        .map(|symbol_idx| {
            let mut stream = Stream::new(seed, Purpose::Test, symbol_idx as u64, 0);
            let mut bars = Bars { symbol: format!("SYM{symbol_idx}"), ..Bars::default() };
            let mut price = 100.0;
            for row in 0..n_sessions * bars_per_session {
                let open = price * (1.0 + 0.005 * stream.normal());
                price = open * (1.0 + 0.01 * stream.normal());
                bars.ts.push((row as i64 + 1) * 300_000_000);
                bars.session.push((row / bars_per_session) as i32);
                bars.open.push(open);
                bars.high.push(open.max(price));
                bars.low.push(open.min(price));
                bars.close.push(price);
                bars.volume.push(1000.0);
            }
            let columns = (0..n_features).map(|feature_idx| feature(&bars, feature_idx)).collect();
            SymbolFeatures { bars, columns }
        })
        .collect();
    FeatureTable {
        info: FileInfo {
            schema_version: market::features::SCHEMA_VERSION,
            tool: "test".into(),
            specification: "test".into(),
            features: (0..n_features)
                .map(|i| FeatureInfo { name: format!("feature_{i}"), lookback: LOOKBACK })
                .collect(),
            bar_seconds: if bars_per_session == 1 { 86_400 } else { 300 },
            bars_per_year: 250.0 * bars_per_session as f64,
            timezone: "Asia/Kolkata".into(),
            calendar: (0..n_sessions)
                .map(|i| format!("2025-{:02}-{:02}", i / 28 % 12 + 1, i % 28 + 1))
                .collect(),
            inputs: Vec::new(),
            provenance: Provenance::Simulated { generator: "random walk for tests".into(), seed },
        },
        symbols,
    }
}

fn feature(bars: &Bars, feature_idx: usize) -> FeatureColumn {
    let values = (0..bars.len()).map(|row| {
        if row < LOOKBACK {
            return f32::NAN;
        }
        let change = bars.close[row] / bars.close[row - 1 - feature_idx % LOOKBACK] - 1.0;
        (change * (1.0 + feature_idx as f64)) as f32
    });
    FeatureColumn::F32(values.collect())
}

/// Everything that a batch said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rollout {
    /// The reset's observations, then every step's.
    pub observations: Vec<f32>,
    /// Every step's rewards.
    pub rewards: Vec<f32>,
    /// Terminated and truncated.
    pub ends: Vec<(u8, u8)>,
    /// The last observations of finished episodes, in order.
    pub finals: Vec<f32>,
    /// The statistics of finished episodes, in order.
    pub statistics: Vec<EpisodeStatistics>,
    /// Every step's trace.
    pub trace: Vec<TraceRow>,
}

/// The actions of one step, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnedActions {
    /// For a discrete action space.
    Choices(Vec<i32>),
    /// For a continuous one.
    Numbers(Vec<f32>),
}

impl OwnedActions {
    /// As a step takes them.
    pub fn borrowed(&self) -> Actions<'_> {
        match self {
            Self::Choices(choices) => Actions::Discrete(choices),
            Self::Numbers(numbers) => Actions::Continuous(numbers),
        }
    }

    /// The action of `env` alone, which has `len` numbers if it has any.
    #[must_use]
    pub fn of(&self, env: usize, len: usize) -> Self {
        match self {
            Self::Choices(choices) => Self::Choices(vec![choices[env]]),
            Self::Numbers(numbers) => Self::Numbers(numbers[env * len..(env + 1) * len].to_vec()),
        }
    }

    /// One after the other.
    pub fn join(parts: &[Self], space: &ActionSpace) -> Self {
        let mut joined = match space {
            ActionSpace::Discrete { .. } => Self::Choices(Vec::new()),
            ActionSpace::Box { .. } => Self::Numbers(Vec::new()),
        };
        for part in parts {
            match (&mut joined, part) {
                (Self::Choices(all), Self::Choices(more)) => all.extend(more),
                (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
                _ => panic!("actions of two kinds"),
            }
        }
        joined
    }
}

/// Actions that differ by environment and step, anywhere in `space`, bounds included.
pub fn varied_actions(space: &ActionSpace, n_envs: usize, step: usize) -> OwnedActions {
    let mut stream = Stream::new(step as u64, Purpose::Test, 1, 0);
    match space {
        ActionSpace::Discrete { n_choices } => {
            OwnedActions::Choices((0..n_envs).map(|_| stream.below((*n_choices).into()) as i32).collect())
        }
        ActionSpace::Box { low, high } => {
            let bounds = (0..n_envs).flat_map(|_| low.iter().zip(high));
            let draw = |(&low, &high): (&f32, &f32)| match stream.below(4) {
                0 => low,
                1 => high,
                _ => low + (high - low) * stream.uniform() as f32,
            };
            OwnedActions::Numbers(bounds.map(draw).collect())
        }
    }
}

/// Plays `n_steps` after a reset; `choose(env, step)` is the action.
pub fn rollout<E: Environment>(
    batch: &mut Batch<E>,
    n_steps: usize,
    choose: impl Fn(usize, usize) -> i32,
) -> Rollout {
    let n_envs = batch.n_envs();
    let choices = |step| OwnedActions::Choices((0..n_envs).map(|env| choose(env, step)).collect());
    after_reset(batch, |batch| play(batch, n_steps, choices))
}

/// Plays `n_steps` of [`varied_actions`] after a reset.
pub fn varied_rollout<E: Environment>(batch: &mut Batch<E>, n_steps: usize) -> Rollout {
    after_reset(batch, |batch| varied_play(batch, n_steps))
}

/// Plays `n_steps` of [`varied_actions`] from where the batch stands.
pub fn varied_play<E: Environment>(batch: &mut Batch<E>, n_steps: usize) -> Rollout {
    let (space, n_envs) = (batch.action_space().clone(), batch.n_envs());
    play(batch, n_steps, |step| varied_actions(&space, n_envs, step))
}

fn after_reset<E: Environment>(
    batch: &mut Batch<E>,
    go_on: impl FnOnce(&mut Batch<E>) -> Rollout,
) -> Rollout {
    let mut observations = vec![0.0; batch.n_envs() * batch.environment().observation_len()];
    batch.reset(&[], &mut observations);
    let rest = go_on(batch);
    observations.extend(rest.observations);
    Rollout { observations, ..rest }
}

/// Plays `n_steps` from where the batch stands; `choose(step)` are the actions.
pub fn play<E: Environment>(
    batch: &mut Batch<E>,
    n_steps: usize,
    choose: impl Fn(usize) -> OwnedActions,
) -> Rollout {
    let n_envs = batch.n_envs();
    let observation_len = batch.environment().observation_len();
    let mut all = Rollout::default();
    let mut observations = vec![0.0; n_envs * observation_len];
    let mut finals = observations.clone();
    let (mut rewards, mut terminated) = (vec![0.0; n_envs], vec![0; n_envs]);
    let (mut truncated, mut finished) = (terminated.clone(), terminated.clone());
    let mut statistics = vec![EpisodeStatistics::default(); n_envs];
    let mut trace = vec![TraceRow::default(); n_envs];
    for step in 0..n_steps {
        let actions = choose(step);
        let outputs = Outputs {
            observations: &mut observations,
            rewards: &mut rewards,
            terminated: &mut terminated,
            truncated: &mut truncated,
            finished: &mut finished,
            final_observations: &mut finals,
            statistics: &mut statistics,
            trace: &mut trace,
        };
        if let Err(error) = batch.step(actions.borrowed(), outputs) {
            panic!("{error}");
        }
        all.observations.extend(&observations);
        all.rewards.extend(&rewards);
        all.ends.extend(terminated.iter().copied().zip(truncated.iter().copied()));
        all.trace.extend(&trace);
        for env in (0..n_envs).filter(|&env| finished[env] == 1) {
            all.finals.extend(&finals[env * observation_len..][..observation_len]);
            all.statistics.push(statistics[env]);
        }
    }
    all
}
