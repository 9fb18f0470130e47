//! A price that reverts to its mean, with a cost for changing the position: an environment whose best policy
//! is known from dynamic programming, so that a learner can be measured against it.
//!
//! x' = ρx + √(1−ρ²)ε, an Ornstein-Uhlenbeck process in discrete time with unit variance; the action is the
//! position q' in {−1, 0, 1}; the reward is q'(x'−x) − c|q'−q|. Episodes are cut after a fixed length.
//!
//! With `actions=position` the action is any position from −1 to 1. As gains and costs are linear in it, no policy
//! earns more than the best one that holds −1, 0 or 1: the known answer is the same.

use random::{Position, Stream};

use crate::EnvError;
use crate::environment::{Action, ActionSpace, BLOCK_LEN, Environment, EpisodeKey, Transition};
use crate::snapshot::{Progress, Reader, Writer};

/// The environment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrnsteinUhlenbeck {
    /// How much of the price is kept from step to step, in [0, 1).
    pub rho: f64,
    /// What one unit of change in position costs.
    pub cost: f64,
    /// Steps in an episode.
    pub length: u32,
    /// Whether any position from −1 to 1 may be taken, rather than one of three.
    pub any_position: bool,
}

/// One running episode.
#[derive(Debug, Clone)]
pub struct State {
    price: f64,
    position: f64,
    n_steps: u32,
    stream: Stream,
}

impl Default for OrnsteinUhlenbeck {
    fn default() -> Self {
        Self { rho: 0.95, cost: 0.1, length: 1000, any_position: false }
    }
}

impl OrnsteinUhlenbeck {
    /// Reads `rho=0.95,cost=0.1,length=1000,actions=discrete`; each part may be left out.
    pub fn parse(text: &str) -> Result<Self, EnvError> {
        let wrong = |part: &str| {
            EnvError::Rule(format!(
                "ou: {part:?} is not one of rho=X in [0, 1), cost=X of at least 0, length=N of at least 1, \
                 actions=discrete or position"
            ))
        };
        let mut environment = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            if key == "actions" {
                environment.any_position = match value {
                    "discrete" => false,
                    "position" => true,
                    _ => return Err(wrong(part)),
                };
                continue;
            }
            let number: f64 = value.parse().map_err(|_| wrong(part))?;
            match key {
                "rho" if (0.0..1.0).contains(&number) => environment.rho = number,
                "cost" if number >= 0.0 && number.is_finite() => environment.cost = number,
                "length" => {
                    environment.length = value.parse().ok().filter(|&n| n > 0).ok_or_else(|| wrong(part))?;
                }
                _ => return Err(wrong(part)),
            }
        }
        Ok(environment)
    }
}

impl Environment for OrnsteinUhlenbeck {
    type State = State;
    type States = [State; BLOCK_LEN];

    fn name(&self) -> String {
        let actions = if self.any_position { ",actions=position" } else { "" };
        format!("ou:rho={},cost={},length={}{actions}", self.rho, self.cost, self.length)
    }

    fn observation_names(&self) -> Vec<String> {
        ["price", "position"].map(String::from).into()
    }

    fn observation_len(&self) -> usize {
        2
    }

    fn action_space(&self) -> ActionSpace {
        if self.any_position {
            return ActionSpace::Box { low: vec![-1.0], high: vec![1.0] };
        }
        ActionSpace::Discrete { n_choices: 3 }
    }

    fn reset(&self, key: EpisodeKey) -> State {
        let mut stream = key.stream();
        State { price: stream.normal(), position: 0.0, n_steps: 0, stream }
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        let position = match action {
            Action::Choice(choice) => f64::from(choice) - 1.0,
            Action::Numbers(numbers) => f64::from(numbers[0]),
        };
        let price = self.rho * state.price + libm::sqrt(1.0 - self.rho * self.rho) * state.stream.normal();
        let reward = position * (price - state.price) - self.cost * (position - state.position).abs();
        state.price = price;
        state.position = position;
        state.n_steps += 1;
        Transition { reward, terminated: false, truncated: state.n_steps >= self.length }
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        out.copy_from_slice(&[state.price as f32, state.position as f32]);
    }

    fn save(&self, state: &State, out: &mut Writer) {
        out.f64(state.price);
        out.f64(state.position);
        let Position { words, spare_normal } = state.stream.position();
        out.u64(words);
        out.u8(spare_normal.is_some().into());
        out.f64(spare_normal.unwrap_or_default());
    }

    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let (price, position, words) = (input.f64()?, input.f64()?, input.u64()?);
        let (has_spare, spare) = (input.u8()?, input.f64()?);
        if progress.length > self.length || has_spare > 1 {
            return None;
        }
        let mut stream = key.stream();
        stream.go_to(Position { words, spare_normal: (has_spare == 1).then_some(spare) });
        Some(State { price, position, n_steps: progress.length, stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_recursion() {
        let environment = OrnsteinUhlenbeck::parse("rho=0.9,cost=0.25,length=4").unwrap();
        let key = EpisodeKey { seed: 11, env: 2, episode: 3 };
        let mut deviates = key.stream();
        let mut x = deviates.normal();
        let mut q = 0.0;
        let mut state = environment.reset(key);
        for (n, choice) in [2_u32, 2, 0, 1].into_iter().enumerate() {
            let next_x = 0.9 * x + 0.19_f64.sqrt() * deviates.normal();
            let next_q = f64::from(choice) - 1.0;
            let expected = next_q * (next_x - x) - 0.25 * f64::abs(next_q - q);
            let transition = environment.step(&mut state, Action::Choice(choice));
            assert!((transition.reward - expected).abs() < 1e-12, "step {n}");
            assert_eq!((transition.terminated, transition.truncated), (false, n == 3));
            let mut seen = [0.0; 2];
            environment.observe(&state, &mut seen);
            assert!((f64::from(seen[0]) - next_x).abs() < 1e-6 && f64::from(seen[1]) == next_q);
            (x, q) = (next_x, next_q);
        }
    }

    #[test]
    fn any_position_is_paid_like_the_three() {
        let [three, any] = ["", "actions=position"].map(|text| OrnsteinUhlenbeck::parse(text).unwrap());
        assert_eq!(any.action_space(), ActionSpace::Box { low: vec![-1.0], high: vec![1.0] });
        assert_eq!(any.name(), three.name() + ",actions=position");
        let key = EpisodeKey { seed: 3, env: 0, episode: 0 };
        let [mut by_choice, mut by_number] = [three.reset(key), any.reset(key)];
        for choice in [2_u32, 0, 1, 1, 2] {
            let expected = three.step(&mut by_choice, Action::Choice(choice));
            assert_eq!(any.step(&mut by_number, Action::Numbers(&[choice as f32 - 1.0])), expected);
        }
        let (before, half) = (by_number.price, any.step(&mut by_number, Action::Numbers(&[0.5])));
        assert!((half.reward - (0.5 * (by_number.price - before) - 0.1 * 0.5)).abs() < 1e-12);
    }

    #[test]
    fn trading_against_the_deviation_earns_what_theory_says() {
        // Without costs the best position is −sign(x), which earns (1−ρ)·E|x| = 0.05·√(2/π) a step.
        let environment = OrnsteinUhlenbeck::parse("cost=0,length=400000").unwrap();
        let mut state = environment.reset(EpisodeKey { seed: 1, env: 0, episode: 0 });
        let total: f64 = (0..400_000)
            .map(|_| {
                let choice = if state.price > 0.0 { 0 } else { 2 };
                environment.step(&mut state, Action::Choice(choice)).reward
            })
            .sum();
        assert!((total / 400_000.0 - 0.039_894).abs() < 0.0015, "{}", total / 400_000.0);
    }

    #[test]
    fn parameters_outside_their_domain_are_refused() {
        for text in ["rho=1", "cost=-1", "cost=nan", "length=0", "rho", "mu=3", "length=1.5", "actions=any"] {
            assert!(OrnsteinUhlenbeck::parse(text).is_err(), "{text}");
        }
        assert_eq!(OrnsteinUhlenbeck::parse("").unwrap(), OrnsteinUhlenbeck::default());
    }
}
