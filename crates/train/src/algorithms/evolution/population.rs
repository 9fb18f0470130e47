//! Mirrored pairs of networks around one centre: members `2p` and `2p + 1` stand at centre + δₚ and centre − δₚ,
//! where δₚ is a vector of normal deviates, each times the deviation of its parameter.
//!
//! A deviate is named by seed, generation, pair and its place in the searched vector, so that any part of any
//! member can be made anywhere, with the same bits. They are made once a generation and kept where there is
//! room for them: to draw them costs many times what their product with an observation does, so that drawing
//! them at every step would spend nearly all time on it. Beyond that room they are drawn where they are
//! needed, one layer of one pair at a time, and forgotten. The bits are the same.

use anyhow::{Context, Result};
use random::{Purpose, Stream};
use rayon::prelude::*;

use super::kernel::{Rows, Vectors};
use super::normaliser::{Normaliser, Scaling, Sums};
use super::space::Space;
use crate::networks::aligned::AlignedBuffer;

/// Tasks that the pairs are split into: enough to keep many cores evenly busy. It does not depend on how many
/// there are, and neither does what is summed within a task first.
const TASKS: usize = 64;
/// Parameters whose weighted sum is one task.
const SUMMED_AT_ONCE: usize = 1024;

/// The members of one generation, and what lets them act.
pub struct Population {
    space: Space,
    episodes: usize,
    noise: Noise,
    centre: AlignedBuffer,
    /// Every pair's δ, one after the other; empty where there is no room.
    kept: AlignedBuffer,
    tasks: Vec<Task>,
    vectors: Vectors,
    pool: rayon::ThreadPool,
}

/// What a task writes to beside its members' outputs.
struct Task {
    sums: Sums,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
    signs: Vec<f32>,
    rows: Vec<usize>,
    drawn: AlignedBuffer,
}

/// Names every deviate of a generation.
struct Noise {
    seed: u64,
    generation: u64,
    n_pairs: usize,
    deviation: Vec<f32>,
}

impl Noise {
    /// δ of a pair from `start`, the first of a group of deviates, on.
    fn draw(&self, pair: usize, start: usize, out: &mut [f32]) {
        let mut stream = Stream::new(self.seed, Purpose::Perturbation, self.generation, pair as u64);
        stream.go_to_normal(start as u64);
        stream.fill_normal(out);
        out.iter_mut().zip(&self.deviation[start..]).for_each(|(x, deviation)| *x *= deviation);
    }
}

impl Population {
    /// `n_pairs` pairs of members in `space`, each acting in `episodes` environments; at most `room` bytes are
    /// kept of their perturbations.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn new(space: Space, n_pairs: usize, episodes: usize, room: usize, threads: usize) -> Result<Self> {
        // One thread is a pool too: without one, the work would go to a pool of all cores.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("member-{i}"))
            .build()
            .context("cannot start threads (try --threads 1)")?;
        let width = space.layers.iter().map(|layer| layer.width).max().unwrap_or(0).max(space.inputs());
        let longest = space.layers.iter().map(|layer| layer.range.len()).max().unwrap_or(0);
        let is_kept = n_pairs * space.len * size_of::<f32>() <= room;
        let task = || Task {
            sums: Sums::new(space.inputs()),
            inputs: vec![0.0; 2 * episodes * width],
            outputs: vec![0.0; 2 * episodes * width],
            signs: Vec::new(),
            rows: Vec::new(),
            drawn: AlignedBuffer::zeros(if is_kept { 0 } else { longest }),
        };
        Ok(Self {
            tasks: (0..n_pairs.div_ceil(n_pairs.div_ceil(TASKS))).map(|_| task()).collect(),
            kept: AlignedBuffer::zeros(if is_kept { n_pairs * space.len } else { 0 }),
            centre: AlignedBuffer::zeros(space.len),
            noise: Noise { seed: 0, generation: 0, n_pairs, deviation: vec![0.0; space.len] },
            episodes,
            vectors: Vectors::detect(),
            pool,
            space,
        })
    }

    /// Puts the members where they stand in a generation.
    pub fn draw(&mut self, seed: u64, generation: u64, centre: &[f32], deviation: &[f32]) {
        self.noise = Noise { seed, generation, n_pairs: self.noise.n_pairs, deviation: deviation.to_vec() };
        self.centre.copy_from_slice(centre);
        let (noise, len, kept) = (&self.noise, self.space.len, &mut self.kept);
        self.pool.install(|| {
            kept.par_chunks_mut(len).enumerate().for_each(|(pair, delta)| noise.draw(pair, 0, delta));
        });
    }

    /// Lets all members act that still play: puts their rows of `observations`, scaled, through their networks
    /// and the outcome into their rows of `outputs`. Rows are those of member 0's environments, then member
    /// 1's, and so on. What is seen is added up, unless it is not to be.
    pub fn act(
        &mut self,
        observations: &[f32],
        is_playing: &[bool],
        (scaling, is_summed): (&Scaling, bool),
        outputs: &mut [f32],
    ) {
        let (space, noise, episodes, vectors) = (&self.space, &self.noise, self.episodes, self.vectors);
        let (centre, kept): (&[f32], &[f32]) = (&self.centre, &self.kept);
        let pairs_a_task = noise.n_pairs.div_ceil(TASKS);
        let rows = 2 * episodes * pairs_a_task;
        let (width_in, width_out) = (space.inputs(), space.outputs());
        let one = |first_pair: usize,
                   task: &mut Task,
                   observations: &[f32],
                   playing: &[bool],
                   outputs: &mut [f32]| {
            let rows = 2 * episodes;
            let pairs = observations.chunks(rows * width_in).zip(playing.chunks(rows));
            for (i, ((observations, playing), outputs)) in
                pairs.zip(outputs.chunks_mut(rows * width_out)).enumerate()
            {
                task.choose(playing, episodes);
                if !task.rows.is_empty() {
                    task.scale(observations, width_in, scaling, is_summed);
                    task.forward(space, vectors, centre, (noise, kept, first_pair + i));
                    task.hand_out(space, outputs);
                }
            }
        };
        let tasks = &mut self.tasks;
        self.pool.install(|| {
            tasks
                .par_iter_mut()
                .zip(observations.par_chunks(rows * width_in))
                .zip(is_playing.par_chunks(rows).zip(outputs.par_chunks_mut(rows * width_out)))
                .enumerate()
                .for_each(|(i, ((task, observations), (playing, outputs)))| {
                    one(i * pairs_a_task, task, observations, playing, outputs);
                });
        });
    }

    /// Hands what the members have seen since the last time to `normaliser`.
    pub fn tell(&mut self, normaliser: &mut Normaliser, scaling: &Scaling) {
        let mut total = Sums::new(self.space.inputs());
        self.tasks.iter_mut().for_each(|task| total.take(&mut task.sums));
        normaliser.merge(scaling, &total);
    }

    /// The searched vector Σ `weights[p]` · f(δₚ), where f, number by number, is `of`.
    pub fn weighted_sum(&self, weights: &[f64], of: impl Fn(f64) -> f64 + Sync) -> Vec<f32> {
        let (noise, kept, len) = (&self.noise, &self.kept, self.space.len);
        let mut total = vec![0.0_f32; len];
        self.pool.install(|| {
            total.par_chunks_mut(SUMMED_AT_ONCE).enumerate().for_each(|(part, total)| {
                let start = part * SUMMED_AT_ONCE;
                let (mut sums, mut drawn) = ([0.0_f64; SUMMED_AT_ONCE], [0.0_f32; SUMMED_AT_ONCE]);
                for (pair, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                    let delta = if kept.is_empty() {
                        noise.draw(pair, start, &mut drawn[..total.len()]);
                        &drawn[..total.len()]
                    } else {
                        &kept[pair * len + start..][..total.len()]
                    };
                    sums.iter_mut().zip(delta).for_each(|(sum, &x)| *sum += weight * of(f64::from(x)));
                }
                total.iter_mut().zip(&sums).for_each(|(total, &sum)| *total = sum as f32);
            });
        });
        total
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        2 * self.noise.n_pairs
    }
}

impl Task {
    /// Notes which rows of a pair still play, and on which side of the centre they stand.
    fn choose(&mut self, is_playing: &[bool], episodes: usize) {
        self.rows.clear();
        self.rows.extend((0..is_playing.len()).filter(|&row| is_playing[row]));
        self.signs.clear();
        self.signs.extend(self.rows.iter().map(|&row| if row < episodes { 1.0 } else { -1.0 }));
    }

    fn scale(&mut self, observations: &[f32], width: usize, scaling: &Scaling, is_summed: bool) {
        for (&row, scaled) in self.rows.iter().zip(self.inputs.chunks_exact_mut(width)) {
            let observation = &observations[row * width..(row + 1) * width];
            scaling.apply(observation, scaled, is_summed.then_some(&mut self.sums));
        }
    }

    /// Puts `inputs` through the layers of a pair, the outcome into `inputs` again.
    fn forward(
        &mut self,
        space: &Space,
        vectors: Vectors,
        centre: &[f32],
        (noise, kept, pair): (&Noise, &[f32], usize),
    ) {
        let mut stride = space.inputs();
        for (index, layer) in space.layers.iter().enumerate() {
            let delta = if kept.is_empty() {
                noise.draw(pair, layer.range.start, &mut self.drawn[..layer.range.len()]);
                &self.drawn[..]
            } else {
                &kept[pair * space.len..][layer.range.clone()]
            };
            let activation = (index + 1 < space.layers.len()).then_some(space.activation);
            let x = Rows { values: &self.inputs, stride };
            let tables = [&centre[layer.range.clone()], delta];
            vectors.forward(layer, activation, tables, &self.signs, x, &mut self.outputs);
            std::mem::swap(&mut self.inputs, &mut self.outputs);
            stride = layer.width;
        }
    }

    fn hand_out(&self, space: &Space, outputs: &mut [f32]) {
        let (width, stride) = (space.outputs(), space.layers[space.layers.len() - 1].width);
        for (&row, computed) in self.rows.iter().zip(self.inputs.chunks(stride)) {
            outputs[row * width..(row + 1) * width].copy_from_slice(&computed[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::tests::shape;
    use super::*;
    use crate::networks::device::Placement;
    use crate::networks::learner::Policy;
    use crate::networks::torch::TorchLearner;
    use crate::training::stop::Stop;

    const EPISODES: usize = 3;
    const PAIRS: usize = 70;

    fn population(room: usize, threads: usize) -> (Population, Vec<f32>) {
        let shape = shape(vec![20, 9]);
        let space = Space::new(&shape);
        let mut population = Population::new(space.clone(), PAIRS, EPISODES, room, threads).unwrap();
        let centre = space.gather(&shape.initial_parameters(2, 1, &Stop::never()).unwrap());
        let deviation: Vec<f32> =
            space.filled(0.1).iter().enumerate().map(|(i, x)| x * (1 + i % 3) as f32).collect();
        population.draw(7, 4, &centre, &deviation);
        (population, centre)
    }

    fn observations() -> Vec<f32> {
        let mut values = vec![0.0; 2 * PAIRS * EPISODES * 5];
        Stream::new(1, Purpose::Test, 0, 0).fill_normal(&mut values);
        values
    }

    fn scaling() -> Scaling {
        Scaling { mean: vec![0.1, -0.2, 0.0, 0.3, 1.0], scale: vec![1.0, 2.0, 0.5, 1.0, 3.0] }
    }

    #[test]
    fn the_bits_depend_neither_on_threads_nor_on_what_is_kept_nor_on_who_still_plays() {
        let observations = observations();
        let some: Vec<bool> = (0..2 * PAIRS * EPISODES).map(|row| row % 7 > 2).collect();
        let run = |room, threads| {
            let (mut population, _) = population(room, threads);
            assert_eq!(population.pool.current_num_threads(), threads, "no other pool does the work");
            let mut outputs = vec![0.0; 3 * some.len()];
            let mut partly = outputs.clone();
            population.act(&observations, &vec![true; some.len()], (&scaling(), false), &mut outputs);
            population.act(&observations, &some, (&scaling(), true), &mut partly);
            let mut normaliser = Normaliser::new(5);
            population.tell(&mut normaliser, &scaling());
            let weights: Vec<f64> = (0..PAIRS).map(|pair| (pair % 5) as f64 - 1.5).collect();
            (
                outputs,
                partly,
                population.weighted_sum(&weights, |x| x),
                population.weighted_sum(&weights, |x| x * x),
                normaliser,
            )
        };
        let first = run(usize::MAX, 1);
        for (room, threads) in [(usize::MAX, 3), (0, 1), (0, 4)] {
            assert!(run(room, threads) == first, "room {room}, {threads} threads");
        }
        for (row, plays) in some.iter().enumerate() {
            let expected = if *plays { &first.0[3 * row..3 * row + 3] } else { &[0.0; 3] };
            assert_eq!(&first.1[3 * row..3 * row + 3], expected, "row {row}");
        }
    }

    /// A member read as a policy, its scaling folded in, is what acted, and pairs are mirrored.
    #[test]
    fn members_act_as_libtorch_says_that_their_parameters_do() {
        let (mut population, centre) = population(usize::MAX, 1);
        let observations = observations();
        let mut outputs = vec![0.0; 2 * PAIRS * EPISODES * 3];
        population.act(&observations, &[true; 2 * PAIRS * EPISODES], (&scaling(), false), &mut outputs);
        let shape = shape(vec![20, 9]);
        let mut policy = TorchLearner::new(&shape, 1, Placement::one_thread()).unwrap();
        let mut parameters = policy.parameters().unwrap();
        for member in [0, 1, 2, 139] {
            let one: Vec<f64> = (0..PAIRS).map(|pair| if pair == member / 2 { 1.0 } else { 0.0 }).collect();
            let delta = population.weighted_sum(&one, |x| x);
            let sign = if member % 2 == 0 { 1.0 } else { -1.0 };
            let stands: Vec<f32> = centre.iter().zip(&delta).map(|(c, d)| c + sign * d).collect();
            population.space.scatter(&stands, &scaling(), &mut parameters);
            policy.set_parameters(&parameters).unwrap();
            let rows = member * EPISODES..(member + 1) * EPISODES;
            let heads = policy.infer(&observations[rows.start * 5..rows.end * 5]).unwrap();
            for (found, expected) in outputs[rows.start * 3..rows.end * 3].iter().zip(heads.policy) {
                assert!((found - expected).abs() < 1e-5, "member {member}: {found} {expected}");
            }
        }
    }
}
