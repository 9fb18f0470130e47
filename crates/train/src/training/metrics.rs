//! What a run says of itself while it learns: one line of JSON an update in `metrics.jsonl`, and the same
//! scalars for TensorBoard, under the names that people look for.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::algorithms::task::UpdateReport;
use crate::training::tensorboard::EventFile;

/// The episodes that `charts/episodic_return` is the mean of.
const EPISODES: usize = 100;
const FILE: &str = "metrics.jsonl";

/// What metrics need to go on: the latest episodes, return and length each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatestEpisodes(VecDeque<(f64, u32)>);

impl LatestEpisodes {
    fn push(&mut self, episode: (f64, u32)) {
        if self.0.len() == EPISODES {
            self.0.pop_front();
        }
        self.0.push_back(episode);
    }

    /// Mean return and mean length; none before the first episode has ended.
    pub fn means(&self) -> Option<(f64, f64)> {
        let n = self.0.len() as f64;
        let returns: f64 = self.0.iter().map(|(sum, _)| sum).sum();
        let lengths: f64 = self.0.iter().map(|(_, length)| f64::from(*length)).sum();
        (n > 0.0).then(|| (returns / n, lengths / n))
    }
}

/// Seconds that a run has taken so far, in its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clocks {
    /// All of it.
    pub total: f64,
    /// Waiting for the environments.
    pub environment: f64,
    /// Acting.
    pub inference: f64,
    /// Learning.
    pub update: f64,
}

/// Writes the metrics of one run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    lines: BufWriter<File>,
    events: EventFile,
    episodes: LatestEpisodes,
    silent: bool,
}

impl Metrics {
    /// Metrics of a new run in the directory `run`.
    ///
    /// # Errors
    /// If a file cannot be created.
    pub fn create(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        let lines = File::create(&path).with_context(|| path.display().to_string())?;
        let events =
            EventFile::create(run, now()).with_context(|| format!("{}: event file", run.display()))?;
        Ok(Self {
            path,
            lines: BufWriter::new(lines),
            events,
            episodes: LatestEpisodes::default(),
            silent: false,
        })
    }

    /// Goes on with the metrics of a run that had made `timesteps`; what its files hold beyond that belongs
    /// to updates that will be made again, and is cut off.
    ///
    /// # Errors
    /// If a file cannot be cut or opened.
    pub fn resume(run: &Path, timesteps: u64, episodes: LatestEpisodes) -> Result<Self> {
        let path = run.join(FILE);
        let context = || path.display().to_string();
        let text = fs::read(&path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        });
        let kept = whole_lines_until(&text.with_context(context)?, timesteps);
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
        file.set_len(kept as u64).with_context(context)?;
        let events = EventFile::resume(run, now(), timesteps)
            .with_context(|| format!("{}: event file", run.display()))?;
        Ok(Self { lines: BufWriter::new(file), events, episodes, silent: false, path })
    }

    /// Writes what an update said of itself. A disk that does not take it is told of once; training goes on.
    pub fn write(&mut self, report: &UpdateReport<'_>, clocks: Clocks) -> Option<String> {
        report.episodes.iter().for_each(|&episode| self.episodes.push(episode));
        let mut scalars = report.scalars.clone();
        scalars.extend([
            ("charts/SPS", report.timesteps as f64 / clocks.total),
            ("time/environment", clocks.environment),
            ("time/inference", clocks.inference),
            ("time/update", clocks.update),
        ]);
        if let Some((mean_return, mean_length)) = self.episodes.means() {
            scalars.push(("charts/episodic_return", mean_return));
            scalars.push(("charts/episodic_length", mean_length));
        }
        let error = self.put(report, clocks, &scalars).err()?;
        let first = !std::mem::replace(&mut self.silent, true);
        first.then(|| format!("metrics.jsonl: {error}; training goes on without"))
    }

    /// The latest 100 episodes.
    pub fn episodes(&self) -> &LatestEpisodes {
        &self.episodes
    }

    /// All lines written so far, those before a resumption included.
    pub fn history(&self) -> Vec<Map<String, Value>> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn put(
        &mut self,
        report: &UpdateReport<'_>,
        clocks: Clocks,
        scalars: &[(&'static str, f64)],
    ) -> std::io::Result<()> {
        let mut line = Map::from_iter([
            ("step".to_owned(), json!(report.timesteps)),
            ("update".to_owned(), json!(report.update)),
            ("seconds".to_owned(), json!(clocks.total)),
        ]);
        line.extend(scalars.iter().map(|&(name, value)| (name.to_owned(), json!(value))));
        writeln!(self.lines, "{}", Value::Object(line))?;
        self.lines.flush()?;
        self.events.write(now(), report.timesteps, scalars)
    }
}

/// The length of the part of `text` that consists of whole lines with steps up to `timesteps`.
fn whole_lines_until(text: &[u8], timesteps: u64) -> usize {
    let step = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?["step"].as_u64();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .take_while(|line| line.ends_with(b"\n") && step(line).is_some_and(|step| step <= timesteps))
        .map(<[u8]>::len)
        .sum()
}

fn now() -> f64 {
    Timestamp::now().as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::task::LoopTimes;

    fn report(update: u64) -> UpdateReport<'static> {
        let scalars = vec![("losses/entropy", update as f64 / 3.0)];
        UpdateReport {
            update,
            timesteps: 10 * update,
            scalars,
            episodes: &[(1.5, 4)],
            times: LoopTimes::default(),
        }
    }

    #[test]
    fn resumed_metrics_are_those_of_a_run_that_was_never_interrupted() {
        let write = |metrics: &mut Metrics, updates: std::ops::RangeInclusive<u64>| {
            for update in updates {
                assert_eq!(metrics.write(&report(update), Clocks::default()), None);
            }
        };
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&mut Metrics::create(whole.path()).unwrap(), 1..=5);
        let mut metrics = Metrics::create(broken.path()).unwrap();
        write(&mut metrics, 1..=2);
        let kept = metrics.episodes().clone();
        write(&mut metrics, 3..=4);
        drop(metrics);
        // Killed while it wrote a line.
        let path = broken.path().join(FILE);
        let mut text = fs::read(&path).unwrap();
        text.extend(b"{\"step\":50,\"upd");
        fs::write(&path, text).unwrap();
        write(&mut Metrics::resume(broken.path(), 20, kept).unwrap(), 3..=5);
        assert_eq!(fs::read_to_string(path).unwrap(), fs::read_to_string(whole.path().join(FILE)).unwrap());
    }
}
