//! Which environments a step, a reset or a look is of: all of them, or those that a list names.

use crate::environment::{BLOCK_LEN, Lanes};
use crate::error::ActionError;

/// Environments in ascending order.
pub(super) trait Chosen: Copy + Send + Sync {
    /// Whether they are all of the batch's.
    const IS_WHOLE: bool;

    /// How many there are.
    fn len(self) -> usize;
    /// The block of the one at `at`, and the lanes of those that are from there on in that block.
    fn block(self, at: usize) -> (usize, Lanes);
    /// The last place up to `at` from which on all are in other blocks than those before.
    fn seam(self, at: usize) -> usize;
    /// Those before `at`, and those from it on.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Every environment from one on, with which a block begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct All {
    pub(super) first: usize,
    pub(super) len: usize,
}

/// The environments of a list that [`check_listed`] found sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a>(pub(super) &'a [u32]);

impl Chosen for All {
    const IS_WHOLE: bool = true;

    #[inline]
    fn len(self) -> usize {
        self.len
    }

    #[inline]
    fn block(self, at: usize) -> (usize, Lanes) {
        let (env, n_left) = (self.first + at, self.len - at);
        (env / BLOCK_LEN, Lanes::first(n_left.min(BLOCK_LEN)))
    }

    fn seam(self, at: usize) -> usize {
        at - at % BLOCK_LEN
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        (Self { len: at, ..self }, Self { first: self.first + at, len: self.len - at })
    }
}

impl Chosen for Listed<'_> {
    const IS_WHOLE: bool = false;

    #[inline]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline]
    fn block(self, at: usize) -> (usize, Lanes) {
        let block = self.0[at] as usize / BLOCK_LEN;
        let envs = self.0[at..].iter().map(|&env| env as usize).take_while(|env| env / BLOCK_LEN == block);
        (block, envs.fold(Lanes::first(0), |lanes, env| lanes.and(env % BLOCK_LEN)))
    }

    fn seam(self, at: usize) -> usize {
        let block_of = |env: u32| env as usize / BLOCK_LEN;
        self.0.partition_point(|&env| block_of(env) < block_of(self.0[at]))
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (left, right) = self.0.split_at(at);
        (Self(left), Self(right))
    }
}

/// Whether `envs` names environments of `n_envs`, each above the one before it, so that none comes twice.
pub(super) fn check_listed(envs: &[u32], n_envs: usize) -> Result<(), ActionError> {
    if let Some(pair) = envs.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(ActionError::EnvOrder { env: pair[1], before: pair[0] });
    }
    match envs.last() {
        Some(&last) if last as usize >= n_envs => {
            let wrong = envs[envs.partition_point(|&env| (env as usize) < n_envs)];
            Err(ActionError::EnvOutOfRange { env: wrong, n_envs })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_block_come_together_and_are_never_torn_apart() {
        let listed = Listed(&[0, 3, 31, 32, 33, 95, 96]);
        let some = |lanes: &[usize]| lanes.iter().fold(Lanes::first(0), |some, &lane| some.and(lane));
        assert_eq!(listed.block(0), (0, some(&[0, 3, 31])));
        assert_eq!(listed.block(3), (1, some(&[0, 1])));
        assert_eq!((listed.block(5), listed.block(6)), ((2, some(&[31])), (3, some(&[0]))));
        assert_eq!([1, 2, 3, 4, 5, 6].map(|at| listed.seam(at)), [0, 0, 3, 3, 5, 6]);
        let all = All { first: 64, len: 70 };
        assert_eq!((all.block(0), all.block(64)), ((2, Lanes::first(32)), (4, Lanes::first(6))));
        assert_eq!([31, 32, 69].map(|at| all.seam(at)), [0, 32, 64]);
    }

    #[test]
    fn a_list_is_strictly_ascending_and_within_the_batch() {
        for (envs, expected) in [
            (&[][..], Ok(())),
            (&[0], Ok(())),
            (&[0, 2, 7], Ok(())),
            (&[0, 2, 8], Err(ActionError::EnvOutOfRange { env: 8, n_envs: 8 })),
            (&[9, 12], Err(ActionError::EnvOutOfRange { env: 9, n_envs: 8 })),
            (&[1, 3, 3], Err(ActionError::EnvOrder { env: 3, before: 3 })),
            (&[4, 1], Err(ActionError::EnvOrder { env: 1, before: 4 })),
            (&[u32::MAX], Err(ActionError::EnvOutOfRange { env: u32::MAX, n_envs: 8 })),
        ] {
            assert_eq!(check_listed(envs, 8), expected, "{envs:?}");
        }
    }
}
