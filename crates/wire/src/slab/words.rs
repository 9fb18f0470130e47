//! Where a slab's numbers lie: in this process alone, or in memory that the other side has mapped too.

use std::ops::{Deref, DerefMut};

use crate::shared::mapping::OwnWords;

/// Memory for a slab that the client of a session has mapped too, to read it there.
#[derive(Debug)]
pub struct SharedWords(pub(crate) OwnWords);

#[derive(Debug)]
pub(super) enum Words {
    Private(Vec<u64>),
    Shared(OwnWords),
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::Private(words) => words,
            Self::Shared(words) => words,
        }
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Private(words) => words,
            Self::Shared(words) => words,
        }
    }
}
