//! Steps a second delivered to another process, beside the same steps without another process and a bare gather
//! of the same rows: the most that any server could reach. All kinds are measured in turn, so that a machine
//! that others use slows all of them alike; the ratios are what counts.
//!
//! - *shared memory*: observations lie where the client can read them.
//! - *copied*: the client has copied them into memory of its own too, as a learner that keeps them does.
//! - *frames*: through the pipe.
//! - *in process*: the batch is stepped where it is measured; what is lost from here to *shared memory* is the
//!   exchange between two processes.

use std::ffi::OsString;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use trading_env::portfolio::ACCOUNT_NAMES;
use trading_env::testing::random_walk_table;
use wire::{Actions, Client, Open, Session, Transport};

use crate::cli::{Arguments, BenchArguments};
use crate::config::Config;
use crate::served::Served;
use crate::session;
use crate::stdio;

/// Numbers in an observation.
const OBS_LEN: usize = 64;
const BARS_PER_SESSION: usize = 75;
/// The kinds of measurement in the order of a round, by their names in JSON.
const KINDS: [&str; 5] = ["shared", "copied", "inline", "process", "gather"];

/// Measures and prints; or serves what is measured.
pub fn run(arguments: &BenchArguments, out: &mut impl Write) -> Result<()> {
    if arguments.serve {
        return serve(arguments);
    }
    build_pool(arguments)?;
    let results: Vec<Value> =
        arguments.envs.iter().map(|&n_envs| measure(arguments, n_envs)).collect::<Result<_>>()?;
    if arguments.json {
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(&json!({ "rows": arguments.rows, "results": results }))?
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "observations of {OBS_LEN} numbers out of a table of {} rows, million steps/s",
        arguments.rows
    )?;
    writeln!(
        out,
        "{:>6}  {:>13} {:>7} {:>7} {:>11} {:>12}  {:>14} {:>15}",
        "envs",
        "shared memory",
        "copied",
        "frames",
        "in process",
        "bare gather",
        "shared/gather",
        "µs an exchange"
    )?;
    for result in &results {
        let number = |name: &str| result[name].as_f64().unwrap_or_default();
        let [shared, copied, inline, process, gather] = KINDS.map(|kind| number(kind) / 1e6);
        let (ratio, microseconds) = (number("shared_ratio"), number("envs") / shared);
        writeln!(
            out,
            "{:>6}  {shared:>13.2} {copied:>7.2} {inline:>7.2} {process:>11.2} {gather:>12.2}  {ratio:>14.2} \
             {microseconds:>15.1}",
            number("envs")
        )?;
    }
    Ok(())
}

/// A table of random walks, ready to be stepped.
fn served(arguments: &BenchArguments, n_envs: u32) -> Result<Served> {
    let n_envs = n_envs.to_string();
    let config = Config::new(
        &Arguments::try_parse_from(["envpool", "table", "--market", "nse", "--envs", &n_envs])?.serve,
    )?;
    let n_sessions = arguments.rows as usize / BARS_PER_SESSION;
    let table = random_walk_table(1, n_sessions, BARS_PER_SESSION, OBS_LEN - ACCOUNT_NAMES.len(), 1);
    Served::market(&table, &config)
}

fn build_pool(arguments: &BenchArguments) -> Result<()> {
    let a_core_each = || std::thread::available_parallelism().map_or(1, usize::from);
    crate::run::build_pool(arguments.threads.map_or_else(a_core_each, |n| n as usize))
}

/// Serves on stdin and stdout.
fn serve(arguments: &BenchArguments) -> Result<()> {
    let gate = stdio::stop_on_signals()?;
    build_pool(arguments)?;
    let served = served(arguments, arguments.envs.first().copied().unwrap_or(1))?;
    rayon::scope(|_| stdio::serve(&served, &gate))
}

/// Steps a second that `step` makes in so many environments; it is told the number of the step.
fn rate(span: Duration, n_envs: usize, mut step: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let (begun, mut n_steps) = (Instant::now(), 0);
    while begun.elapsed() < span {
        step(n_steps)?;
        n_steps += 1;
    }
    Ok((n_steps * n_envs) as f64 / begun.elapsed().as_secs_f64())
}

/// Positions that are held for a while, as a policy's are: those of each step, until they repeat themselves. Made
/// before anything is measured.
fn held_choices(n_envs: usize) -> Vec<Vec<i32>> {
    (0..150).map(|step| (0..n_envs).map(|env| ((step + env) / 50 % 3) as i32).collect()).collect()
}

/// One server and one session of it.
struct Stepped {
    client: Client,
    session: Session,
    copy: Vec<f32>,
}

impl Stepped {
    fn start(arguments: &BenchArguments, n_envs: u32, transport: Transport) -> Result<Self> {
        let mut command: Vec<OsString> = vec![std::env::current_exe()?.into()];
        let (n_envs_text, rows) = (n_envs.to_string(), arguments.rows.to_string());
        command.extend(["bench", "--serve", "--envs", &n_envs_text, "--rows", &rows].map(OsString::from));
        if let Some(threads) = arguments.threads {
            command.extend(["--threads".into(), threads.to_string().into()]);
        }
        let mut client = Client::spawn_over(&command, "envpool bench", transport)?;
        let mut session = client.open(&Open::training(n_envs, 1))?;
        client.reset(&mut session)?;
        Ok(Self { client, session, copy: vec![0.0; n_envs as usize * OBS_LEN] })
    }

    fn step(&mut self, choices: &[i32]) -> Result<()> {
        Ok(self.client.step(&mut self.session, Actions::Discrete(choices))?)
    }

    fn step_and_copy(&mut self, choices: &[i32]) -> Result<()> {
        self.step(choices)?;
        self.session.slab().observations().copy_to(&mut self.copy);
        std::hint::black_box(&mut self.copy);
        Ok(())
    }
}

/// A session without a client.
fn step_here(session: &mut session::Session, choices: &[i32]) -> Result<()> {
    session.step(0, bytemuck::cast_slice(choices)).map_err(|refusal| anyhow::Error::msg(refusal.text))
}

/// Copying as many rows of the same length out of a table of the same size, each environment's next row after
/// the one before, as a server must at least.
struct Gather {
    table: Vec<f32>,
    rows: Vec<usize>,
    batch: Vec<f32>,
}

impl Gather {
    fn new(n_rows: usize, n_envs: usize) -> Self {
        let table = (0..n_rows * OBS_LEN).map(|i| i as f32).collect();
        // Spread like random starts are.
        let rows = (0..n_envs).map(|env| env.wrapping_mul(0x9E37_79B9_7F4A_7C15) % n_rows).collect();
        Self { table, rows, batch: vec![0.0; n_envs * OBS_LEN] }
    }

    fn step(&mut self) {
        let n_rows = self.table.len() / OBS_LEN;
        for (to, row) in self.batch.chunks_exact_mut(OBS_LEN).zip(&mut self.rows) {
            *row = if *row + 1 == n_rows { 0 } else { *row + 1 };
            to.copy_from_slice(&self.table[*row * OBS_LEN..][..OBS_LEN]);
        }
        std::hint::black_box(&mut self.batch);
    }
}

fn measure(arguments: &BenchArguments, n_envs: u32) -> Result<Value> {
    let start = |transport| {
        Stepped::start(arguments, n_envs, transport)
            .with_context(|| format!("a server of {n_envs} environments"))
    };
    let (mut inline, mut shared) = (start(Transport::Inline)?, start(Transport::Shared)?);
    let served = served(arguments, n_envs)?;
    let refused = |refusal: wire::message::Refusal| anyhow::Error::msg(refusal.text);
    let mut process = session::Session::open(&served, &Open::training(n_envs, 1)).map_err(refused)?;
    process.reset(0, &[]).map_err(refused)?;
    let mut gather = Gather::new(arguments.rows as usize, n_envs as usize);
    let (n, choices) = (n_envs as usize, held_choices(n_envs as usize));
    let choices = |step: usize| &choices[step % choices.len()][..];
    let mut round = |span: Duration| -> Result<[f64; KINDS.len()]> {
        Ok([
            rate(span, n, |step| shared.step(choices(step)))?,
            rate(span, n, |step| shared.step_and_copy(choices(step)))?,
            rate(span, n, |step| inline.step(choices(step)))?,
            // Inside the pool, as the server is.
            rayon::scope(|_| rate(span, n, |step| step_here(&mut process, choices(step))))?,
            rate(span, n, |_| {
                gather.step();
                Ok(())
            })?,
        ])
    };
    let span = Duration::from_secs_f64(arguments.seconds);
    // Caches, branch predictors and the spinning's mean settle first.
    round(span / 3)?;
    let rounds: Vec<_> = (0..arguments.rounds).map(|_| round(span)).collect::<Result<_>>()?;
    let median = |of: &dyn Fn(&[f64; KINDS.len()]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut result = json!({ "envs": n_envs, "is_shared": shared.session.is_shared() });
    for (at, kind) in KINDS.iter().enumerate() {
        result[*kind] = median(&|round| round[at]).into();
        if *kind != "gather" {
            result[format!("{kind}_ratio")] = median(&|round| round[at] / round[KINDS.len() - 1]).into();
        }
    }
    Ok(result)
}
