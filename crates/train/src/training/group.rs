//! Several runs as one: `--seeds K` tells what chance does to a training, `--walk-forward K` what time does to
//! a policy. Each run is a process of its own with its own directory below that of the group, as many side by
//! side as there are cores; the group's report is made of theirs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cli::{Exit, Progress, UsageError};
use jiff::Zoned;
use serde_json::Value;

use crate::cli::run_flags::{Plan, RunFlags};
use crate::config::Config;
use crate::networks::device;
use crate::report::group_report::{GroupReport, Kind, Member};
use crate::run::print;
use crate::training::files::put_file;
use crate::training::learn::{default_out, prepare, spec_of};
use crate::training::stop::{Interrupted, Stop};
use crate::training::{run_directory, server, window};

/// How often runs are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Trains every member of the group that the flags ask for, and reports on all of them.
///
/// # Errors
/// If one of them fails.
pub fn run(plan: Plan, flags: &RunFlags) -> Result<Exit> {
    let Plan::New { mut config, out } = plan else {
        bail!("--resume goes on with one run, not with a group")
    };
    out.as_deref().map_or(Ok(()), run_directory::check)?;
    let client = server::connect(&config, flags.quiet)?;
    let stop = Stop::on_signals()?;
    let spec = spec_of(&client, &config)?;
    let (kind, count) = match (flags.walk_forward, flags.seeds) {
        (Some(count), _) => (Kind::WalkForward, count),
        (_, count) => (Kind::Seeds, count.unwrap_or(1)),
    };
    if kind == Kind::Seeds && config.seed.checked_add(count.into()).is_none() {
        let text =
            format!("--seed {}: there are not {count} seeds from there on (give a smaller one)", config.seed);
        return Err(UsageError(text).into());
    }
    let at_once = device::cores().min(count as usize);
    if config.threads == 0 {
        config.threads = (device::cores() / at_once).max(1);
    }
    // Measured once, while the machine does nothing else.
    prepare(&mut config, &spec)?;
    share_cores(&mut config);
    let members: Vec<(String, Config)> = match kind {
        Kind::Seeds => (config.seed..config.seed + u64::from(count))
            .map(|seed| (format!("seed-{seed}"), Config { seed, ..(*config).clone() }))
            .collect(),
        Kind::WalkForward => {
            let market = spec.market.as_ref().context("--walk-forward needs a market (serve features)")?;
            let windows = window::expanding(market, count, flags.embargo_days)?.into_iter().zip(1..);
            windows
                .map(|(window, n)| {
                    (format!("window-{n}"), Config { window: Some(window), ..(*config).clone() })
                })
                .collect()
        }
    };
    drop(client);

    let mark = match kind {
        Kind::Seeds => format!("seeds-{}-{}", config.seed, config.seed + u64::from(count) - 1),
        Kind::WalkForward => format!("walk-forward-{count}"),
    };
    let out = out.unwrap_or_else(|| default_out(&spec));
    let group = run_directory::create_group(&out, &mark, &Zoned::now())?;
    let progress = Progress::new("train", count.into(), "runs", flags.quiet);
    let outcome = train_all(&group, &members, config.algorithm.name(), at_once, &stop, &progress);
    progress.finish();
    match outcome {
        Err(error) if error.is::<Interrupted>() => {
            cli::say(&format!(
                "train: interrupted; each run below {} can be resumed by itself",
                group.display()
            ));
            return Ok(stop.exit_code().map_or(Exit::Failed, Exit::Code));
        }
        outcome => outcome?,
    }

    let members: Result<Vec<Member>> = members
        .iter()
        .map(|(name, config)| Ok(Member::new(name, config, read_report(&group.join(name))?)))
        .collect();
    let report = GroupReport { kind, members: members?, market: spec.market, directory: group.clone() };
    put_file(&group.join("report.json"), &(serde_json::to_string_pretty(&report.to_json())? + "\n"))?;
    put_file(&group.join("report.html"), &report.to_page())?;
    print(&report.to_text())
}

fn read_report(run: &Path) -> Result<Value> {
    let path = run.join("report.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Keeps the servers of runs side by side from each taking all cores.
fn share_cores(config: &mut Config) {
    let is_ours = config.server.first().is_some_and(|program| Path::new(program).ends_with("envpool"));
    if is_ours && !config.server.iter().any(|word| word.starts_with("--threads")) {
        let words = ["--threads".to_owned(), config.threads.to_string()];
        config.server.splice(1..1, words);
    }
}

/// Runs all members, `at_once` of them side by side.
fn train_all(
    group: &Path,
    members: &[(String, Config)],
    command: &str,
    at_once: usize,
    stop: &Stop,
    progress: &Progress,
) -> Result<()> {
    let next = Mutex::new(members.iter());
    let done = Mutex::new(0_u64);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let take = || {
        let fine = failed.lock().is_ok_and(|failed| failed.is_none());
        next.lock().ok().filter(|_| fine)?.next()
    };
    let work = || {
        while let Some((name, config)) = take() {
            match train_one(&group.join(name), config, command, stop) {
                Ok(headline) => {
                    if let Ok(mut done) = done.lock() {
                        *done += 1;
                        progress.update(*done, String::new);
                    }
                    progress.note(&format!("{name}: {headline}"));
                }
                Err(error) => {
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(error.context(name.clone()));
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().map_err(|_| anyhow!("a thread of the group failed"))?.map_or(Ok(()), Err)
}

/// Runs one member to its end; the first line of its summary.
fn train_one(run: &Path, config: &Config, command: &str, stop: &Stop) -> Result<String> {
    stop.check()?;
    let file = run.with_extension("toml");
    put_file(&file, &config.to_toml()?)?;
    let log = run.with_extension("log");
    let summary = run.with_extension("txt");
    let open = |path: &PathBuf| fs::File::create(path).with_context(|| path.display().to_string());
    let program = std::env::current_exe().context("the name of this program")?;
    let mut child = Guard(
        Command::new(program)
            .args([command, "--quiet", "--config"])
            .arg(&file)
            .arg("--run-directory")
            .arg(run)
            // Out of reach of the terminal's Ctrl-C: this process passes it on, once.
            .process_group(0)
            // Its end tells the run that this process is gone, however that happened.
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
    stop.check()?;
    let text = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    if !status.success() {
        let said = text(&log);
        bail!("{}", said.lines().last().unwrap_or("it ended without a word").trim_start_matches("train: "));
    }
    let headline = text(&summary).lines().next().unwrap_or_default().to_owned();
    // The run's directory holds all of it.
    for path in [&file, &log, &summary] {
        let _ = fs::remove_file(path);
    }
    Ok(headline)
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
