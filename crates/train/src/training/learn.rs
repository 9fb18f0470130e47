//! `train ppo` and its like: one training in its run directory, from the server to the report.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cli::{Exit, UsageError};
use jiff::Zoned;
use wire::{Client, Open, Spec};

use crate::algorithms::env::{ServedEnv, VecEnv};
use crate::algorithms::task::Task;
use crate::cli::run_flags::RunFlags;
use crate::config::Config;
use crate::judgement::deflated_sharpe::{self, DeflatedSharpe};
use crate::judgement::statistics;
use crate::networks::device::Sizes;
use crate::networks::measure;
use crate::networks::network::{Distribution, NetworkShape};
use crate::report::{Report, Verdict};
use crate::report::{cpu_log, page, summary};
use crate::run::{judge, print};
use crate::training::checkpoint::{Checkpoint, Fixed, Network};
use crate::training::files::put_file;
use crate::training::journal::Journal;
use crate::training::stop::Stop;
use crate::training::{memory, run_directory, server, window};

/// A run that is to begin.
#[derive(Debug)]
pub struct NewRun {
    /// Its configuration.
    pub config: Config,
    /// Where runs are kept; none for a directory named after the symbols.
    pub out: Option<PathBuf>,
    /// The names of the hyper-parameters that were given, by flag or file.
    pub given: BTreeSet<String>,
}

/// A run that is to go on.
#[derive(Debug)]
pub struct OldRun {
    /// Its directory.
    pub run: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// Environment steps that it is to have made at its end, if not as many as it was to.
    pub until: Option<u64>,
}

/// Learns a policy in a new run directory, and judges it.
///
/// # Errors
/// If the server, the device or the disk fails.
pub fn begin(new: NewRun, flags: &RunFlags) -> Result<Exit> {
    let NewRun { config, out, given } = new;
    out.as_deref().map_or(Ok(()), run_directory::check)?;
    learn(config, Place::New(out, given), None, flags)
}

/// Goes on learning where a run stands, and judges its policy.
///
/// # Errors
/// If it cannot go on from there, or the server, the device or the disk fails.
pub fn resume(old: OldRun, flags: &RunFlags) -> Result<Exit> {
    let OldRun { run, mut config, until } = old;
    let claim = run_directory::claim(&run)?;
    let checkpoint = Checkpoint::newest(&run)?;
    let made = checkpoint.state.timesteps;
    // What the configuration says is not held against it: the last update went beyond that.
    if let Some(asked) = until {
        if asked < made {
            let text =
                format!("--timesteps {asked}: the run has made {made} steps already (give more, or none)");
            return Err(UsageError(text).into());
        }
        config.extend(made, asked);
        config.check()?;
    }
    learn(config, Place::Resumed(run, Box::new(checkpoint)), Some(claim), flags)
}

fn learn(mut config: Config, place: Place, claim: Option<File>, flags: &RunFlags) -> Result<Exit> {
    let mut client = server::connect(&config, flags.quiet)?;
    let stop = Stop::on_signals()?;
    let asked = stop.clone();
    client.give_up_when(move || asked.check().is_err());
    if flags.run_directory.is_some() {
        stop.when_standard_input_ends()?;
    }
    let spec = spec_of(&client, &config)?;
    if let Place::New(_, given) = &place {
        config.algorithm.suit(&spec.action, given);
    }
    let shape = prepare(&mut config, &spec, flags.quiet)?;
    let placement = measure::placement(&config)?;
    let range = spec.market.as_ref().map(|market| window::range(market.train));
    let training = config.algorithm.session(Open::training(config.envs, config.seed));
    let session = client.open(&Open { range: range.unwrap_or(training.range), ..training })?;

    let client = RefCell::new(client);
    let mut env = ServedEnv::new(&client, session);
    let (run, resumed) = match place {
        Place::New(out, _) => {
            env.reset()?;
            (new_directory(out, flags, &config, &spec)?, None)
        }
        Place::Resumed(run, checkpoint) => {
            may_go_on(&checkpoint, &spec).with_context(|| run.display().to_string())?;
            env.restore(&checkpoint.environments).with_context(|| run.display().to_string())?;
            (run, Some(*checkpoint))
        }
    };
    // Held to the end of the run.
    let _claim = claim.map_or_else(|| run_directory::claim(&run), Ok)?;
    put_file(&run.join("config.toml"), &config.to_toml()?)?;
    let scaler = spec.market.as_ref().and_then(|market| market.scaler.clone());
    let fixed = Fixed { network: Network::new(shape.clone(), &spec), scaler };
    let market = spec.market.as_ref();
    let mut journal =
        Journal::open(&run, &config, fixed, market, (&client, &stop), resumed.as_ref(), flags.quiet)?;
    let mut task = Task {
        seed: config.seed,
        timesteps: config.timesteps,
        earlier_ends: &config.earlier_ends,
        space: &spec.action,
        env: &mut env,
        start: resumed.as_ref().map(Checkpoint::start),
        stop: &stop,
        listener: &mut journal,
    };
    let outcome = config.algorithm.train(&mut task, &shape, placement);

    let ended = journal.finish();
    let go_on = format!("train {} --resume {}", config.algorithm.name(), run.display());
    if let (Some(code), Err(_)) = (stop.exit_code(), &outcome) {
        cli::say(&interrupted(&journal, &go_on));
        return Ok(Exit::Code(code));
    }
    let ended = match (outcome, ended) {
        (Err(error), Ok(ended)) if ended.training.timesteps > 0 => {
            return Err(error.context(format!(
                "stopped after {} steps (go on with `{go_on}`)",
                ended.training.timesteps
            )));
        }
        (Err(error), _) => return Err(error),
        (Ok(()), ended) => ended?,
    };

    let (checkpoint, path) = ended.judged;
    let mut policy = server::policy(&checkpoint)?;
    let verdict = match judge(&mut client.borrow_mut(), &spec, &mut policy, config.seed, &stop) {
        Err(_) if stop.exit_code().is_some() => {
            cli::say(&format!("train: interrupted before the policy was judged (judge it with `{go_on}`)"));
            return Ok(stop.exit_code().map_or(Exit::Failed, Exit::Code));
        }
        verdict => verdict.with_context(|| {
            format!("{} is learnt, and not judged (judge it with `{go_on}`)", path.display())
        })?,
    };
    let report = Report {
        deflated_sharpe: deflated(&verdict, &run),
        verdict,
        origin: checkpoint.state.origin.clone(),
        training: Some(ended.training),
        seed: config.seed,
        cost_kinds: spec.cost_kinds.clone(),
        checkpoint: format!("{}{}", path.display(), if path.exists() { "" } else { " (NOT WRITTEN)" }),
    };
    let written = put_report(&report, &run, &journal, flags);
    // Hours may lie behind it, so that it is told whether or not the disk takes it.
    let exit = print(&summary::of(&report, written.as_deref().ok()))?;
    written
        .with_context(|| format!("the report is not written (make room, and judge again with `{go_on}`)"))?;
    if path.exists() {
        return Ok(exit);
    }
    cli::say(&format!(
        "train: {}: the policy that was judged could not be written, and is lost (make room, and train again)",
        path.display()
    ));
    Ok(Exit::Failed)
}

/// What is told of a run that a signal ended while it learnt.
fn interrupted(journal: &Journal<'_>, go_on: &str) -> String {
    if !journal.has_begun() {
        return "train: interrupted before anything was learnt".into();
    }
    let path = journal.latest_path();
    format!("train: interrupted; what was learnt is in {} (go on with `{go_on}`)", path.display())
}

/// Writes what the run has to show into its directory; gives its page.
fn put_report(report: &Report, run: &Path, journal: &Journal<'_>, flags: &RunFlags) -> Result<PathBuf> {
    report.write(run)?;
    let page = run.join("report.html");
    let cores = flags.cpu_log.as_deref().map(cpu_log::chart);
    put_file(&page, &page::of(report, &journal.metrics().history(), cores.as_deref()))?;
    Ok(page)
}

/// Where a training's files are to be.
enum Place {
    /// With the names of the hyper-parameters that were given.
    New(Option<PathBuf>, BTreeSet<String>),
    Resumed(PathBuf, Box<Checkpoint>),
}

fn new_directory(out: Option<PathBuf>, flags: &RunFlags, config: &Config, spec: &Spec) -> Result<PathBuf> {
    match &flags.run_directory {
        Some(run) => run_directory::make(run),
        None => run_directory::create(
            &out.unwrap_or_else(|| default_out(spec)),
            &config.seed.to_string(),
            &Zoned::now(),
        ),
    }
}

/// What the server serves, with the days that the configuration says in place of the server's.
pub fn spec_of(client: &Client, config: &Config) -> Result<Spec> {
    let mut spec = client.spec().clone();
    if let Some(window) = &config.window {
        let market = spec.market.as_mut().context("a window of days where the server has no market")?;
        window.lay_over(market)?;
    }
    Ok(spec)
}

/// Puts values in place of all that `config` leaves open; the shape of the networks.
pub fn prepare(config: &mut Config, spec: &Spec, quiet: bool) -> Result<NetworkShape> {
    if config.envs == 0 {
        config.envs = spec.max_envs;
    }
    let shape = NetworkShape {
        observation_len: spec.observation.len as usize,
        hidden: config.hidden.clone(),
        activation: config.activation,
        distribution: Distribution::over(&spec.action),
    };
    let envs = config.envs as usize;
    memory::check(&shape, config.algorithm.samples_at_once(envs))?;
    let sizes = Sizes { envs, minibatch: config.algorithm.minibatch_rows(envs)? };
    if config.algorithm.evolution().is_some() {
        measure::on_the_processor(config)?;
    } else if let Some(said) = measure::resolve(config, &shape, sizes)?
        && !quiet
    {
        cli::say(&format!("train: {said}"));
    }
    Ok(shape)
}

/// Whether a training that stands at `checkpoint` can go on with what the server has.
fn may_go_on(checkpoint: &Checkpoint, spec: &Spec) -> Result<()> {
    server::fits(&checkpoint.fixed.network, spec)?;
    let then = checkpoint.state.origin.as_ref().map(|origin| &origin.data_digest);
    let now = spec.market.as_ref().map(|market| &market.data_digest);
    ensure!(then == now, "the run learnt from other data than the server has (resume it with its own)");
    ensure!(
        !checkpoint.environments.is_empty(),
        "the newest checkpoint keeps no environments, so that nothing can go on from it exactly (start a new run)"
    );
    Ok(())
}

/// The policy's Sharpe ratio, less what choosing among the runs beside `run` brings by chance.
fn deflated(verdict: &Verdict, run: &Path) -> Option<DeflatedSharpe> {
    let Verdict::Market(market, evaluation) = verdict else { return None };
    let others = deflated_sharpe::trials_beside(run, market);
    deflated_sharpe::deflate(&statistics::daily_returns(&evaluation.policy.history), &others)
}

/// Runs are kept by what was learnt on.
pub fn default_out(spec: &Spec) -> PathBuf {
    let name = match &spec.market {
        Some(market) if market.symbols.len() <= 4 => {
            let names: Vec<&str> = market.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
            names.join("+")
        }
        Some(market) => format!("{}-symbols", market.symbols.len()),
        None => spec.environment.clone(),
    };
    // A name from the data must not lead out of the directory.
    Path::new("runs").join(name.replace(['/', '\\', ':'], "_").trim_start_matches('.'))
}
