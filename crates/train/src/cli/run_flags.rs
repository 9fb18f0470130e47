//! What every algorithm's run can be told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cli::UsageError;

use super::ServerArguments;
use crate::algorithms::Algorithm;
use crate::config::Config;
use crate::networks::network::Activation;
use crate::training::group::plan::GroupPlan;
use crate::training::learn::{NewRun, OldRun};

/// What a run is to be: a new one, or one that goes on.
#[derive(Debug)]
pub enum Plan {
    /// A new run, or several.
    New(Box<NewRun>),
    /// A run that goes on.
    Resume(Box<OldRun>),
    /// A group of runs that goes on.
    ResumeGroup {
        /// Its directory.
        group: PathBuf,
        /// What is to be trained.
        plan: GroupPlan,
    },
}

/// Flags of every run.
#[derive(Debug, Args)]
pub struct RunFlags {
    /// Start from this configuration; flags win over it. A run directory's config.toml repeats the run.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,

    /// Keep runs in this directory: each gets one of its own in it, and `latest` points to the newest.
    /// [default: runs/SYMBOLS]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,

    /// Go on with the run in this directory from its newest checkpoint, with the configuration that it has; with all
    /// runs of a group that have not ended, if it is a group's.
    ///
    /// Only --timesteps and the server may be given beside it. On the CPU what comes of it is to the bit what
    /// the run would have come to without an interruption.
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,

    /// Environment steps to learn from, over all environments, rounded up to whole updates: ENVS × ROLLOUT steps
    /// for ppo, a generation for openes, cem and ars [default: 1000000]
    #[arg(long, value_name = "N")]
    pub timesteps: Option<u64>,

    /// Environments stepped at once [default: as many as the server has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    envs: Option<u32>,

    /// Widths of the hidden layers, of the policy's and of the value's network [default: 64,64]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,

    /// The non-linearity after each hidden layer [default: tanh]
    #[arg(long, value_enum)]
    activation: Option<Activation>,

    /// Keys everything drawn at random [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Train this many seeds, from --seed on, side by side on the cores; the report is of all of them.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub seeds: Option<u32>,

    /// Cut the held-out days into this many windows, and judge each by a policy that learnt from all days
    /// before it, but for the embargo.
    #[arg(long, value_name = "K", conflicts_with_all = ["resume", "seeds"], value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub walk_forward: Option<u32>,

    /// Days between what a walk-forward window learns from and what it is judged on.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "walk_forward")]
    pub embargo_days: u32,

    /// Where the networks live: auto, cpu, cuda or mps; auto measures and takes the fastest; openes, cem and ars
    /// run on the CPU alone [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = ["auto", "cpu", "cuda", "mps"])]
    device: Option<String>,

    /// Threads of the learner, at most [default: as many as are measured to pay, up to the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Environment steps between checkpoints; 0 writes one every ten seconds [default: 0]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,

    /// Updates between looks at the validation days, of which the best policy is kept and judged [default: 5]
    ///
    /// Only where the server keeps such days (envpool --validation-days N).
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,

    /// Checkpoints kept beside the first and the best [default: 3]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,

    /// What the cores did, as JSON lines of cpumon, to be drawn in the report.
    #[arg(long, value_name = "FILE")]
    pub cpu_log: Option<PathBuf>,

    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,

    /// Make exactly this directory that of the run.
    #[arg(long, value_name = "DIR", hide = true)]
    pub run_directory: Option<PathBuf>,

    /// Where the environments are.
    #[command(flatten)]
    server: ServerArguments,
}

impl RunFlags {
    /// What is to be done with the algorithm `name`. `given` names the hyper-parameters that are given; `lay_over`
    /// puts those in place of an algorithm's.
    ///
    /// # Errors
    /// If a file cannot be read, a value makes no sense, or no server is named.
    pub fn plan(
        &self,
        name: &str,
        mut given: BTreeSet<String>,
        lay_over: impl FnOnce(&mut Algorithm),
    ) -> Result<Plan> {
        if let Some(run) = &self.resume {
            if !(given.is_empty() && self.says_nothing_of_the_run()) {
                let text = "--resume takes the configuration of the run: only --timesteps, --quiet and a server may \
                            be given beside it (start a new run with --config to change more)";
                return Err(UsageError(text.into()).into());
            }
            return self.resumed(run, name);
        }
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let (config, named) = Config::read_with_names(path, name)?;
                given.extend(named);
                config
            }
        };
        lay_over(&mut config.algorithm);
        set(&mut config.timesteps, self.timesteps);
        set(&mut config.envs, self.envs);
        set(&mut config.hidden, self.hidden.clone());
        set(&mut config.activation, self.activation);
        set(&mut config.seed, self.seed);
        if let Some(device) = &self.device {
            config.device.clone_from(device);
            config.inference_device.clear();
        }
        set(&mut config.checkpoint_every, self.checkpoint_every);
        set(&mut config.eval_every, self.eval_every);
        set(&mut config.keep, self.keep);
        if let Some(threads) = self.threads {
            config.threads = threads.into();
            (config.update_threads, config.inference_threads) = (0, 0);
        }
        self.server.lay_over(&mut config)?;
        config.check()?;
        Ok(Plan::New(Box::new(NewRun { config, out: self.out.clone(), given })))
    }

    /// What is to be done with the run, or the group of runs, of the algorithm `name` in the directory `run`.
    fn resumed(&self, run: &Path, name: &str) -> Result<Plan> {
        let check = |config: &Config| match config.algorithm.name() {
            own if own == name => config.check(),
            own => {
                Err(UsageError(format!("--resume: it is a run of `train {own}` (go on with that)")).into())
            }
        };
        if GroupPlan::lies_in(run) {
            let mut plan = GroupPlan::read(run)?;
            for member in &mut plan.members {
                set(&mut member.config.timesteps, self.timesteps);
                self.server.lay_over(&mut member.config)?;
                check(&member.config)?;
            }
            return Ok(Plan::ResumeGroup { group: run.to_owned(), plan });
        }
        let mut config = Config::read(&run.join("config.toml"))?;
        self.server.lay_over(&mut config)?;
        check(&config)?;
        Ok(Plan::Resume(Box::new(OldRun { run: run.to_owned(), config, until: self.timesteps })))
    }

    fn says_nothing_of_the_run(&self) -> bool {
        let given = [
            self.envs.is_some(),
            self.hidden.is_some(),
            self.activation.is_some(),
            self.seed.is_some(),
            self.seeds.is_some(),
            self.device.is_some(),
            self.threads.is_some(),
            self.checkpoint_every.is_some(),
            self.eval_every.is_some(),
            self.keep.is_some(),
        ];
        !given.contains(&true)
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
