//! Steps a second delivered to another process, in frames and in shared memory, beside a bare gather of the
//! same rows in one process: the most that any server could reach. All kinds are measured in turn, so that a
//! machine that others use slows all of them alike; the ratios are what counts.

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
use crate::run::build_pool;
use crate::served::Served;
use crate::stdio;

/// Numbers in an observation.
const OBS_LEN: usize = 64;
const BARS_PER_SESSION: usize = 75;

/// Measures and prints; or serves what is measured.
pub fn run(arguments: &BenchArguments, out: &mut impl Write) -> Result<()> {
    if arguments.serve {
        return serve(arguments);
    }
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
        "{:>6}  {:>13} {:>13} {:>11}  {:>14} {:>12}",
        "envs", "shared memory", "frames", "bare gather", "shared/gather", "µs an exchange"
    )?;
    for result in &results {
        let number = |name: &str| result[name].as_f64().unwrap_or_default();
        writeln!(
            out,
            "{:>6}  {:>13.2} {:>13.2} {:>11.2}  {:>14.2} {:>12.1}",
            number("envs"),
            number("shared") / 1e6,
            number("inline") / 1e6,
            number("gather") / 1e6,
            number("shared_ratio"),
            number("envs") / number("shared") * 1e6
        )?;
    }
    Ok(())
}

/// Serves a table of random walks on stdin and stdout.
fn serve(arguments: &BenchArguments) -> Result<()> {
    let n_envs = arguments.envs.first().copied().unwrap_or(1).to_string();
    let config = Config::new(
        &Arguments::try_parse_from(["envpool", "table", "--market", "nse", "--envs", &n_envs])?.serve,
    )?;
    build_pool(arguments.threads.map_or(config.n_threads, |n| n as usize))?;
    let n_sessions = arguments.rows as usize / BARS_PER_SESSION;
    let table = random_walk_table(1, n_sessions, BARS_PER_SESSION, OBS_LEN - ACCOUNT_NAMES.len(), 1);
    let served = Served::market(&table, &config)?;
    rayon::scope(|_| stdio::serve(&served))
}

/// One server and one session of it, stepped on and on.
struct Stepped {
    client: Client,
    session: Session,
    choices: Vec<i32>,
    n_steps: usize,
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
        Ok(Self { client, session, choices: vec![0; n_envs as usize], n_steps: 0 })
    }

    fn rate(&mut self, span: Duration) -> Result<f64> {
        let (begun, before) = (Instant::now(), self.n_steps);
        while begun.elapsed() < span {
            // Positions that are held for a while, as a policy's are.
            for (env, choice) in self.choices.iter_mut().enumerate() {
                *choice = ((self.n_steps + env) / 50 % 3) as i32;
            }
            self.client.step(&mut self.session, Actions::Discrete(&self.choices))?;
            self.n_steps += 1;
        }
        Ok(((self.n_steps - before) * self.choices.len()) as f64 / begun.elapsed().as_secs_f64())
    }
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

    fn rate(&mut self, span: Duration) -> f64 {
        let n_rows = self.table.len() / OBS_LEN;
        let (begun, mut n_steps) = (Instant::now(), 0);
        while begun.elapsed() < span {
            for (to, row) in self.batch.chunks_exact_mut(OBS_LEN).zip(&mut self.rows) {
                *row = if *row + 1 == n_rows { 0 } else { *row + 1 };
                to.copy_from_slice(&self.table[*row * OBS_LEN..][..OBS_LEN]);
            }
            std::hint::black_box(&mut self.batch);
            n_steps += self.rows.len();
        }
        n_steps as f64 / begun.elapsed().as_secs_f64()
    }
}

fn measure(arguments: &BenchArguments, n_envs: u32) -> Result<Value> {
    let start = |transport| {
        Stepped::start(arguments, n_envs, transport)
            .with_context(|| format!("a server of {n_envs} environments"))
    };
    let (mut inline, mut shared) = (start(Transport::Inline)?, start(Transport::Shared)?);
    let mut gather = Gather::new(arguments.rows as usize, n_envs as usize);
    let span = Duration::from_secs_f64(arguments.seconds);
    // Caches, branch predictors and the spinning's mean settle first.
    inline.rate(span / 3)?;
    shared.rate(span / 3)?;
    gather.rate(span / 3);
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        rounds.push([inline.rate(span)?, shared.rate(span)?, gather.rate(span)]);
    }
    let median = |of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(json!({
        "envs": n_envs,
        "is_shared": shared.session.is_shared(),
        "inline": median(&|round| round[0]),
        "shared": median(&|round| round[1]),
        "gather": median(&|round| round[2]),
        "inline_ratio": median(&|round| round[0] / round[2]),
        "shared_ratio": median(&|round| round[1] / round[2]),
    }))
}
