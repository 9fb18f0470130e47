//! What each command does, as a handful of steps.

use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser};
use cli::Exit;
use wire::{Client, Spec};

use crate::cli::run_flags::{Plan, RunFlags};
use crate::cli::{ActArguments, Arguments, Command, DevicesArguments, EvalArguments};
use crate::judgement::{act, evaluate};
use crate::networks::device::Sizes;
use crate::networks::network::{Activation, Distribution, NetworkShape};
use crate::networks::torch::TorchLearner;
use crate::networks::{device, measure};
use crate::report::{Report, Verdict};
use crate::report::{page, summary};
use crate::training::files::{self, put_file};
use crate::training::stop::Stop;
use crate::training::{group, learn, memory, server};

/// How much of an environment with a known answer is played to judge a policy.
const KNOWN_ANSWER_ENVS: u32 = 256;
const KNOWN_ANSWER_STEPS: u32 = 4000;

/// Runs the tool.
///
/// # Errors
/// With what failed, and the way out.
pub fn run() -> Result<Exit> {
    device::keep_freed_memory();
    files::outlive_the_largest_file()?;
    match Arguments::parse().command {
        Command::Ppo(arguments) => start(arguments.plan()?, &arguments.run),
        Command::Openes(arguments) => start(arguments.plan()?, &arguments.run),
        Command::Cem(arguments) => start(arguments.plan()?, &arguments.run),
        Command::Ars(arguments) => start(arguments.plan()?, &arguments.run),
        Command::Eval(arguments) => eval(&arguments),
        Command::Act(arguments) => act(&arguments),
        Command::Devices(arguments) => devices(&arguments),
        Command::Pages { page } => {
            cli::pages::write(page, Arguments::command(), &mut std::io::stdout())?;
            Ok(Exit::Done)
        }
    }
}

/// Learns one policy or a group of them.
fn start(plan: Plan, flags: &RunFlags) -> Result<Exit> {
    match plan {
        Plan::New(new) if flags.seeds.or(flags.walk_forward).is_some() => group::run(*new, flags),
        Plan::New(new) => learn::begin(*new, flags),
        Plan::Resume(old) => learn::resume(*old, flags),
        Plan::ResumeGroup { group, plan } => group::resume(&group, plan, flags),
    }
}

fn eval(arguments: &EvalArguments) -> Result<Exit> {
    let (mut client, mut learner, origin) = server::with_policy(&arguments.checkpoint, &arguments.server)?;
    let spec = client.spec().clone();
    let verdict = judge(&mut client, &spec, &mut learner, arguments.seed, &Stop::never())?;
    let report = Report {
        verdict,
        origin,
        training: None,
        deflated_sharpe: None,
        seed: arguments.seed,
        cost_kinds: spec.cost_kinds,
        checkpoint: arguments.checkpoint.display().to_string(),
    };
    let Some(out) = &arguments.out else { return print(&summary::of(&report, None)) };
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make {} (choose another --out)", out.display()))?;
    report.write(out)?;
    let page_path = out.join("report.html");
    put_file(&page_path, &page::of(&report, &[], None))?;
    print(&summary::of(&report, Some(&page_path)))
}

fn act(arguments: &ActArguments) -> Result<Exit> {
    let (mut client, mut learner, _) = server::with_policy(&arguments.checkpoint, &arguments.server)?;
    let Some(market) = client.spec().market.clone() else {
        bail!("{} has no market to hold positions in (serve features)", client.spec().environment)
    };
    let range = act::days(&arguments.range, &market)?;
    print(&act::targets(&mut client, &market, &mut learner, range, arguments.last)?)
}

fn devices(arguments: &DevicesArguments) -> Result<Exit> {
    let shape = NetworkShape {
        observation_len: arguments.observation as usize,
        hidden: arguments.hidden.iter().map(|&width| width as usize).collect(),
        activation: Activation::Tanh,
        distribution: Distribution::Categorical { n: 3 },
    };
    let sizes = Sizes { envs: arguments.envs as usize, minibatch: arguments.minibatch as usize };
    memory::check(&shape, arguments.envs.max(arguments.minibatch).into())?;
    let timings = measure::timings(&shape, sizes, &device::available(), device::cores())?;
    print(&measure::table(&timings, sizes))
}

/// The judgement of `policy` on what `client` serves.
///
/// # Errors
/// If the server refuses or is gone, the device fails, or it is to stop.
pub fn judge(
    client: &mut Client,
    spec: &Spec,
    policy: &mut TorchLearner,
    seed: u64,
    stop: &Stop,
) -> Result<Verdict> {
    let Some(market) = &spec.market else {
        let envs = KNOWN_ANSWER_ENVS.min(spec.max_envs);
        let answer =
            evaluate::judge_known_answer(client, policy, envs, KNOWN_ANSWER_STEPS, seed.wrapping_add(1))?;
        return Ok(Verdict::KnownAnswer(spec.environment.clone(), answer));
    };
    let market = Box::new(market.clone());
    if market.test.is_none() {
        return Ok(Verdict::NoTestDays(market));
    }
    let evaluation = evaluate::judge(client, &market, policy, seed, stop)?;
    Ok(Verdict::Market(market, Box::new(evaluation)))
}

/// Prints the data of a command.
pub fn print(text: &str) -> Result<Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Done)
}
