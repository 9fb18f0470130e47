//! What a run says of itself while it learns: one line of JSON an update in `metrics.jsonl`, and the same
//! scalars for TensorBoard, under the names that people look for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ppo::UpdateReport;
use crate::tensorboard::EventFile;

/// The episodes that `charts/episodic_return` is the mean of.
const EPISODES: usize = 100;

/// Points of the learning curve that the report draws; runs with more updates are thinned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Environment steps.
    pub timesteps: u64,
    /// Mean return of the latest episodes; not a number before the first has ended.
    pub episodic_return: f64,
    /// The policy's entropy.
    pub entropy: f64,
    /// How much of the returns' variance the values explain.
    pub explained_variance: f64,
}

/// Writes the metrics of one run.
#[derive(Debug)]
pub struct Metrics {
    lines: BufWriter<File>,
    events: EventFile,
    begun: Instant,
    episodes: VecDeque<(f64, u32)>,
    curve: Vec<CurvePoint>,
    silent: bool,
}

impl Metrics {
    /// Metrics in the run directory `run`.
    ///
    /// # Errors
    /// If a file cannot be created.
    pub fn create(run: &Path) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let lines = File::create(&path).with_context(|| path.display().to_string())?;
        let events =
            EventFile::create(run, now()).with_context(|| format!("{}: event file", run.display()))?;
        Ok(Self {
            lines: BufWriter::new(lines),
            events,
            begun: Instant::now(),
            episodes: VecDeque::new(),
            curve: Vec::new(),
            silent: false,
        })
    }

    /// Writes what an update said of itself. A disk that does not take it is told of once; training goes on.
    pub fn write(&mut self, report: &UpdateReport<'_>) -> Option<String> {
        for &episode in report.episodes {
            if self.episodes.len() == EPISODES {
                self.episodes.pop_front();
            }
            self.episodes.push_back(episode);
        }
        self.curve.push(CurvePoint {
            timesteps: report.timesteps,
            episodic_return: self.episodic_return().unwrap_or(f64::NAN),
            entropy: report.losses.entropy,
            explained_variance: report.explained_variance,
        });
        let scalars = self.scalars(report);
        let error = self.put(report, &scalars).err()?;
        let first = !std::mem::replace(&mut self.silent, true);
        first.then(|| format!("metrics.jsonl: {error}; training goes on without"))
    }

    /// Mean return of the latest 100 episodes.
    pub fn episodic_return(&self) -> Option<f64> {
        let sum: f64 = self.episodes.iter().map(|(sum, _)| sum).sum();
        (!self.episodes.is_empty()).then(|| sum / self.episodes.len() as f64)
    }

    /// The learning curve so far.
    pub fn curve(&self) -> &[CurvePoint] {
        &self.curve
    }

    fn scalars(&self, report: &UpdateReport<'_>) -> Vec<(&'static str, f64)> {
        let losses = &report.losses;
        let mut scalars = vec![
            ("charts/SPS", report.timesteps as f64 / self.begun.elapsed().as_secs_f64()),
            ("charts/learning_rate", report.learning_rate),
            ("losses/policy_loss", losses.policy),
            ("losses/value_loss", losses.value),
            ("losses/entropy", losses.entropy),
            ("losses/approx_kl", losses.approx_kl),
            ("losses/clipfrac", losses.clipped),
            ("losses/explained_variance", report.explained_variance),
            ("losses/grad_norm", report.grad_norm),
            ("time/environment", report.times.environment.as_secs_f64()),
            ("time/inference", report.times.inference.as_secs_f64()),
            ("time/update", report.times.update.as_secs_f64()),
        ];
        if let Some(mean) = self.episodic_return() {
            let lengths: f64 = self.episodes.iter().map(|(_, length)| f64::from(*length)).sum();
            scalars.push(("charts/episodic_return", mean));
            scalars.push(("charts/episodic_length", lengths / self.episodes.len() as f64));
        }
        scalars
    }

    fn put(&mut self, report: &UpdateReport<'_>, scalars: &[(&'static str, f64)]) -> std::io::Result<()> {
        let mut line = Map::from_iter([
            ("step".to_owned(), json!(report.timesteps)),
            ("update".to_owned(), json!(report.update)),
            ("seconds".to_owned(), json!(self.begun.elapsed().as_secs_f64())),
        ]);
        line.extend(scalars.iter().map(|&(name, value)| (name.to_owned(), json!(value))));
        writeln!(self.lines, "{}", Value::Object(line))?;
        self.lines.flush()?;
        self.events.write(now(), report.timesteps, scalars)
    }
}

fn now() -> f64 {
    Timestamp::now().as_microsecond() as f64 / 1e6
}
