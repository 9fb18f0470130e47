//! Which environments a step, a reset or a look is of: all of them, or those that a list names.

use crate::error::ActionError;

/// Environments in ascending order, and where in a run of slots each of them stands.
pub(super) trait Chosen: Copy + Send + Sync {
    /// How many there are.
    fn len(self) -> usize;
    /// The name of the one at `at`.
    fn env(self, at: usize) -> usize;
    /// Those before `at`, and those from it on.
    fn split_at(self, at: usize) -> (Self, Self);
}

/// Every environment from one on.
#[derive(Debug, Clone, Copy)]
pub(super) struct All {
    pub(super) first: usize,
    pub(super) len: usize,
}

/// The environments of a list that [`check_listed`] found sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a>(pub(super) &'a [u32]);

impl Chosen for All {
    #[inline]
    fn len(self) -> usize {
        self.len
    }

    #[inline]
    fn env(self, at: usize) -> usize {
        self.first + at
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        (Self { len: at, ..self }, Self { first: self.first + at, len: self.len - at })
    }
}

impl Chosen for Listed<'_> {
    #[inline]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline]
    fn env(self, at: usize) -> usize {
        self.0[at] as usize
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
