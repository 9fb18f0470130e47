//! Environments that stand side by side and are stepped together, by one thread.

use super::{Environment, Transition};
use crate::batch::Actions;

/// How many environments a block has, though not all of the last one's may be in use. A few dozen are enough for
/// memory to have answered before it is needed, and few enough for what is worked out of them on the way to stay
/// in the first cache.
pub const BLOCK_LEN: usize = 32;

/// What a block's environments remember, in whatever order suits the arithmetic of their steps: one state after the
/// other, as an array has them, or one array a quantity. A state's place in its block is its lane.
pub trait States: Send + Sync + Sized {
    /// What one of them remembers.
    type State;

    /// A block of the states that `state` makes for each lane.
    fn from_fn(state: impl FnMut(usize) -> Self::State) -> Self;
    /// Shows the state in a lane.
    fn with<T>(&self, lane: usize, look: impl FnOnce(&Self::State) -> T) -> T;
    /// Lends the state in a lane.
    fn with_mut<T>(&mut self, lane: usize, change: impl FnOnce(&mut Self::State) -> T) -> T;
}

/// Some lanes of a block, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    list: [u8; BLOCK_LEN],
    len: usize,
    /// A bit a lane.
    bits: u32,
}

/// One step of some environments of a block.
#[derive(Debug)]
pub struct Block<'a, S> {
    /// Those that are stepped.
    pub lanes: Lanes,
    /// Whether they are all that are in use, so that what becomes of the other lanes is of no matter.
    pub is_whole: bool,
    /// The block that is stepped next, whose rows may be asked of memory in the meantime.
    pub upcoming: Option<&'a S>,
    /// One action a lane that is stepped.
    pub actions: Actions<'a>,
    /// How many numbers an action has.
    pub action_len: usize,
}

/// Where the steps of a block write: one entry, or one row, a lane that is stepped.
#[derive(Debug)]
pub struct BlockOutputs<'a> {
    /// The rewards.
    pub rewards: &'a mut [f64],
    /// 1 where the rules ended the episode.
    pub terminated: &'a mut [u8],
    /// 1 where a limit cut it.
    pub truncated: &'a mut [u8],
    /// What the agents see after the step, before any reset.
    pub observations: &'a mut [f32],
}

impl Lanes {
    /// The first `n` of a block.
    ///
    /// # Panics
    /// If a block has not as many.
    #[inline]
    pub fn first(n: usize) -> Self {
        const ALL: [u8; BLOCK_LEN] = {
            let mut list = [0; BLOCK_LEN];
            let mut lane = 0;
            while lane < BLOCK_LEN {
                list[lane] = lane as u8;
                lane += 1;
            }
            list
        };
        assert!(n <= BLOCK_LEN, "lanes");
        Self { list: ALL, len: n, bits: ((1_u64 << n) - 1) as u32 }
    }

    /// These and `lane`, which comes after them.
    ///
    /// # Panics
    /// If it does not, or a block has no such lane.
    #[must_use]
    pub fn and(mut self, lane: usize) -> Self {
        assert!(lane < BLOCK_LEN && self.bits >> lane == 0, "lanes ascend");
        self.list[self.len] = lane as u8;
        self.len += 1;
        self.bits |= 1 << lane;
        self
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.min(BLOCK_LEN)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The one at `at`.
    #[inline]
    pub fn at(&self, at: usize) -> usize {
        // The rest of the division, which changes nothing, tells the compiler what a lane may be.
        self.list[at] as usize % BLOCK_LEN
    }

    /// All of them.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|at| self.at(at))
    }

    /// Those of them whose bit is set.
    #[inline]
    pub fn of(&self, bits: u32) -> impl Iterator<Item = usize> + use<> {
        let mut left = bits & self.bits;
        std::iter::from_fn(move || {
            let lane = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (lane < BLOCK_LEN).then_some(lane)
        })
    }

    /// Whether `lane` is one of them.
    pub fn contains(&self, lane: usize) -> bool {
        self.bits >> lane & 1 == 1
    }
}

impl<S: Send + Sync> States for [S; BLOCK_LEN] {
    type State = S;

    fn from_fn(state: impl FnMut(usize) -> S) -> Self {
        std::array::from_fn(state)
    }

    #[inline]
    fn with<T>(&self, lane: usize, look: impl FnOnce(&S) -> T) -> T {
        look(&self[lane])
    }

    #[inline]
    fn with_mut<T>(&mut self, lane: usize, change: impl FnOnce(&mut S) -> T) -> T {
        change(&mut self[lane])
    }
}

/// Plays a block one state after the other.
pub(crate) fn step_each<E: Environment + ?Sized>(
    environment: &E,
    states: &mut E::States,
    block: &Block<'_, E::States>,
    out: &mut BlockOutputs<'_>,
) {
    let rows = out.observations.chunks_exact_mut(environment.observation_len());
    for (at, (lane, row)) in block.lanes.iter().zip(rows).enumerate() {
        let action = block.actions.at(at, block.action_len);
        let Transition { reward, terminated, truncated } = states.with_mut(lane, |state| {
            let transition = environment.step(state, action);
            environment.observe(state, row);
            transition
        });
        (out.rewards[at], out.terminated[at], out.truncated[at]) =
            (reward, terminated.into(), truncated.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_in_order() {
        let some = [0, 7, 31].into_iter().fold(Lanes::first(0), Lanes::and);
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 7, 31]);
        assert_eq!(some.of(1 << 7 | 1 << 8 | 1 << 31).collect::<Vec<_>>(), [7, 31]);
        assert_eq!((some.len(), some.contains(7), some.contains(8)), (3, true, false));
        for n in [0, 1, 31, 32] {
            assert_eq!(Lanes::first(n).iter().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
        }
        assert!(Lanes::first(0).is_empty() && !some.is_empty());
    }
}
