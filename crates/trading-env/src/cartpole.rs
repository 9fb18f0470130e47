//! Gymnasium's `CartPole-v1`: a pole balanced on a cart by pushing left or right, for at most 500 steps.
//!
//! The physics are those of Barto, Sutton and Anderson (1983) as Gymnasium integrates them (explicit Euler,
//! double precision); sine and cosine come from `libm`, so that every operating system gives the same bits.

use crate::environment::{Action, ActionSpace, BLOCK_LEN, Environment, EpisodeKey, Transition};
use crate::snapshot::{Progress, Reader, Writer};

const GRAVITY: f64 = 9.8;
const MASS_POLE: f64 = 0.1;
const MASS_TOTAL: f64 = 1.1;
/// Half the pole's length.
const HALF_LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = MASS_POLE * HALF_LENGTH;
const FORCE: f64 = 10.0;
const SECONDS_PER_STEP: f64 = 0.02;
const MAX_POSITION: f64 = 2.4;
const MAX_ANGLE_RADIANS: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;
/// Steps after which the episode is truncated.
const STEP_LIMIT: u32 = 500;

/// The environment; it has no parameters.
#[derive(Debug, Clone, Copy)]
pub struct CartPole;

/// Where cart and pole are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Position, velocity, angle, angular velocity.
    physics: [f64; 4],
    n_steps: u32,
}

impl Environment for CartPole {
    type State = State;
    type States = [State; BLOCK_LEN];

    fn name(&self) -> String {
        "cartpole".into()
    }

    fn observation_names(&self) -> Vec<String> {
        ["position", "velocity", "angle", "angular_velocity"].map(String::from).into()
    }

    fn observation_len(&self) -> usize {
        4
    }

    fn action_space(&self) -> ActionSpace {
        ActionSpace::Discrete { n_choices: 2 }
    }

    fn reset(&self, key: EpisodeKey) -> State {
        let mut stream = key.stream();
        State { physics: std::array::from_fn(|_| stream.uniform() * 0.1 - 0.05), n_steps: 0 }
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        let [x, x_dot, theta, theta_dot] = state.physics;
        let force = if action.choice() == 1 { FORCE } else { -FORCE };
        let (sine, cosine) = libm::sincos(theta);
        let push = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sine) / MASS_TOTAL;
        let theta_acceleration = (GRAVITY * sine - cosine * push)
            / (HALF_LENGTH * (4.0 / 3.0 - MASS_POLE * (cosine * cosine) / MASS_TOTAL));
        let x_acceleration = push - POLE_MASS_LENGTH * theta_acceleration * cosine / MASS_TOTAL;
        state.physics = [
            x + SECONDS_PER_STEP * x_dot,
            x_dot + SECONDS_PER_STEP * x_acceleration,
            theta + SECONDS_PER_STEP * theta_dot,
            theta_dot + SECONDS_PER_STEP * theta_acceleration,
        ];
        state.n_steps += 1;
        Transition {
            reward: 1.0,
            terminated: state.physics[0].abs() > MAX_POSITION || state.physics[2].abs() > MAX_ANGLE_RADIANS,
            truncated: state.n_steps >= STEP_LIMIT,
        }
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        for (slot, value) in out.iter_mut().zip(state.physics) {
            *slot = value as f32;
        }
    }

    fn save(&self, state: &State, out: &mut Writer) {
        out.f64s(&state.physics);
    }

    fn load(&self, _key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let physics = input.f64s()?;
        (progress.length <= STEP_LIMIT).then_some(State { physics, n_steps: progress.length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `choices` from `physics` and compares each state with Gymnasium 1.4.0's.
    fn check(physics: [f64; 4], choices: &[u32], expected: &[[f64; 4]]) {
        let mut state = State { physics, n_steps: 0 };
        for (&choice, expected) in choices.iter().zip(expected) {
            assert_eq!(
                CartPole.step(&mut state, Action::Choice(choice)),
                Transition { reward: 1.0, terminated: false, truncated: false }
            );
            for (ours, theirs) in state.physics.iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-14, "{:?} is not {expected:?}", state.physics);
            }
        }
    }

    #[test]
    fn states_are_those_of_gymnasium() {
        check(
            [0.01, -0.02, 0.03, -0.04],
            &[1, 1, 0, 1, 0, 0],
            &[
                [0.009_600_000_000_000_001, 0.174_679_195_747_555_25, 0.029_2, -0.323_068_717_960_008_1],
                [
                    0.013_093_583_914_951_107,
                    0.369_373_443_991_761_03,
                    0.022_738_625_640_799_84,
                    -0.606_402_015_999_860_7,
                ],
                [
                    0.020_481_052_794_786_327,
                    0.173_941_049_317_699_6,
                    0.010_610_585_320_802_625,
                    -0.306_644_626_378_962_5,
                ],
                [
                    0.023_959_873_781_140_326,
                    0.368_910_207_932_836_1,
                    0.004_477_692_793_223_374,
                    -0.595_962_448_024_294_2,
                ],
                [
                    0.031_338_077_939_797_045,
                    0.173_725_878_801_804_18,
                    -0.007_441_556_167_262_51,
                    -0.301_872_452_085_908_07,
                ],
                [
                    0.034_812_595_515_833_13,
                    -0.021_289_224_954_454_344,
                    -0.013_479_005_208_980_672,
                    -0.011_545_693_213_184_105,
                ],
            ],
        );
    }

    #[test]
    fn pushing_one_way_from_rest_drops_the_pole_at_the_ninth_step() {
        let mut state = State { physics: [0.0; 4], n_steps: 0 };
        let ended = (1..100).find(|_| CartPole.step(&mut state, Action::Choice(1)).terminated);
        assert_eq!(ended, Some(9));
        assert!((state.physics[2] - -0.215_186_049_885_009_67).abs() < 1e-14);
    }

    #[test]
    fn step_500_is_truncated_even_if_the_pole_falls_with_it() {
        let mut state = State { physics: [0.0; 4], n_steps: 498 };
        assert!(!CartPole.step(&mut state, Action::Choice(0)).truncated);
        assert!(CartPole.step(&mut state, Action::Choice(1)).truncated);
        let mut falling = State { physics: [0.0, 0.0, 0.2, 3.0], n_steps: 499 };
        let transition = CartPole.step(&mut falling, Action::Choice(1));
        assert!(transition.terminated && transition.truncated);
    }

    #[test]
    fn starts_are_uniform_within_a_twentieth() {
        for env in 0..200 {
            let state = CartPole.reset(EpisodeKey { seed: 1, env, episode: 0 });
            assert!(state.physics.iter().all(|value| (-0.05..0.05).contains(value)));
        }
    }
}
