//! The one counter-based random generator of every tool, keyed by what is drawn.
//!
//! A [`Stream`] is named by a seed, a [`Purpose`] and two counters (environment and episode, update and
//! minibatch, …). The same name gives the same numbers on every machine, for any thread count and any
//! order of drawing, and no two names share a number. The generator is `ChaCha8`; logarithms and roots come
//! from `libm`, so that normal deviates have the same bits under every operating system.
//!
//! # Layout
//! - [`Stream`] and its [`Purpose`]: here.
//! - [`bulk`]: normal deviates by the million.
pub mod bulk;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for. A purpose is part of the key, so that two uses of one seed
/// never draw the same numbers. The discriminants are part of the format: never reuse or renumber one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Simulated market data; counters: symbol, session.
    Simulate = 1,
    /// The start of an episode (symbol, row, initial state) and its dynamics; counters: environment, episode.
    Episode = 2,
    /// Initial network weights; counters: network, layer.
    Weights = 3,
    /// Actions sampled from a policy; counters: update, step.
    Action = 4,
    /// The order of samples in minibatches; counters: update, epoch.
    Shuffle = 5,
    /// A baseline that acts at random; counters: environment, episode.
    Baseline = 6,
    /// Resampling in statistics; counters: statistic, replicate.
    Bootstrap = 7,
    /// Perturbations of an evolution strategy; counters: generation, member.
    Perturbation = 8,
    /// Cases that tests and benchmarks draw; counters are theirs.
    Test = 9,
}

/// One named sequence of random numbers.
#[derive(Debug, Clone)]
pub struct Stream {
    rng: ChaCha8Rng,
    spare_normal: Option<f64>,
}

/// How far a [`Stream`] has been drawn. With the stream's name it says what the stream will give next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Position {
    /// 32-bit words drawn so far.
    pub words: u64,
    /// The second deviate of a pair of normal ones, if only the first was taken.
    pub spare_normal: Option<f64>,
}

impl Stream {
    /// The stream named by `seed`, `purpose` and two counters.
    pub fn new(seed: u64, purpose: Purpose, first: u64, second: u64) -> Self {
        let mut key = [0_u8; 32];
        for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, first, second]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Self { rng: ChaCha8Rng::from_seed(key), spare_normal: None }
    }

    /// How far the stream has been drawn.
    pub fn position(&self) -> Position {
        // 2^64 words are more than any stream is ever drawn.
        Position { words: self.rng.get_word_pos() as u64, spare_normal: self.spare_normal }
    }

    /// Goes on from `position`, as a stream of the same name that was drawn up to there would.
    pub fn go_to(&mut self, position: Position) {
        self.rng.set_word_pos(position.words.into());
        self.spare_normal = position.spare_normal;
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in `0..bound`, without bias (Lemire 2019, "Fast random integer generation in an interval").
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no member to draw");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.bits()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A standard normal deviate (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let (sine, cosine) = libm::sincos(2.0 * core::f64::consts::PI * self.uniform());
        self.spare_normal = Some(radius * sine);
        radius * cosine
    }

    /// Fills `out` with 32-bit standard normal deviates, many times faster than one by one: see [`bulk`].
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        bulk::fill(&mut self.rng, out);
    }

    /// Goes to where [`Stream::fill_normal`] on a new stream would give the deviate number `start`, the first
    /// of a group of [`bulk::GROUP`].
    ///
    /// # Panics
    /// If it is not the first of a group.
    pub fn go_to_normal(&mut self, start: u64) {
        assert!(start.is_multiple_of(bulk::GROUP as u64), "deviates are made in groups of {}", bulk::GROUP);
        self.go_to(Position { words: start, spare_normal: None });
    }

    /// Shuffles `items` uniformly (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_give_equal_numbers_and_other_names_others() {
        let draw = |seed, purpose, a, b| Stream::new(seed, purpose, a, b).bits();
        let base = draw(1, Purpose::Episode, 2, 3);
        assert_eq!(base, draw(1, Purpose::Episode, 2, 3));
        for other in [
            draw(2, Purpose::Episode, 2, 3),
            draw(1, Purpose::Action, 2, 3),
            draw(1, Purpose::Episode, 3, 3),
            draw(1, Purpose::Episode, 2, 4),
            draw(1, Purpose::Episode, 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_stream_goes_on_from_any_position() {
        let new = || Stream::new(7, Purpose::Test, 3, 0);
        let mut stream = new();
        for draws in 0..100 {
            let mut resumed = new();
            resumed.go_to(stream.position());
            assert_eq!(resumed.normal(), stream.clone().normal(), "after {draws} draws");
            assert_eq!(resumed.bits(), {
                let mut same = stream.clone();
                same.normal();
                same.bits()
            });
            if draws % 3 == 0 {
                stream.below(10)
            } else {
                stream.normal().to_bits()
            };
        }
    }

    #[test]
    fn normal_deviates_have_the_moments_of_a_normal() {
        let mut stream = Stream::new(7, Purpose::Test, 0, 0);
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / f64::from(n);
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.1, "fourth moment {}", moment(4));
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut stream = Stream::new(7, Purpose::Test, 1, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<u32> = (0..100).collect();
        Stream::new(7, Purpose::Test, 2, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
