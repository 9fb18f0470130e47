//! The actions of one step, checked whole before anything is stepped.

use crate::environment::{Action, ActionSpace};
use crate::error::ActionError;

/// The actions of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Actions<'a> {
    /// One choice an environment.
    Discrete(&'a [i32]),
    /// As many numbers an environment as its action has, one environment after another.
    Continuous(&'a [f32]),
}

impl<'a> Actions<'a> {
    /// Whether they are one action of `space` for each of `n_envs` environments; the error names the first
    /// that is not.
    pub(super) fn check(self, space: &ActionSpace, n_envs: usize) -> Result<(), ActionError> {
        match (self, space) {
            (Self::Discrete(choices), &ActionSpace::Discrete { n_choices }) => {
                if choices.len() != n_envs {
                    return Err(ActionError::Count { got: choices.len(), n_envs });
                }
                // All are looked at without a branch, several at a time; which one is wrong is asked only then.
                let is_choice = |action: i32| (action as u32) < n_choices;
                if choices.iter().fold(true, |all, &action| all & is_choice(action)) {
                    return Ok(());
                }
                let env = choices.iter().position(|&action| !is_choice(action)).unwrap_or_default();
                Err(ActionError::OutOfRange { env, action: choices[env], n_choices })
            }
            (Self::Continuous(numbers), ActionSpace::Box { low, high }) => {
                if numbers.len() != n_envs * low.len() {
                    return Err(ActionError::NumberCount { got: numbers.len(), n_envs, len: low.len() });
                }
                for (env, action) in numbers.chunks_exact(low.len()).enumerate() {
                    for (at, ((&value, &low), &high)) in action.iter().zip(low).zip(high).enumerate() {
                        // What is not a number is in no range.
                        if !(low..=high).contains(&value) {
                            return Err(ActionError::OutOfBounds { env, at, value, low, high });
                        }
                    }
                }
                Ok(())
            }
            (Self::Discrete(_), ActionSpace::Box { .. }) => {
                Err(ActionError::Kind { got: "choices", wanted: "numbers" })
            }
            (Self::Continuous(_), ActionSpace::Discrete { .. }) => {
                Err(ActionError::Kind { got: "numbers", wanted: "choices" })
            }
        }
    }

    /// The action at `at`, which has `len` numbers if it has any.
    #[inline]
    pub(crate) fn at(self, at: usize, len: usize) -> Action<'a> {
        match self {
            Self::Discrete(choices) => Action::Choice(choices[at] as u32),
            Self::Continuous(numbers) => Action::Numbers(&numbers[at * len..(at + 1) * len]),
        }
    }

    /// The actions before environment `env`, and those from it on.
    pub(super) fn split_at(self, env: usize, len: usize) -> (Self, Self) {
        match self {
            Self::Discrete(choices) => {
                let (left, right) = choices.split_at(env);
                (Self::Discrete(left), Self::Discrete(right))
            }
            Self::Continuous(numbers) => {
                let (left, right) = numbers.split_at(env * len);
                (Self::Continuous(left), Self::Continuous(right))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_or_none_at_all_name_their_environment() {
        let space = ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 1.0] };
        let check = |numbers: &[f32]| Actions::Continuous(numbers).check(&space, 2);
        assert_eq!(check(&[-1.0, 0.0, 1.0, 1.0]), Ok(()));
        for (numbers, expected) in [
            (&[0.0, 0.0, 0.0][..], "3 numbers as the actions of 2 environments, which take 2 each"),
            (&[0.0, -0.1, 0.0, 0.0], "environment 0: action number 1 is -0.1, which is not in 0 to 1"),
            (&[0.0, 0.0, f32::NAN, 0.0], "environment 1: action number 0 is NaN, which is not in -1 to 1"),
            (&[0.0, 0.0, 0.0, f32::INFINITY], "environment 1: action number 1 is inf"),
        ] {
            let error = check(numbers).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(Actions::Discrete(&[0, 0]).check(&space, 2), Err(ActionError::Kind { .. })));
        let choices = ActionSpace::Discrete { n_choices: 2 };
        assert!(matches!(Actions::Continuous(&[0.0]).check(&choices, 1), Err(ActionError::Kind { .. })));
    }
}
