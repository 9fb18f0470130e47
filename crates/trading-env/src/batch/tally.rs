//! How far environments have come.

use crate::environment::BLOCK_LEN;

/// How far one environment has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) episode: u64,
    pub(super) return_sum: f64,
    pub(super) length: u32,
    /// How the episode ended, where it did and was not reset: whether terminated, whether truncated.
    pub(super) ended: Option<(bool, bool)>,
}

/// How far those of a block have come, one array a quantity, so that several are counted on at once.
#[derive(Debug)]
pub(super) struct Tallies {
    episode: [u64; BLOCK_LEN],
    return_sum: [f64; BLOCK_LEN],
    length: [u32; BLOCK_LEN],
    ended: [Option<(bool, bool)>; BLOCK_LEN],
}

impl Tally {
    pub(super) fn start(episode: u64) -> Self {
        Self { episode, return_sum: 0.0, length: 0, ended: None }
    }
}

impl Tallies {
    pub(super) fn from_fn(tally: impl Fn(usize) -> Tally) -> Self {
        Self {
            episode: std::array::from_fn(|lane| tally(lane).episode),
            return_sum: std::array::from_fn(|lane| tally(lane).return_sum),
            length: std::array::from_fn(|lane| tally(lane).length),
            ended: std::array::from_fn(|lane| tally(lane).ended),
        }
    }

    pub(super) fn get(&self, lane: usize) -> Tally {
        Tally {
            episode: self.episode[lane],
            return_sum: self.return_sum[lane],
            length: self.length[lane],
            ended: self.ended[lane],
        }
    }

    pub(super) fn set(&mut self, lane: usize, tally: Tally) {
        self.episode[lane] = tally.episode;
        self.return_sum[lane] = tally.return_sum;
        self.length[lane] = tally.length;
        self.ended[lane] = tally.ended;
    }

    /// How the episode ended, where it did and was not reset.
    pub(super) fn ended(&self, lane: usize) -> Option<(bool, bool)> {
        self.ended[lane]
    }

    /// Counts one step on in a lane.
    pub(super) fn count(&mut self, lane: usize, reward: f64) {
        self.return_sum[lane] += reward;
        self.length[lane] += 1;
    }

    /// Counts one step on in every lane.
    pub(super) fn count_all(&mut self, rewards: &[f64; BLOCK_LEN]) {
        for (sum, reward) in self.return_sum.iter_mut().zip(rewards) {
            *sum += reward;
        }
        for length in &mut self.length {
            // That of a lane that is not in use is nobody's.
            *length = length.wrapping_add(1);
        }
    }
}
