//! Five environments of one or two steps, each with an answer that needs one more part of a learner to work
//! than the one before: a learner that fails at one names its own broken part (Andy Jones, "Debugging
//! reinforcement learning systems", 2021).

use crate::EnvError;
use crate::environment::{Action, ActionSpace, BLOCK_LEN, Environment, EpisodeKey, Transition};
use crate::snapshot::{Progress, Reader, Writer};

/// One of the five.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Observation 0, one step, reward 1: the value must become 1.
    Constant,
    /// Observation ±1, one step, the observation as reward: the value must follow the observation.
    ByObservation,
    /// Observation 0 then 1, two steps, reward 1 at the end: the value must discount.
    Delayed,
    /// Observation 0, one step, reward 1 for action 1 and −1 for action 0: the policy must choose.
    ByAction,
    /// Observation ±1, one step, reward 1 if the action fits its sign and −1 if not: the policy must look.
    ByActionAndObservation,
}

/// One running episode.
#[derive(Debug, Clone, Copy)]
pub struct State {
    observation: f32,
}

impl Probe {
    /// Probe `number`, from 1 to 5.
    pub fn new(number: u32) -> Result<Self, EnvError> {
        Ok(match number {
            1 => Self::Constant,
            2 => Self::ByObservation,
            3 => Self::Delayed,
            4 => Self::ByAction,
            5 => Self::ByActionAndObservation,
            _ => return Err(EnvError::UnknownEnvironment(format!("probe:{number}"))),
        })
    }
}

impl Environment for Probe {
    type State = State;
    type States = [State; BLOCK_LEN];

    fn name(&self) -> String {
        format!("probe:{}", *self as u32 + 1)
    }

    fn observation_names(&self) -> Vec<String> {
        vec!["signal".into()]
    }

    fn observation_len(&self) -> usize {
        1
    }

    fn action_space(&self) -> ActionSpace {
        ActionSpace::Discrete { n_choices: 2 }
    }

    fn reset(&self, key: EpisodeKey) -> State {
        let observation = match self {
            Self::ByObservation | Self::ByActionAndObservation => {
                if key.stream().below(2) == 0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Self::Constant | Self::Delayed | Self::ByAction => 0.0,
        };
        State { observation }
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        let signed = if action.choice() == 1 { 1.0 } else { -1.0 };
        let seen = f64::from(state.observation);
        let (reward, terminated) = match self {
            Self::Constant => (1.0, true),
            Self::ByObservation => (seen, true),
            // The observation counts the steps: it turns 1 at the first and ends the episode at the second.
            Self::Delayed => (seen, state.observation == 1.0),
            Self::ByAction => (signed, true),
            Self::ByActionAndObservation => (signed * seen, true),
        };
        if *self == Self::Delayed {
            state.observation = 1.0;
        }
        Transition { reward, terminated, truncated: false }
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        out[0] = state.observation;
    }

    fn save(&self, _state: &State, _out: &mut Writer) {}

    fn load(&self, key: EpisodeKey, progress: Progress, _input: &mut Reader<'_>) -> Option<State> {
        let mut state = self.reset(key);
        if *self == Self::Delayed && progress.length > 0 {
            state.observation = 1.0;
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(number: u32, episode: u64, choice: u32) -> (f32, Vec<(f64, bool)>) {
        let probe = Probe::new(number).unwrap();
        let mut state = probe.reset(EpisodeKey { seed: 1, env: 0, episode });
        let first = state.observation;
        let mut steps = Vec::new();
        while !steps.last().is_some_and(|&(_, ended)| ended) {
            let transition = probe.step(&mut state, Action::Choice(choice));
            steps.push((transition.reward, transition.terminated));
        }
        (first, steps)
    }

    #[test]
    fn each_probe_pays_what_it_says() {
        for (episode, choice) in [(0, 0), (1, 1), (2, 0), (3, 1), (4, 1), (5, 0)] {
            let signed = if choice == 1 { 1.0 } else { -1.0 };
            assert_eq!(play(1, episode, choice), (0.0, vec![(1.0, true)]));
            assert_eq!(play(3, episode, choice), (0.0, vec![(0.0, false), (1.0, true)]));
            assert_eq!(play(4, episode, choice), (0.0, vec![(signed, true)]));
            let (seen, steps) = play(2, episode, choice);
            assert_eq!(steps, [(f64::from(seen), true)]);
            let (seen, steps) = play(5, episode, choice);
            assert_eq!(steps, [(f64::from(seen) * signed, true)]);
        }
        assert!(Probe::new(0).is_err() && Probe::new(6).is_err());
    }

    #[test]
    fn both_signs_are_seen() {
        let seen: Vec<f32> = (0..20).map(|episode| play(2, episode, 0).0).collect();
        assert!(seen.contains(&1.0) && seen.contains(&-1.0));
    }
}
