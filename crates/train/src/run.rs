//! What each command does, as a handful of steps.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{CommandFactory, Parser};
use cli::{Exit, Progress};
use jiff::Zoned;
use wire::{Client, Open, Spec};

use crate::checkpoint::{Checkpoint, Counters, Network, Writer};
use crate::cli::{ActArguments, Arguments, Command, EvalArguments, PpoArguments, ServerArguments};
use crate::config::Config;
use crate::deflated_sharpe::{self, DeflatedSharpe};
use crate::env::ServedEnv;
use crate::evaluate;
use crate::learner::Learner;
use crate::metrics::Metrics;
use crate::network::{Distribution, NetworkShape};
use crate::origin::Origin;
use crate::ppo::{self, UpdateReport};
use crate::report::{Report, TimeSplit, Training, Verdict, put_file};
use crate::reward_scaler::RewardScaler;
use crate::summary::rules_in_words;
use crate::torch::{Replicas, TorchLearner};
use crate::validation::{Choice, Score};
use crate::{act, device, page, run_directory, statistics, summary};

/// How long a server may take to begin to listen.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a checkpoint is written unless steps are counted.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How much of an environment with a known answer is played to judge a policy.
const KNOWN_ANSWER_ENVS: u32 = 256;
const KNOWN_ANSWER_STEPS: u32 = 4000;
/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the tool.
///
/// # Errors
/// With what failed, and the way out.
pub fn run() -> Result<Exit> {
    device::keep_freed_memory();
    match Arguments::parse().command {
        Command::Ppo(arguments) => train(&arguments),
        Command::Eval(arguments) => eval(&arguments),
        Command::Act(arguments) => act(&arguments),
        Command::Devices => print(&(device::list().join("\n") + "\n")),
        Command::Pages { page } => {
            cli::pages::write(page, Arguments::command(), &mut std::io::stdout())?;
            Ok(Exit::Done)
        }
    }
}

fn train(arguments: &PpoArguments) -> Result<Exit> {
    let mut config = arguments.to_config()?;
    let (name, chosen) = device::find(&config.device)?;
    config.device = name.to_owned();
    if let Some(out) = &arguments.out {
        run_directory::check(out)?;
    }
    let interrupted = on_interrupt()?;
    let mut client = connect(&config)?;
    let spec = client.spec().clone();
    if config.envs == 0 {
        config.envs = spec.max_envs;
    }
    let shape = NetworkShape {
        observation_len: spec.observation.len as usize,
        hidden: config.hidden.clone(),
        activation: config.activation,
        distribution: Distribution::over(&spec.action),
    };
    let rollout_rows = config.envs as usize * config.ppo.rollout;
    ensure!(
        rollout_rows < u32::MAX as usize && rollout_rows >= config.ppo.minibatches,
        "a rollout of {rollout_rows} samples cannot be split into {} minibatches (change --rollout, --envs or --minibatches)",
        config.ppo.minibatches
    );
    let wanted = Replicas { inference: config.inference_threads, update: config.update_threads };
    let minibatch_rows = rollout_rows / config.ppo.minibatches;
    let replicas = device::replicas(wanted, &shape, chosen, minibatch_rows, config.envs as usize);
    (config.inference_threads, config.update_threads) = (replicas.inference, replicas.update);
    let session = client.open(&Open::training(config.envs, config.seed))?;
    let mut learner = TorchLearner::new(&shape, config.seed, chosen, replicas)?;

    let out = arguments.out.clone().unwrap_or_else(|| default_out(&spec));
    let run = run_directory::create(&out, config.seed, &Zoned::now())?;
    put_file(&run.join("config.toml"), &config.to_toml()?)?;
    let mut log = Log::start(&run, &config, &spec, shape, arguments.quiet)?;
    log.save(0, 0, None, &learner)?;

    let client = RefCell::new(client);
    let mut env = ServedEnv::new(&client, session);
    let outcome =
        ppo::train(&config.ppo, config.seed, &spec.action, &mut env, &mut learner, &mut |report, learner| {
            log.update(report, learner)?;
            log.validate(report, learner, &client)?;
            ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
            Ok(())
        });
    let (training, mut checkpoint) = log.finish(&learner)?;
    if interrupted.load(Ordering::Relaxed) {
        bail_interrupted(&checkpoint);
        return Ok(Exit::Code(INTERRUPTED));
    }
    outcome?;
    if let Some((best, validation)) = log.choice.as_ref().and_then(Choice::outcome) {
        learner.set_parameters(&best.parameters)?;
        checkpoint.set_file_name(validation.best_timesteps.to_string());
    }
    let verdict = judge(&mut client.borrow_mut(), &mut learner, config.seed)?;
    let report = Report {
        deflated_sharpe: deflated(&verdict, &run),
        verdict,
        origin: log.origin.clone(),
        training: Some(training),
        seed: config.seed,
        cost_kinds: spec.cost_kinds,
        checkpoint: checkpoint.display().to_string(),
    };
    report.write(&run)?;
    let page_path = run.join("report.html");
    put_file(&page_path, &page::of(&report, log.metrics.curve()))?;
    print(&summary::of(&report, Some(&page_path)))
}

fn eval(arguments: &EvalArguments) -> Result<Exit> {
    let (mut client, mut learner, origin) = policy_and_server(&arguments.checkpoint, &arguments.server)?;
    let verdict = judge(&mut client, &mut learner, arguments.seed)?;
    let report = Report {
        verdict,
        origin,
        training: None,
        deflated_sharpe: None,
        seed: arguments.seed,
        cost_kinds: client.spec().cost_kinds.clone(),
        checkpoint: arguments.checkpoint.display().to_string(),
    };
    let Some(out) = &arguments.out else { return print(&summary::of(&report, None)) };
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make {} (choose another --out)", out.display()))?;
    report.write(out)?;
    let page_path = out.join("report.html");
    put_file(&page_path, &page::of(&report, &[]))?;
    print(&summary::of(&report, Some(&page_path)))
}

fn act(arguments: &ActArguments) -> Result<Exit> {
    let (mut client, mut learner, _) = policy_and_server(&arguments.checkpoint, &arguments.server)?;
    let Some(market) = client.spec().market.clone() else {
        bail!("{} has no market to hold positions in (serve features)", client.spec().environment)
    };
    let range = act::days(&arguments.range, &market)?;
    print(&act::targets(&mut client, &market, &mut learner, range, arguments.last)?)
}

/// The policy of a checkpoint, and a server that shows what it can act on.
fn policy_and_server(
    path: &Path,
    server: &ServerArguments,
) -> Result<(Client, TorchLearner, Option<Origin>)> {
    let config = server.to_config()?;
    let checkpoint = Checkpoint::read(path)?;
    let client = connect(&config)?;
    fits(&checkpoint.network, client.spec()).with_context(|| path.display().to_string())?;
    let scaler = client.spec().market.as_ref().and_then(|market| market.scaler.as_ref());
    if scaler != checkpoint.scaler.as_ref() {
        eprintln!(
            "train: the server scales features by other training days than the policy learnt with (judge it on \
             the same days for equal decisions)"
        );
    }
    let origin = checkpoint.counters.origin;
    if let (Some(origin), Some(market)) = (&origin, &client.spec().market)
        && origin.rules != market.rules
    {
        eprintln!(
            "train: the server's rules ({}) are not those that the policy learnt under ({})",
            rules_in_words(&market.rules),
            rules_in_words(&origin.rules)
        );
    }
    let (_, cpu) = device::find("cpu")?;
    let mut learner =
        TorchLearner::new(&checkpoint.network.shape, 0, cpu, Replicas { inference: 1, update: 1 })?;
    learner.set_parameters(&checkpoint.parameters)?;
    Ok((client, learner, origin))
}

fn connect(config: &Config) -> Result<Client> {
    let name = concat!("train ", env!("CARGO_PKG_VERSION"));
    if let Some(address) = &config.connect {
        return Ok(Client::connect(address, CONNECT_PATIENCE, name)?);
    }
    let command: Vec<_> = config.server.iter().map(Into::into).collect();
    Ok(Client::spawn(&command, name)?)
}

/// Whether a policy can act on what a server shows.
fn fits(network: &Network, spec: &Spec) -> Result<()> {
    let (then, now) = (&network.observation, &spec.observation);
    if then.len != now.len {
        bail!(
            "the policy sees {} values and the server shows {} (use the features that it learnt with)",
            then.len,
            now.len
        );
    }
    if let Some((then, now)) = then.features.iter().zip(&now.features).find(|(then, now)| then != now) {
        bail!(
            "the policy learnt from the feature {then} where the server has {now} (use the features that it learnt with)"
        );
    }
    ensure!(
        network.action == spec.action,
        "the server takes other actions than the policy has (use the rules that it learnt with)"
    );
    Ok(())
}

fn judge(client: &mut Client, learner: &mut TorchLearner, seed: u64) -> Result<Verdict> {
    let spec = client.spec().clone();
    let Some(market) = spec.market else {
        let envs = KNOWN_ANSWER_ENVS.min(spec.max_envs);
        let answer =
            evaluate::judge_known_answer(client, learner, envs, KNOWN_ANSWER_STEPS, seed.wrapping_add(1))?;
        return Ok(Verdict::KnownAnswer(spec.environment, answer));
    };
    if market.test.is_none() {
        return Ok(Verdict::NoTestDays(Box::new(market)));
    }
    let evaluation = evaluate::judge(client, &market, learner, seed)?;
    Ok(Verdict::Market(Box::new(market), Box::new(evaluation)))
}

/// The policy's Sharpe ratio, less what choosing among the runs beside `run` brings by chance.
fn deflated(verdict: &Verdict, run: &Path) -> Option<DeflatedSharpe> {
    let Verdict::Market(market, evaluation) = verdict else { return None };
    let others = deflated_sharpe::trials_beside(run, &market.data_digest);
    deflated_sharpe::deflate(&statistics::daily_returns(&evaluation.policy.history), &others)
}

/// Runs are kept by what was learnt on.
fn default_out(spec: &Spec) -> PathBuf {
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

fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

fn bail_interrupted(checkpoint: &Path) {
    eprintln!("train: interrupted; what was learnt is in {}", checkpoint.display());
}

fn print(text: &str) -> Result<Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Done)
}

/// What goes on beside the learning: metrics, checkpoints, progress, and the clock.
struct Log {
    run: PathBuf,
    config: Config,
    network: Network,
    scaler: Option<wire::spec::Scaler>,
    origin: Option<Origin>,
    metrics: Metrics,
    writer: Option<Writer>,
    progress: Progress,
    begun: Instant,
    saved: (u64, Instant),
    latest: (u64, u64, Option<RewardScaler>),
    split: TimeSplit,
    longest_stall: Duration,
    choice: Option<Choice>,
}

impl Log {
    fn start(run: &Path, config: &Config, spec: &Spec, shape: NetworkShape, quiet: bool) -> Result<Self> {
        Ok(Self {
            run: run.to_owned(),
            config: config.clone(),
            network: Network::new(shape, spec),
            scaler: spec.market.as_ref().and_then(|market| market.scaler.clone()),
            origin: spec.market.as_ref().map(Origin::of),
            metrics: Metrics::create(run)?,
            writer: Some(Writer::start(run, config.keep)?),
            progress: Progress::new("train", config.ppo.timesteps, "steps", quiet),
            begun: Instant::now(),
            saved: (0, Instant::now()),
            latest: (0, 0, None),
            split: TimeSplit::default(),
            longest_stall: Duration::ZERO,
            choice: Choice::new(spec.market.as_ref(), config.eval_every),
        })
    }

    fn update(&mut self, report: &UpdateReport<'_>, learner: &dyn Learner) -> Result<()> {
        let begun = Instant::now();
        if let Some(fault) = self.metrics.write(report) {
            self.progress.note(&fault);
        }
        let times = report.times;
        self.split.environment = times.environment.as_secs_f64();
        self.split.inference = times.inference.as_secs_f64();
        self.split.update = times.update.as_secs_f64();
        let every = self.config.checkpoint_every;
        let due = if every > 0 {
            report.timesteps - self.saved.0 >= every
        } else {
            self.saved.1.elapsed() >= CHECKPOINT_EVERY
        };
        self.latest = (report.update, report.timesteps, Some(report.reward_scaler.clone()));
        if due {
            self.save(report.update, report.timesteps, Some(report.reward_scaler), learner)?;
        }
        let elapsed = self.begun.elapsed().as_secs_f64();
        self.progress.update(report.timesteps.min(self.config.ppo.timesteps), || {
            let speed = report.timesteps as f64 / elapsed;
            let left = self.config.ppo.timesteps.saturating_sub(report.timesteps) as f64 / speed;
            let mean = self.metrics.episodic_return().map_or("–".into(), |mean| format!("{mean:.4}"));
            format!("{:.0}/s, return {mean}, KL {:.4}, {left:.0} s left", speed, report.losses.approx_kl)
        });
        self.split.checkpoint += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Looks at the validation days, if there are any and it is time, and keeps the policy that is best there.
    fn validate(
        &mut self,
        report: &UpdateReport<'_>,
        learner: &mut dyn Learner,
        client: &RefCell<Client>,
    ) -> Result<()> {
        let updates = self.config.ppo.updates(self.config.envs as usize);
        let Some(choice) = self.choice.as_ref().filter(|choice| choice.is_due(report.update, updates)) else {
            return Ok(());
        };
        let begun = Instant::now();
        let total_return = evaluate::on_validation_days(&mut client.borrow_mut(), choice.market(), learner)?;
        let score = Score { timesteps: report.timesteps, total_return };
        if self.choice.as_mut().is_some_and(|choice| choice.note(score)) {
            let reward_scaler = Some(report.reward_scaler.clone());
            let checkpoint = self.checkpoint(report.update, report.timesteps, reward_scaler, learner)?;
            self.choice.iter_mut().for_each(|choice| choice.keep(checkpoint.clone()));
        }
        // One that the writer had no room for is offered again at the next look, and at the end.
        if let (Some(choice), Some(writer)) = (&mut self.choice, &self.writer)
            && let Some(best) = choice.unwritten()
            && writer.offer(best.clone(), true)
        {
            choice.written();
        }
        self.split.validation += begun.elapsed().as_secs_f64();
        Ok(())
    }

    fn save(
        &mut self,
        update: u64,
        timesteps: u64,
        reward_scaler: Option<&RewardScaler>,
        learner: &dyn Learner,
    ) -> Result<()> {
        let begun = Instant::now();
        let checkpoint = self.checkpoint(update, timesteps, reward_scaler.cloned(), learner)?;
        if let Some(writer) = &self.writer {
            writer.offer(checkpoint, false);
            writer.faults().iter().for_each(|fault| self.progress.note(fault));
        }
        self.saved = (timesteps, Instant::now());
        self.longest_stall = self.longest_stall.max(begun.elapsed());
        Ok(())
    }

    fn checkpoint(
        &self,
        update: u64,
        timesteps: u64,
        reward_scaler: Option<RewardScaler>,
        learner: &dyn Learner,
    ) -> Result<Checkpoint> {
        let optimiser = learner.optimiser()?;
        let counters = Counters {
            seed: self.config.seed,
            update,
            timesteps,
            optimiser_steps: optimiser.steps,
            reward_scaler,
            origin: self.origin.clone(),
        };
        let (network, scaler) = (self.network.clone(), self.scaler.clone());
        Ok(Checkpoint { network, parameters: learner.parameters()?, optimiser, counters, scaler })
    }

    /// Writes the last checkpoint; returns what is to be told of the training, and where that checkpoint is.
    fn finish(&mut self, learner: &dyn Learner) -> Result<(Training, PathBuf)> {
        self.progress.finish();
        let learnt = Instant::now();
        let (update, timesteps, reward_scaler) = self.latest.clone();
        let last = self.checkpoint(update, timesteps, reward_scaler, learner)?;
        if let Some(writer) = self.writer.take() {
            let best = self.choice.as_ref().and_then(Choice::unwritten).cloned();
            writer.finish(best, last).iter().for_each(|fault| self.progress.note(fault));
        }
        self.split.waiting = learnt.elapsed().as_secs_f64();
        let training = Training {
            timesteps,
            seconds: self.begun.elapsed().as_secs_f64(),
            time_split: self.split,
            longest_checkpoint_stall_ms: self.longest_stall.as_secs_f64() * 1e3,
            validation: self.choice.as_ref().and_then(Choice::outcome).map(|(_, validation)| validation),
            config: self.config.clone(),
        };
        Ok((training, self.run.join("checkpoints").join(timesteps.to_string())))
    }
}
