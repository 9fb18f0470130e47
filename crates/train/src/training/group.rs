//! Several runs as one: `--seeds K` tells what chance does to a training, `--walk-forward K` what time does to
//! a policy. Each run is a process of its own with its own directory below that of the group, as many side by
//! side as there are cores; the group's report is made of theirs. A group that was interrupted goes on with the
//! runs that have not ended.
//!
//! # Layout
//! - [`plan`]: what a group is to train.
pub mod plan;

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cli::{Exit, Progress};
use jiff::Zoned;
use serde_json::Value;
use wire::spec::Market;

use crate::cli::run_flags::RunFlags;
use crate::config::Config;
use crate::judgement::deflated_sharpe;
use crate::networks::device;
use crate::report::group_report::{GroupReport, Member};
use crate::run::print;
use crate::training::checkpoint;
use crate::training::files::put_file;
use crate::training::learn::{NewRun, default_out, prepare, spec_of};
use crate::training::stop::{Interrupted, Stop};
use crate::training::{run_directory, server};
use plan::{GroupPlan, Planned};

/// How often runs are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Trains every member of the group that the flags ask for, and reports on all of them.
///
/// # Errors
/// If one of them fails.
pub fn run(new: NewRun, flags: &RunFlags) -> Result<Exit> {
    let NewRun { mut config, out, given } = new;
    out.as_deref().map_or(Ok(()), run_directory::check)?;
    let client = server::connect(&config, flags.quiet)?;
    let spec = spec_of(&client, &config)?;
    let count = flags.walk_forward.or(flags.seeds).unwrap_or(1);
    let at_once = device::cores().min(count as usize);
    if config.threads == 0 {
        config.threads = (device::cores() / at_once).max(1);
    }
    config.algorithm.suit(&spec.action, &given);
    // Measured once, while the machine does nothing else.
    prepare(&mut config, &spec, flags.quiet)?;
    share_cores(&mut config);
    drop(client);
    let plan = match flags.walk_forward {
        Some(count) => GroupPlan::walk_forward(&config, &spec, (count, flags.embargo_days), at_once)?,
        None => GroupPlan::seeds(&config, count, at_once),
    };
    // The last seed may be one that no configuration can hold.
    plan.members.iter().try_for_each(|member| member.config.check())?;
    let out = out.unwrap_or_else(|| default_out(&spec));
    let group = run_directory::create_group(&out, &plan.mark(), &Zoned::now())?;
    let _claim = run_directory::claim(&group)?;
    plan.write(&group)?;
    train_and_report(&group, &plan, flags)
}

/// Goes on with the members of `plan` in the directory `group` that have not ended, and reports on all of them.
///
/// # Errors
/// If one of them fails.
pub fn resume(group: &Path, mut plan: GroupPlan, flags: &RunFlags) -> Result<Exit> {
    let _claim = run_directory::claim(group)?;
    plan.members.iter_mut().for_each(|member| share_cores(&mut member.config));
    // Where it ends and where its servers are may be news, and is so for whoever goes on with it next.
    plan.write(group)?;
    train_and_report(group, &plan, flags)
}

fn train_and_report(group: &Path, plan: &GroupPlan, flags: &RunFlags) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let progress = Progress::new("train", plan.members.len() as u64, "runs", flags.quiet);
    let outcome = train_all(group, plan, &stop, &progress);
    progress.finish();
    let go_on = format!("train {} --resume {}", plan.algorithm(), group.display());
    match outcome {
        Err(error) if error.is::<Interrupted>() => {
            cli::say(&format!("train: interrupted (go on with `{go_on}`)"));
            return Ok(stop.exit_code().map_or(Exit::Failed, Exit::Code));
        }
        outcome => outcome.with_context(|| format!("a run of the group failed (go on with `{go_on}`)"))?,
    }
    let mut members = Vec::new();
    for Planned { name, config } in &plan.members {
        let report = deflated(&group.join(name))?;
        members.push(Member::new(name, config, report));
    }
    let report = GroupReport { kind: plan.kind, members, directory: group.to_owned() };
    put_file(&group.join("report.json"), &(serde_json::to_string_pretty(&report.to_json())? + "\n"))?;
    put_file(&group.join("report.html"), &report.to_page())?;
    print(&report.to_text())
}

/// The report of `run`, its Sharpe ratio deflated by all runs that there are now: when it ended, others beside it
/// had not.
fn deflated(run: &Path) -> Result<Value> {
    let path = run.join("report.json");
    let mut report = read_report(run).with_context(|| path.display().to_string())?;
    let market: Option<Market> = serde_json::from_value(report["market"].clone()).unwrap_or_default();
    let daily: Option<Vec<f64>> = serde_json::from_value(report["daily_returns"].clone()).unwrap_or_default();
    if let (Some(market), Some(daily)) = (market, daily) {
        let others = deflated_sharpe::trials_beside(run, &market);
        report["deflated_sharpe"] = serde_json::to_value(deflated_sharpe::deflate(&daily, &others))?;
        put_file(&path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    Ok(report)
}

fn read_report(run: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(run.join("report.json"))?)?)
}

/// Keeps the servers of runs side by side from each taking all cores.
fn share_cores(config: &mut Config) {
    let is_ours = config.server.first().is_some_and(|program| Path::new(program).ends_with("envpool"));
    if is_ours && !config.server.iter().any(|word| word.starts_with("--threads")) {
        let words = ["--threads".to_owned(), config.threads.to_string()];
        config.server.splice(1..1, words);
    }
}

/// Runs all members that have not ended, some of them side by side.
fn train_all(group: &Path, plan: &GroupPlan, stop: &Stop, progress: &Progress) -> Result<()> {
    let next = Mutex::new(plan.members.iter());
    let done = Mutex::new(0_u64);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let take = || {
        let fine = failed.lock().is_ok_and(|failed| failed.is_none());
        next.lock().ok().filter(|_| fine)?.next()
    };
    let work = || {
        while let Some(Planned { name, config }) = take() {
            let run = group.join(name);
            let outcome =
                if has_ended(&run, config) { Ok(None) } else { train_one(&run, config, stop).map(Some) };
            match outcome {
                Ok(headline) => {
                    if let Ok(mut done) = done.lock() {
                        *done += 1;
                        progress.update(*done, String::new);
                    }
                    progress.note(&format!("{name}: {}", headline.as_deref().unwrap_or("has ended before")));
                }
                Err(error) => {
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(error.context(name.clone()));
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..plan.at_once).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().map_err(|_| anyhow!("a thread of the group failed"))?.map_or(Ok(()), Err)
}

/// Whether the run in the directory `run` has been trained as long as `config` asks for, and judged. Its page is
/// what it writes last.
fn has_ended(run: &Path, config: &Config) -> bool {
    let made = read_report(run).ok().and_then(|report| report["timesteps"].as_u64());
    made.is_some_and(|made| made >= config.timesteps) && run.join("report.html").exists()
}

/// Runs one member to its end, from where it stands; the first line of its summary.
fn train_one(run: &Path, config: &Config, stop: &Stop) -> Result<String> {
    stop.check()?;
    let [file, log, summary] = ["toml", "log", "txt"].map(|extension| run.with_extension(extension));
    let open = |path: &PathBuf| fs::File::create(path).with_context(|| path.display().to_string());
    let mut child = Guard(
        Command::new(std::env::current_exe().context("the name of this program")?)
            .args([config.algorithm.name(), "--quiet"])
            .args(begin_or_go_on(run, config, &file)?)
            .arg("--run-directory")
            .arg(run)
            .args(server_of(config))
            // Out of reach of the terminal's Ctrl-C: this process passes it on, once.
            .process_group(0)
            // Its end tells the run that this process is gone, however it went.
            .stdin(Stdio::piped())
            .stdout(open(&summary)?)
            .stderr(open(&log)?)
            .spawn()
            .context("cannot start a run")?,
    );
    let mut told = false;
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if stop.check().is_err() && !told {
            told = true;
            child.ask_to_stop();
        }
        sleep(LOOK_EVERY);
    };
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    let (said, told) = (text(&log), text(&summary));
    stop.check()?;
    if !status.success() {
        bail!("{}", said.lines().last().unwrap_or("it ended without a word").trim_start_matches("train: "));
    }
    // The run's directory holds all of it.
    for path in [&file, &log, &summary] {
        let _ = fs::remove_file(path);
    }
    Ok(told.lines().next().unwrap_or_default().to_owned())
}

/// The arguments that begin the run in the directory `run`, with its configuration in `file`, or go on with it.
fn begin_or_go_on(run: &Path, config: &Config, file: &Path) -> Result<Vec<OsString>> {
    if checkpoint::list(run).is_empty() {
        if run.exists() {
            // It was ended before it had anything to go on from. Whoever still works in it keeps it.
            let _claim = run_directory::claim(run)?;
            fs::remove_dir_all(run).with_context(|| run.display().to_string())?;
        }
        put_file(file, &config.to_toml()?)?;
        return Ok(vec!["--config".into(), file.into()]);
    }
    let mut arguments = vec!["--resume".into(), run.into()];
    // Where it was to end is not to be held against a run that has gone a little further.
    if Config::read(&run.join("config.toml"))?.timesteps != config.timesteps {
        arguments.extend(["--timesteps".into(), config.timesteps.to_string().into()]);
    }
    Ok(arguments)
}

/// The arguments that name the server of `config`, the last ones of a command.
fn server_of(config: &Config) -> Vec<OsString> {
    match &config.connect {
        Some(address) => vec!["--connect".into(), address.into()],
        None => ["--".into()].into_iter().chain(config.server.iter().map(OsString::from)).collect(),
    }
}

/// A run that does not outlive the group.
struct Guard(Child);

impl Guard {
    /// Lets it write what it has learnt.
    fn ask_to_stop(&self) {
        // SAFETY: a signal to a child that has not been waited for, so that its number is still its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
