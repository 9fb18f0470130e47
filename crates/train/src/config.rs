//! Everything that decides a run, as one value: `config.toml` of a run directory, and what flags are laid
//! over. Nothing is left to a default when it is written, so that it repeats the run.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use cli::UsageError;
use serde::{Deserialize, Serialize};

use crate::algorithms::Algorithm;
use crate::networks::network::Activation;
use crate::training::window::Window;

/// The largest number that TOML can hold, and so the largest that a run can be repeated with.
const LARGEST_NUMBER: u64 = i64::MAX as u64;

/// The most threads that anything is given: beyond it, something was mistyped.
const MAX_THREADS: usize = 1024;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Keys everything drawn at random, in the learner and in the environments.
    pub seed: u64,
    /// Environment steps to learn from, over all environments; rounded up to whole updates.
    pub timesteps: u64,
    /// Environments stepped at once; 0 takes the server's number.
    pub envs: u32,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The non-linearity after each of them.
    pub activation: Activation,
    /// Where the networks learn: `cpu`, `cuda`, `mps`; `auto` is resolved before the run begins.
    pub device: String,
    /// Where they act; empty for where they learn.
    pub inference_device: String,
    /// Threads of the learner at most; 0 for as many as there are cores.
    pub threads: usize,
    /// Threads that learn; 0 is resolved before the run begins.
    pub update_threads: usize,
    /// Threads that act; 0 is resolved before the run begins.
    pub inference_threads: usize,
    /// Environment steps between checkpoints; 0 writes one every ten seconds.
    pub checkpoint_every: u64,
    /// Updates between looks at the validation days, where the server keeps some.
    pub eval_every: u64,
    /// Checkpoints kept beside the first and the best: the newest ones.
    pub keep: usize,
    /// The server's command and its arguments; empty if the run connected to one.
    pub server: Vec<String>,
    /// The server's address, if the run connected to one.
    pub connect: Option<String>,
    /// Where the run was to end before it was told to go on further, or less far.
    pub earlier_ends: Vec<EarlierEnd>,
    /// Days to learn from and to be judged on, if not the server's.
    pub window: Option<Window>,
    /// How to learn.
    pub algorithm: Algorithm,
}

/// An end of a run that was moved. What changes over a training had gone by it till then, and goes by it again in
/// a run that repeats this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierEnd {
    /// Environment steps that had been made when it was moved.
    pub until: u64,
    /// Environment steps that were to be made.
    pub timesteps: u64,
}

impl EarlierEnd {
    /// The end by which a training goes that has made `made` steps, where `last` is its last end.
    pub fn at(earlier: &[Self], made: u64, last: u64) -> u64 {
        earlier.iter().find(|end| made < end.until).map_or(last, |end| end.timesteps)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            timesteps: 1_000_000,
            envs: 0,
            hidden: vec![64, 64],
            activation: Activation::Tanh,
            device: "auto".into(),
            inference_device: String::new(),
            threads: 0,
            update_threads: 0,
            inference_threads: 0,
            checkpoint_every: 0,
            eval_every: 5,
            keep: 3,
            server: Vec::new(),
            connect: None,
            earlier_ends: Vec::new(),
            window: None,
            algorithm: Algorithm::default(),
        }
    }
}

impl Config {
    /// Reads a configuration file; what it leaves out is as in [`Config::default`].
    ///
    /// # Errors
    /// If it cannot be read or does not parse.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::read_with_names(path, "")?.0)
    }

    /// The same, and the names of the hyper-parameters of `algorithm` that the file does not leave out.
    ///
    /// # Errors
    /// If it cannot be read or does not parse.
    pub fn read_with_names(path: &Path, algorithm: &str) -> Result<(Self, BTreeSet<String>)> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let wrong = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            UsageError(format!("{}: line {line}: {}", path.display(), error.message()))
        };
        let config = toml::from_str(&text).map_err(wrong)?;
        let document: toml::Table = toml::from_str(&text).map_err(wrong)?;
        let own = document.get("algorithm").and_then(|table| table.get(algorithm)?.as_table());
        Ok((config, own.map_or_else(BTreeSet::new, |own| own.keys().cloned().collect())))
    }

    /// Moves the end of a run that has made `made` steps to `timesteps`.
    pub fn extend(&mut self, made: u64, timesteps: u64) {
        let is_news = self.earlier_ends.last().is_none_or(|end| end.until < made);
        if timesteps != self.timesteps && made > 0 && is_news {
            self.earlier_ends.push(EarlierEnd { until: made, timesteps: self.timesteps });
        }
        self.timesteps = timesteps;
    }

    /// The file that repeats the run.
    ///
    /// # Errors
    /// If a number cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("writing the configuration")
    }

    /// Refuses what makes no sense, naming the flag.
    ///
    /// # Errors
    /// If a value is out of its range.
    pub fn check(&self) -> Result<()> {
        let checks = [
            (
                self.seed <= LARGEST_NUMBER,
                "--seed must be at most 9223372036854775807, and so must the last of --seeds",
            ),
            (
                (1..=LARGEST_NUMBER).contains(&self.timesteps),
                "--timesteps must be at least 1 and at most 9223372036854775807",
            ),
            (
                self.checkpoint_every <= LARGEST_NUMBER,
                "--checkpoint-every must be at most 9223372036854775807",
            ),
            (self.eval_every <= LARGEST_NUMBER, "--eval-every must be at most 9223372036854775807"),
            (
                self.hidden.iter().all(|width| (1..=65_536).contains(width)),
                "--hidden takes widths from 1 to 65536",
            ),
            (self.eval_every > 0, "--eval-every must be at least 1"),
            (self.keep > 0, "--keep must be at least 1"),
            (
                self.threads.max(self.update_threads).max(self.inference_threads) <= MAX_THREADS,
                "--threads must be at most 1024",
            ),
        ];
        let wrong = checks.iter().find(|(holds, _)| !holds).map(|(_, text)| *text);
        match wrong.or(self.algorithm.check().err()) {
            Some(text) => Err(UsageError(text.to_owned()).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::ppo::PpoConfig;

    #[test]
    fn a_written_configuration_reads_back_as_it_was() {
        let config = Config {
            hidden: vec![512, 256],
            connect: Some("unix:/tmp/s".into()),
            window: Some(Window { train: "2026-01-01..2026-01-02".into(), ..Window::default() }),
            algorithm: Algorithm::Ppo(PpoConfig {
                target_kl: 0.01,
                clip: 0.1.into(),
                ..PpoConfig::default()
            }),
            ..Config::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(Config::read(&path).unwrap(), config);
    }

    #[test]
    fn a_run_that_was_extended_knows_by_which_end_it_went_when() {
        let mut config = Config { timesteps: 100, ..Config::default() };
        config.extend(40, 100);
        config.extend(0, 120);
        assert_eq!((config.earlier_ends.len(), config.timesteps), (0, 120));
        config.extend(60, 200);
        // Moved twice at the same place: nothing went by the one in between.
        config.extend(60, 300);
        config.extend(300, 400);
        let end = |made| EarlierEnd::at(&config.earlier_ends, made, config.timesteps);
        assert_eq!([0, 59, 60, 299, 300, 399].map(end), [120, 120, 300, 300, 400, 400]);
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "seed = 1\n\n[algorithm.ppo]\ngama = 0.9\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("gama"), "{error}");
    }

    #[test]
    fn numbers_that_the_file_could_not_hold_are_refused() {
        let largest = Config { seed: LARGEST_NUMBER, timesteps: LARGEST_NUMBER, ..Config::default() };
        assert!(largest.check().is_ok());
        assert_eq!(toml::from_str::<Config>(&largest.to_toml().unwrap()).unwrap(), largest);
        for (flag, config) in [
            ("--seed", Config { seed: 1 << 63, ..Config::default() }),
            ("--timesteps", Config { timesteps: u64::MAX, ..Config::default() }),
            ("--checkpoint-every", Config { checkpoint_every: u64::MAX, ..Config::default() }),
        ] {
            assert!(config.check().unwrap_err().to_string().contains(flag), "{flag}");
        }
    }

    #[test]
    fn values_out_of_range_name_their_flag() {
        let algorithm = Algorithm::Ppo(PpoConfig { gamma: 1.5, ..PpoConfig::default() });
        let config = Config { algorithm, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("--gamma"));
        assert!(Config::default().check().is_ok());
    }
}
