use super::*;
use crate::testing::{Rollout, rollout};
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
    let start = |env, episode| Slot::start(&CartPole, 1, env, episode).state;
    let mut observations = [0.0; 8];
    batch.reset(&[], &mut observations);
    assert_eq!(batch.slots[0].state, start(0, 0), "nothing was played yet");
    rollout(&mut batch, 1, |_, _| 0);
    let played = batch.slots[0].state;
    batch.reset(&[0, 1], &mut observations);
    assert_eq!((batch.slots[0].state, batch.slots[1].state), (played, start(1, 1)));
    batch.reset(&[], &mut observations);
    assert_eq!((batch.slots[0].state, batch.slots[1].state), (start(0, 1), start(1, 1)));
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
