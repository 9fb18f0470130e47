//! What goes on beside the learning, whatever the algorithm: metrics, checkpoints, looks at the validation
//! days, progress, and the clock.
//!
//! After every update the journal has a checkpoint put into memory, so that whatever ends the training, be it a
//! signal, a server that has gone or a full disk, what was learnt up to the last whole update is written. The
//! training lends its numbers for that and goes on; another thread copies them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cli::Progress;
use wire::Client;
use wire::spec::Market;

use crate::algorithms::env::VecEnv;
use crate::algorithms::task::{Listener, Memory, UpdateReport};
use crate::config::{Config, EarlierEnd};
use crate::judgement::evaluate;
use crate::judgement::origin::Origin;
use crate::networks::learner::Policy;
use crate::networks::lent::Lent;
use crate::report::{TimeSplit, Training};
use crate::training::checkpoint::keeper::{Keeper, Kept, Unkept};
use crate::training::checkpoint::writer::Writer;
use crate::training::checkpoint::{self, Checkpoint, Fixed, State};
use crate::training::metrics::{Clocks, Metrics};
use crate::training::stop::Stop;
use crate::training::validation::{Choice, Score};

/// How often a checkpoint is written unless steps are counted.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Keeps the books of one run.
pub struct Journal<'a> {
    run: PathBuf,
    config: Config,
    fixed: Arc<Fixed>,
    origin: Option<Origin>,
    client: &'a RefCell<Client>,
    stop: Stop,
    metrics: Metrics,
    writer: Option<Writer>,
    progress: Progress,
    quiet: bool,
    begun: Instant,
    /// What earlier parts of a resumed training took.
    seconds_before: f64,
    /// Updates and steps made before this part.
    made_before: (u64, u64),
    split: TimeSplit,
    stalls: Stalls,
    saved: (u64, Instant),
    choice: Option<Choice>,
    keeper: Keeper,
    latest: Option<Arc<Kept>>,
    /// The one before, which is copied over next.
    previous: Option<Arc<Kept>>,
}

/// The end of a training.
pub struct Ended {
    /// What is to be told of it.
    pub training: Training,
    /// The policy to be judged, and where it is.
    pub judged: (Arc<Checkpoint>, PathBuf),
}

impl<'a> Journal<'a> {
    /// Opens the books of the run in the directory `run`, which goes on from `resumed` if that is one.
    ///
    /// # Errors
    /// If a file cannot be opened, or no thread can be started.
    pub fn open(
        run: &Path,
        config: &Config,
        fixed: Fixed,
        market: Option<&Market>,
        (client, stop): (&'a RefCell<Client>, &Stop),
        resumed: Option<&Checkpoint>,
        quiet: bool,
    ) -> Result<Self> {
        let mut choice = Choice::new(market, config.eval_every);
        let metrics = match resumed {
            None => Metrics::create(run)?,
            Some(Checkpoint { state, .. }) => {
                if let Some(choice) = &mut choice {
                    choice.recall(run, &state.validation)?;
                }
                Metrics::resume(run, state.timesteps, state.episodes.clone())?
            }
        };
        let state = resumed.map(|checkpoint| &checkpoint.state);
        Ok(Self {
            run: run.to_owned(),
            config: config.clone(),
            fixed: Arc::new(fixed),
            origin: market.map(Origin::of),
            client,
            stop: stop.clone(),
            metrics,
            writer: Some(Writer::start(run, config.keep)?),
            progress: Progress::new("train", config.timesteps, "steps", quiet),
            quiet,
            begun: Instant::now(),
            seconds_before: state.map_or(0.0, |state| state.seconds),
            made_before: state.map_or((0, 0), |state| (state.update, state.timesteps)),
            split: state.map_or_else(TimeSplit::default, |state| state.time_split),
            stalls: Stalls::default(),
            saved: (0, Instant::now()),
            choice,
            keeper: Keeper::start()?,
            latest: None,
            previous: None,
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.begun.elapsed().as_secs_f64()
    }

    /// Has what going on after `update` needs put into memory.
    fn keep(
        &mut self,
        (update, timesteps): (u64, u64),
        env: &mut dyn VecEnv,
        policy: &dyn Policy,
        mut memory: Memory<Lent>,
    ) -> Result<()> {
        let state = State {
            seed: self.config.seed,
            update,
            timesteps,
            origin: self.origin.clone(),
            algorithm: memory.values.take(),
            episodes: self.metrics.episodes().clone(),
            validation: self.choice.as_ref().map_or_else(Vec::new, |choice| choice.scores().to_vec()),
            seconds: self.seconds(),
            time_split: self.split,
        };
        let unkept = Unkept {
            fixed: Arc::clone(&self.fixed),
            parameters: policy.lend_parameters(),
            memory,
            state,
            environments: env.snapshot()?,
        };
        let latest = self.keeper.keep(unkept, self.previous.take());
        self.previous = self.latest.replace(latest);
        Ok(())
    }

    /// Hands the best checkpoint, if it is still to be written, and the latest to the writer. One for which it
    /// has no room is offered again next time.
    fn save(&mut self) {
        let (Some(latest), Some(writer)) = (&self.latest, &self.writer) else { return };
        // The best one first: what goes on from the latest must find it.
        let best = self.choice.as_mut().and_then(|choice| Some((choice.unwritten()?.clone(), choice)));
        let taken = best.is_none_or(|(best, choice)| {
            let taken = writer.offer(best, true);
            if taken {
                choice.written();
            }
            taken
        });
        if taken && writer.offer(latest.clone(), false) {
            self.saved = (latest.timesteps(), Instant::now());
        }
        writer.faults().iter().for_each(|fault| self.warn(fault));
    }

    /// Says what a person must know, progress or not.
    fn warn(&self, line: &str) {
        if self.quiet { cli::say(&format!("train: {line}")) } else { self.progress.note(line) }
    }

    fn is_due(&self, timesteps: u64) -> bool {
        let every = self.config.checkpoint_every;
        if every > 0 { timesteps - self.saved.0 >= every } else { self.saved.1.elapsed() >= CHECKPOINT_EVERY }
    }

    /// Looks at the validation days, if there are any and it is time; says whether the policy is the best yet.
    fn validate(&mut self, report: &UpdateReport<'_>, policy: &mut dyn Policy) -> Result<bool> {
        // What had been the end was looked at, as the end is.
        let was_last = |end: &EarlierEnd| end.until == report.timesteps && end.timesteps <= report.timesteps;
        let is_last =
            report.timesteps >= self.config.timesteps || self.config.earlier_ends.iter().any(was_last);
        let Some(choice) = self.choice.as_mut().filter(|choice| choice.is_due(report.update, is_last)) else {
            return Ok(false);
        };
        let begun = Instant::now();
        let total_return =
            evaluate::on_validation_days(&mut self.client.borrow_mut(), choice.market(), policy, &self.stop)?;
        let is_best = choice.note(Score { timesteps: report.timesteps, total_return });
        self.split.validation += begun.elapsed().as_secs_f64();
        Ok(is_best)
    }

    fn show(&self, report: &UpdateReport<'_>) {
        let total = self.config.timesteps;
        self.progress.update(report.timesteps.min(total), || {
            let made = report.timesteps - self.made_before.1;
            let speed = made as f64 / self.begun.elapsed().as_secs_f64();
            let left = total.saturating_sub(report.timesteps) as f64 / speed;
            let mean = self.metrics.episodes().means().map_or("–".into(), |(mean, _)| format!("{mean:.4}"));
            let kl = report.scalars.iter().find(|(name, _)| *name == "losses/approx_kl");
            let kl = kl.map_or(String::new(), |(_, kl)| format!(", KL {kl:.4}"));
            // Last, as a narrow terminal cuts the line at its end.
            let split = self.split.in_words();
            format!("{speed:.0}/s, return {mean}{kl}, {left:.0} s left; {split}")
        });
    }

    /// Whether there is anything yet to go on from.
    pub fn has_begun(&self) -> bool {
        self.latest.is_some()
    }

    /// Where the latest checkpoint is written.
    pub fn latest_path(&self) -> PathBuf {
        let timesteps = self.latest.as_ref().map_or(0, |latest| latest.timesteps());
        checkpoint::path(&self.run, timesteps)
    }

    /// The metrics, for the report.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Writes the last checkpoint; returns what is to be told of the training and the policy to be judged.
    ///
    /// # Errors
    /// If the training has not begun.
    pub fn finish(&mut self) -> Result<Ended> {
        self.progress.finish();
        let learnt = Instant::now();
        let latest = self.latest.clone().context("the training has not begun")?;
        let (kept, last) = match (latest.wait(), &self.previous) {
            (Ok(last), _) => (latest, last),
            (Err(_), Some(previous)) => (previous.clone(), previous.wait()?),
            (Err(error), None) => return Err(error),
        };
        self.latest = Some(kept.clone());
        let mut path = self.latest_path();
        if let Some(writer) = self.writer.take() {
            let best = self.choice.as_ref().and_then(Choice::unwritten).cloned();
            writer.finish(best, kept).iter().for_each(|fault| self.warn(fault));
        }
        self.split.waiting += learnt.elapsed().as_secs_f64();
        let outcome = self.choice.as_ref().and_then(Choice::outcome);
        let training = Training {
            timesteps: last.state.timesteps,
            seconds: self.seconds(),
            time_split: self.split,
            longest_checkpoint_stall_ms: self.stalls.longest_ms(),
            median_checkpoint_stall_ms: self.stalls.median_ms(),
            validation: outcome.as_ref().map(|(_, validation)| validation.clone()),
            config: self.config.clone(),
        };
        let judged = match outcome {
            None => last,
            Some((best, validation)) => {
                path.set_file_name(validation.best_timesteps.to_string());
                best.wait()?
            }
        };
        Ok(Ended { training, judged: (judged, path) })
    }
}

/// How long the training stood still for its checkpoints.
#[derive(Debug, Default)]
struct Stalls(Vec<f32>);

impl Stalls {
    fn note(&mut self, stall: Duration) {
        self.0.push(stall.as_secs_f32() * 1e3);
    }

    fn longest_ms(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f32::max).into()
    }

    fn median_ms(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0).into()
    }
}

impl Listener for Journal<'_> {
    fn begun(&mut self, env: &mut dyn VecEnv, policy: &mut dyn Policy, memory: Memory<Lent>) -> Result<()> {
        self.keep(self.made_before, env, policy, memory)?;
        // Where a resumed training stands is written already, and the writer leaves it as it is.
        self.save();
        Ok(())
    }

    fn updated(
        &mut self,
        report: &UpdateReport<'_>,
        env: &mut dyn VecEnv,
        policy: &mut dyn Policy,
        memory: Memory<Lent>,
    ) -> Result<()> {
        self.split.environment += report.times.environment.as_secs_f64();
        self.split.inference += report.times.inference.as_secs_f64();
        self.split.update += report.times.update.as_secs_f64();
        let begun = Instant::now();
        let clocks = Clocks {
            total: self.seconds(),
            environment: self.split.environment,
            inference: self.split.inference,
            update: self.split.update,
        };
        if let Some(fault) = self.metrics.write(report, clocks) {
            self.warn(&fault);
        }
        self.show(report);
        self.split.checkpoint += begun.elapsed().as_secs_f64();

        let is_best = self.validate(report, policy)?;
        let begun = Instant::now();
        self.keep((report.update, report.timesteps), env, policy, memory)?;
        if let (true, Some(choice), Some(latest)) = (is_best, &mut self.choice, &self.latest) {
            choice.keep(latest.clone());
        }
        if is_best || self.is_due(report.timesteps) {
            self.save();
        }
        self.stalls.note(begun.elapsed());
        self.split.checkpoint += begun.elapsed().as_secs_f64();
        Ok(())
    }
}
