//! Everything that decides a run, as one value: `config.toml` of a run directory, and what flags are laid
//! over. Nothing is left to a default when it is written, so that it repeats the run.

use std::path::Path;

use anyhow::{Context, Result};
use cli::UsageError;
use serde::{Deserialize, Serialize};

use crate::algorithms::Algorithm;
use crate::networks::network::Activation;
use crate::training::window::Window;

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
    /// Days to learn from and to be judged on, if not the server's.
    pub window: Option<Window>,
    /// How to learn.
    pub algorithm: Algorithm,
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
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let parsed = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            UsageError(format!("{}: line {line}: {}", path.display(), error.message()))
        });
        Ok(parsed?)
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
            (self.timesteps > 0, "--timesteps must be at least 1"),
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
    fn a_misspelt_key_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "seed = 1\n\n[algorithm.ppo]\ngama = 0.9\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("gama"), "{error}");
    }

    #[test]
    fn values_out_of_range_name_their_flag() {
        let algorithm = Algorithm::Ppo(PpoConfig { gamma: 1.5, ..PpoConfig::default() });
        let config = Config { algorithm, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().contains("--gamma"));
        assert!(Config::default().check().is_ok());
    }
}
