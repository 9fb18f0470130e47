//! What evolution strategies share: everything but where members stand and what is made of their fitness. A
//! [`Strategy`] says these two, in a file of its own; the loop, the population and what is saved are here.
//!
//! A generation: every member plays its episodes in environments of its own, all at once; who has finished
//! waits without being computed. Its fitness is the mean return. Members act by their likeliest action, and
//! nothing but their parameters is drawn at random. The environments start new episodes for every generation.
//!
//! # Layout
//! - [`space`]: which numbers are searched, in which order.
//! - [`population`]: members around a centre, mirrored in pairs, and their acting; [`kernel`]: its arithmetic.
//! - [`generation`]: what the members play, and what comes of it.
//! - [`normaliser`]: observations brought to unit size; [`adam`]: steps of adapted size.
pub mod adam;
pub mod generation;
pub mod kernel;
pub mod normaliser;
pub mod population;
pub mod space;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::algorithms::task::{Memory, Task, UpdateReport};
use crate::networks::learner::Policy;
use crate::networks::lent::Lent;
use crate::networks::network::NetworkShape;
use generation::Generation;
use normaliser::{Normaliser, Scaling};
use population::Population;
use space::Space;

/// What makes one evolution strategy another than the next.
pub trait Strategy {
    /// How far members stand from the centre: a deviation for each number of the searched vector, 0 for its
    /// padding. `done` is the fraction of the training that is over.
    fn deviation(&self, space: &Space, done: f64) -> Vec<f32>;

    /// Moves the centre by what a generation has shown. What it says of itself has the names that people watch.
    fn learn(&mut self, centre: &mut [f32], shown: &Shown<'_>) -> Vec<(&'static str, f64)>;

    /// What it keeps from generation to generation, by name; it is saved, and put back to go on.
    fn kept(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        Vec::new()
    }
}

/// What a generation has shown.
pub struct Shown<'a> {
    /// Which, counted from 0.
    pub generation: u64,
    /// The fraction of the training that was over when it began.
    pub done: f64,
    /// The deviations that members stood at.
    pub deviation: &'a [f32],
    /// Of each member; `2p` and `2p + 1` are mirror images.
    pub fitness: &'a [f64],
    /// Who they were.
    pub population: &'a Population,
}

/// What all strategies can be told.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Episodes of each member, in environments of its own.
    pub episodes: usize,
    /// Steps of an episode, at most; 0 leaves its end to the environment.
    pub step_limit: u64,
    /// Whether observations are scaled.
    pub normalize_observation: bool,
    /// Megabytes that may be kept of the members' perturbations.
    pub noise_megabytes: usize,
}

/// What is kept from generation to generation beside vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    timesteps: u64,
    normaliser: Normaliser,
}

const CENTRE: &str = "centre";

/// Evolves a policy of `shape` for the environments of `task`. `policy` shows the centre to who listens: its
/// value network is left as it is.
///
/// # Errors
/// If the environments fail, or cannot be shared among pairs, or the task is to stop.
pub fn train(
    settings: Settings,
    strategy: &mut dyn Strategy,
    task: &mut Task<'_>,
    (shape, threads): (&NetworkShape, usize),
    policy: &mut dyn Policy,
) -> Result<()> {
    let space = Space::new(shape);
    let n_pairs = pairs(task.env.slab().layout().n_envs(), settings.episodes)?;
    let room = settings.noise_megabytes.saturating_mul(1 << 20);
    let mut population = Population::new(space.clone(), n_pairs, settings.episodes, room, threads)?;
    let mut state = task.recall(State { timesteps: 0, normaliser: Normaliser::new(space.inputs()) })?;
    ensure!(
        state.normaliser.fits(space.inputs()),
        "the checkpoint's scaling is not of this network's observations (resume from another checkpoint)"
    );
    let mut centre = space.gather(&policy.parameters()?);
    recall_vectors(task, &mut centre, strategy)?;
    show(&space, &centre, &state.normaliser, policy)?;
    task.listener.begun(task.env, policy, memory(&centre, strategy, &state)?)?;

    let mut generation = Generation::new(task.space, population.members(), settings, &space);
    for number in task.updates_made().. {
        if state.timesteps >= task.timesteps {
            break;
        }
        let begun = Instant::now();
        let done = state.timesteps as f64 / task.end_at(state.timesteps) as f64;
        let deviation = strategy.deviation(&space, done);
        population.draw(task.seed, number, &centre, &deviation);
        let drawn = begun.elapsed();
        let scaling = scaling(settings, &state.normaliser);
        let mut times = generation.play(&mut population, &scaling, task.env, task.stop)?;

        let learning = Instant::now();
        if settings.normalize_observation {
            population.tell(&mut state.normaliser, &scaling);
        }
        let fitness = generation.fitness();
        let shown =
            Shown { generation: number, done, deviation: &deviation, fitness, population: &population };
        let own_scalars = strategy.learn(&mut centre, &shown);
        ensure!(
            centre.iter().all(|x| x.is_finite()),
            "a parameter is no longer finite (try other --learning-rate, --sigma or --weight-decay)"
        );
        state.timesteps += generation.steps();
        show(&space, &centre, &state.normaliser, policy)?;
        times.update = drawn + learning.elapsed();

        let mut scalars = generation.scalars(begun.elapsed());
        scalars.extend(own_scalars);
        let report = UpdateReport {
            update: number + 1,
            timesteps: state.timesteps,
            scalars,
            episodes: generation.episodes(),
            times,
        };
        task.listener.updated(&report, task.env, policy, memory(&centre, strategy, &state)?)?;
    }
    Ok(())
}

/// How many pairs of members share `n_envs` environments.
///
/// # Errors
/// If they cannot be shared evenly.
pub fn pairs(n_envs: usize, episodes: usize) -> Result<usize> {
    let a_pair = episodes.saturating_mul(2);
    ensure!(
        n_envs >= a_pair && n_envs.is_multiple_of(a_pair),
        "{n_envs} environments cannot be shared evenly among mirrored pairs of members that play in {episodes} \
         each (make --envs a multiple of {a_pair}, or change --episodes)"
    );
    Ok(n_envs / a_pair)
}

/// Members, or pairs, in the order of what they did; equals stay in theirs.
pub fn best_first(fitness: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..fitness.len()).collect();
    order.sort_by(|&a, &b| fitness[b].total_cmp(&fitness[a]));
    order
}

fn scaling(settings: Settings, normaliser: &Normaliser) -> Scaling {
    let scaling = normaliser.scaling();
    if settings.normalize_observation { scaling } else { Scaling::none(scaling.mean.len()) }
}

/// Makes `policy` the one that stands at the centre, its scaling folded in. What has not been told to scale has
/// seen nothing, and so does not.
fn show(space: &Space, centre: &[f32], normaliser: &Normaliser, policy: &mut dyn Policy) -> Result<()> {
    let mut parameters = policy.parameters()?;
    space.scatter(centre, &normaliser.scaling(), &mut parameters);
    policy.set_parameters(&parameters)
}

fn memory(centre: &[f32], strategy: &mut dyn Strategy, state: &State) -> Result<Memory<Lent>> {
    let own = strategy.kept().into_iter().map(|(name, values)| (name.to_owned(), values.clone().into()));
    let vectors = own.chain([(CENTRE.to_owned(), centre.to_vec().into())]).collect();
    Ok(Memory { vectors, values: serde_json::to_value(state)? })
}

fn recall_vectors(task: &Task<'_>, centre: &mut Vec<f32>, strategy: &mut dyn Strategy) -> Result<()> {
    let Some(start) = &task.start else { return Ok(()) };
    for (name, slot) in strategy.kept().into_iter().chain([(CENTRE, centre)]) {
        let saved = start.memory.vectors.get(name).filter(|saved| saved.len() == slot.len());
        slot.clone_from(saved.with_context(|| format!("the checkpoint holds no {name} of this network"))?);
    }
    Ok(())
}
