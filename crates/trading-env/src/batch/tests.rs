use std::sync::Arc;

use super::*;
use crate::environment::{EpisodeStatistics, TraceRow};
use crate::testing::{OwnedActions, Rollout, random_walk_table, rollout, varied_actions};
use crate::{
    EpisodeLength, EpisodeRules, MarketData, Portfolio, PortfolioRules, Scaler, SessionRange, Start, Targets,
};
use crate::{cartpole::CartPole, ou::OrnsteinUhlenbeck, probe::Probe};

#[test]
fn an_ended_episode_is_reset_within_the_step_and_its_last_observation_kept() {
    // Probe 3 shows 0, then 1 at its end.
    let Rollout { observations, finals, rewards, ends, .. } =
        rollout(&mut Batch::new(Probe::new(3).unwrap(), 2, 1, Autoreset::SameStep), 4, |_, _| 0);
    assert_eq!(rewards, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(ends, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 0), (0, 0), (1, 0), (1, 0)]);
    // The reset's observations come first.
    assert_eq!(observations, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(finals, [1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn an_ended_episode_is_reset_by_the_next_step_if_asked_for() {
    // As Gymnasium 1.x's next-step mode: the step after an end ignores its action and pays nothing.
    let Rollout { observations, finals, rewards, ends, statistics, .. } =
        rollout(&mut Batch::new(Probe::new(3).unwrap(), 1, 1, Autoreset::NextStep), 5, |_, _| 0);
    assert_eq!(rewards, [0.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(ends, [(0, 0), (1, 0), (0, 0), (0, 0), (1, 0)]);
    assert_eq!(observations, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    assert_eq!((finals, statistics.len(), statistics[1].length), (vec![1.0, 1.0], 2, 2));
}

#[test]
fn a_disabled_batch_stays_where_it_ended() {
    let Rollout { observations, rewards, ends, finals, statistics, .. } =
        rollout(&mut Batch::new(Probe::new(3).unwrap(), 1, 1, Autoreset::Disabled), 4, |_, _| 0);
    assert_eq!(rewards, [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(ends, [(0, 0), (1, 0), (1, 0), (1, 0)]);
    assert_eq!(observations, [0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!((finals.len(), statistics.len(), statistics[0].length), (1, 1, 2));
}

#[test]
fn a_reset_starts_the_next_episode_where_it_is_asked_for() {
    let mut batch = Batch::new(CartPole, 2, 1, Autoreset::Disabled);
    let start = |env, episode| CartPole.reset(EpisodeKey { seed: 1, env, episode });
    let mut observations = [0.0; 8];
    batch.reset(&[], &mut observations);
    assert_eq!(batch.states[0][0], start(0, 0), "nothing was played yet");
    rollout(&mut batch, 1, |_, _| 0);
    let played = batch.states[0][0];
    batch.reset(&[0, 1], &mut observations);
    assert_eq!((batch.states[0][0], batch.states[0][1]), (played, start(1, 1)));
    batch.reset(&[], &mut observations);
    assert_eq!((batch.states[0][0], batch.states[0][1]), (start(0, 1), start(1, 1)));
}

#[test]
fn a_wrong_action_names_its_environment_and_changes_nothing() {
    let batch = Batch::new(CartPole, 3, 5, Autoreset::SameStep);
    for (choices, expected) in [
        (vec![0, 1], ActionError::Count { got: 2, n_envs: 3 }),
        (vec![0, 2, 9], ActionError::OutOfRange { env: 1, action: 2, n_choices: 2 }),
        (vec![0, 1, -1], ActionError::OutOfRange { env: 2, action: -1, n_choices: 2 }),
    ] {
        assert_eq!(batch.check(Actions::Discrete(&choices)), Err(expected));
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_on_the_batch_around_an_environment() {
    let run = |threads: usize, n_envs: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let environment = OrnsteinUhlenbeck { length: 20, ..OrnsteinUhlenbeck::default() };
            let mut batch = Batch::new(environment, n_envs, 3, Autoreset::SameStep);
            rollout(&mut batch, 50, |env, step| ((env * 7 + step * 3) % 3) as i32)
        })
    };
    let one = run(1, 1024);
    for threads in [2, 8] {
        assert_eq!(one, run(threads, 1024), "{threads} threads");
    }
    let few = run(1, 10);
    for step in 0..50 {
        assert_eq!(few.rewards[step * 10..][..10], one.rewards[step * 1024..][..10]);
    }
}

/// One step's outputs.
#[derive(Debug, Clone)]
struct Written {
    observations: Vec<f32>,
    rewards: Vec<f32>,
    terminated: Vec<u8>,
    truncated: Vec<u8>,
    finished: Vec<u8>,
    finals: Vec<f32>,
    statistics: Vec<EpisodeStatistics>,
    trace: Vec<TraceRow>,
}

impl Written {
    fn new(n_envs: usize, observation_len: usize) -> Self {
        Self {
            observations: vec![0.0; n_envs * observation_len],
            rewards: vec![0.0; n_envs],
            terminated: vec![0; n_envs],
            truncated: vec![0; n_envs],
            finished: vec![0; n_envs],
            finals: vec![0.0; n_envs * observation_len],
            statistics: vec![EpisodeStatistics::default(); n_envs],
            trace: vec![TraceRow::default(); n_envs],
        }
    }

    fn outputs(&mut self) -> Outputs<'_> {
        Outputs {
            observations: &mut self.observations,
            rewards: &mut self.rewards,
            terminated: &mut self.terminated,
            truncated: &mut self.truncated,
            finished: &mut self.finished,
            final_observations: &mut self.finals,
            statistics: &mut self.statistics,
            trace: &mut self.trace,
        }
    }

    /// What the environment at `at` got, to the bit: its last observation and statistics where they were written.
    fn seen(&self, at: usize, observation_len: usize) -> String {
        let row = at * observation_len..(at + 1) * observation_len;
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        let end = (self.finished[at] == 1).then(|| (bits(&self.finals[row.clone()]), self.statistics[at]));
        format!(
            "{:?} {:x} {} {} {end:?}",
            bits(&self.observations[row]),
            self.rewards[at].to_bits(),
            self.terminated[at],
            self.truncated[at],
        )
    }

    /// The same with what its step did.
    fn at(&self, at: usize, observation_len: usize) -> String {
        format!("{} {:?}", self.seen(at, observation_len), self.trace[at])
    }
}

/// Steps ever different parts of a batch, and checks that every environment sees what it would have seen among
/// all, on any number of threads.
fn check_parts<E: Environment + Clone>(environment: &E, autoreset: Autoreset, n_envs: usize, threads: usize) {
    const N_STEPS: usize = 30;
    let len = environment.observation_len();
    let space = environment.action_space();
    let actions: Vec<OwnedActions> = (0..N_STEPS).map(|step| varied_actions(&space, n_envs, step)).collect();
    let mut whole = Batch::new(environment.clone(), n_envs, 3, autoreset);
    let mut expected = Vec::new();
    for actions in &actions {
        let mut written = Written::new(n_envs, len);
        whole.step(actions.borrowed(), written.outputs()).unwrap();
        expected.push(written);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut parts = Batch::new(environment.clone(), n_envs, 3, autoreset);
        let mut n_played = vec![0; n_envs];
        for round in 0.. {
            let is_due =
                |env: usize| n_played[env] < N_STEPS && (round % 7 == 0 || (env * 13 + round * 5) % 9 < 5);
            let envs: Vec<u32> = (0..n_envs).filter(|&env| is_due(env)).map(|env| env as u32).collect();
            if n_played.iter().all(|&n| n == N_STEPS) {
                break;
            }
            let mine: Vec<OwnedActions> = envs
                .iter()
                .map(|&env| actions[n_played[env as usize]].of(env as usize, space.len()))
                .collect();
            let mut written = Written::new(envs.len(), len);
            parts.step_some(&envs, OwnedActions::join(&mine, &space).borrowed(), written.outputs()).unwrap();
            let mut seen = vec![0.0; envs.len() * len];
            parts.observe_some(&envs, &mut seen).unwrap();
            assert_eq!(seen, written.observations);
            for (at, &env) in envs.iter().enumerate() {
                let played = &mut n_played[env as usize];
                assert_eq!(written.at(at, len), expected[*played].at(env as usize, len), "{env} {played}");
                *played += 1;
            }
        }
        assert_eq!(parts.snapshot(), whole.snapshot());
    });
}

#[test]
fn parts_of_a_batch_give_the_bits_of_the_whole() {
    for autoreset in [Autoreset::SameStep, Autoreset::NextStep, Autoreset::Disabled] {
        let ou = OrnsteinUhlenbeck { length: 7, ..OrnsteinUhlenbeck::default() };
        for (n_envs, threads) in [(1, 1), (20, 2), (1500, 1), (1500, 3)] {
            check_parts(&ou, autoreset, n_envs, threads);
        }
        check_parts(&CartPole, autoreset, 40, 2);
        let table = random_walk_table(2, 12, 8, 3, 1);
        let range = SessionRange { first: 0, last: 11 };
        let data = Arc::new(MarketData::new(&table, Scaler::fit(&table, range)));
        let plain = PortfolioRules::nse(true).unwrap();
        // Ruin is near enough to be met at opens and closes.
        for (rules, n_envs) in [
            (plain.clone(), 1300),
            (PortfolioRules { ruin: 0.97, leverage: 3.0, ..plain.clone() }, 70),
            (PortfolioRules { targets: Targets::Position, ruin: 0.98, ..plain.clone() }, 70),
            (PortfolioRules { targets: Targets::DirectionSize, ..plain.clone() }, 1300),
            (PortfolioRules { borrowing_bps_per_year: 900.0, leverage: 2.0, ..plain }, 70),
        ] {
            let liquidate_at_end = n_envs < 100;
            let (start, length) = (Start::Random, EpisodeLength::Bars(9));
            let episodes = EpisodeRules { range, start, length, liquidate_at_end };
            let portfolio = Portfolio::new(data.clone(), rules, episodes).unwrap();
            check_parts(&portfolio, autoreset, n_envs, 2);
        }
    }
}

#[test]
fn a_wrong_list_names_its_environment_and_changes_nothing() {
    let mut batch = Batch::new(CartPole, 5, 1, Autoreset::SameStep);
    let before = batch.snapshot();
    let check = |batch: &mut Batch<CartPole>, envs: &[u32], choices: &[i32], expected: &str| {
        let mut written = Written::new(envs.len(), 4);
        let error = batch.step_some(envs, Actions::Discrete(choices), written.outputs()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(&mut batch, &[1, 5], &[0, 0], "environment 5 is not in 0..5");
    check(
        &mut batch,
        &[1, 3, 2],
        &[0, 0, 0],
        "environment 2 is listed after environment 3 (list each once, ascending)",
    );
    check(
        &mut batch,
        &[4, 4],
        &[0, 0],
        "environment 4 is listed after environment 4 (list each once, ascending)",
    );
    check(&mut batch, &[1, 4], &[0, 2], "environment 4: action 2 is not in 0..2");
    check(&mut batch, &[1, 4], &[0], "1 actions for 2 environments");
    assert!(batch.reset_some(&[2, 1], &mut [0.0; 8]).is_err());
    assert!(batch.observe_some(&[7], &mut [0.0; 4]).is_err());
    assert_eq!(batch.snapshot(), before);
    // None at all is a step of nobody.
    batch.step_some(&[], Actions::Discrete(&[]), Written::new(0, 4).outputs()).unwrap();
    assert_eq!(batch.snapshot(), before);
}

#[test]
fn a_reset_of_some_is_that_of_a_mask() {
    let new = || {
        let mut batch = Batch::new(CartPole, 4, 1, Autoreset::Disabled);
        rollout(&mut batch, 3, |_, _| 0);
        batch
    };
    let (mut masked, mut listed) = (new(), new());
    let (mut all, mut some) = ([0.0; 16], [0.0; 8]);
    masked.reset(&[0, 1, 0, 1], &mut all);
    listed.reset_some(&[1, 3], &mut some).unwrap();
    assert_eq!((&some[..4], &some[4..]), (&all[4..8], &all[12..]));
    assert_eq!(masked.snapshot(), listed.snapshot());
}

/// A step without its trace works on many environments at once; one with it, on one after the other.
#[test]
fn a_step_has_the_same_bits_with_and_without_its_trace() {
    let table = random_walk_table(3, 12, 8, 21, 1);
    let range = SessionRange { first: 0, last: 11 };
    let data = Arc::new(MarketData::new(&table, Scaler::fit(&table, range)));
    let plain = PortfolioRules::nse(true).unwrap();
    // Ruin is near enough to be met at opens and closes.
    let rules = [
        plain.clone(),
        PortfolioRules { ruin: 0.97, leverage: 3.0, ..plain.clone() },
        PortfolioRules { square_off: false, window: 3, ruin: 0.9, whole_shares: true, ..plain.clone() },
        PortfolioRules { targets: Targets::Position, leverage: 2.0, ..plain.clone() },
        PortfolioRules { targets: Targets::DirectionSize, ..plain.clone() },
        PortfolioRules { borrowing_bps_per_year: 900.0, leverage: 2.0, ..plain },
    ];
    let n_envs = 75;
    for (rules, autoreset) in rules.iter().flat_map(|rules| {
        [Autoreset::SameStep, Autoreset::NextStep, Autoreset::Disabled].map(|autoreset| (rules, autoreset))
    }) {
        for liquidate_at_end in [true, false] {
            let (start, length) = (Start::Random, EpisodeLength::Bars(30));
            let episodes = EpisodeRules { range, start, length, liquidate_at_end };
            let portfolio = Portfolio::new(data.clone(), rules.clone(), episodes).unwrap();
            let len = portfolio.observation_len();
            let new = || Batch::new(portfolio.clone(), n_envs, 3, autoreset);
            let (mut traced, mut untraced) = (new(), new());
            let (mut expected, mut written) = (Written::new(n_envs, len), Written::new(n_envs, len));
            written.trace.clear();
            for step in 0..80 {
                // Held for a while, so that many steps place no order.
                let actions = varied_actions(&portfolio.action_space(), n_envs, step / 5);
                traced.step(actions.borrowed(), expected.outputs()).unwrap();
                untraced.step(actions.borrowed(), written.outputs()).unwrap();
                for env in 0..n_envs {
                    assert_eq!(written.seen(env, len), expected.seen(env, len), "{rules:?} {env} {step}");
                }
            }
            assert_eq!(traced.snapshot(), untraced.snapshot());
        }
    }
}
