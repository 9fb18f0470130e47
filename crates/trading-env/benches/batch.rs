//! Nanoseconds of one thread for a step of the bare batch, without any transport, beside a bare gather of rows
//! of the same length in the same rounds: `cargo bench -p trading-env`. Ratios count, not times.
//!
//! Options are NAME=VALUE: `envs=256,4096`, `rows=18000,4000000` (of the table; the second is a gigabyte),
//! `threads=1,2`, `hold=50` (steps for which a position is held), `of=portfolio,cartpole`, `gather=no` (for a
//! profile of the step alone), `rounds=200` and `seconds=0.004` of each: the fastest counts, for others may use
//! the machine in between.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark's table is its data")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trading_env::cartpole::CartPole;
use trading_env::testing::random_walk_table;
use trading_env::{
    Actions, Autoreset, Batch, Environment, EpisodeLength, EpisodeRules, EpisodeStatistics, MarketData,
    Outputs, Portfolio, PortfolioRules, Scaler, SessionRange, Start,
};

/// Numbers in a portfolio's observation: the features and the account.
const OBS_LEN: usize = 64;
const ACCOUNT_LEN: usize = 5;
const BARS_PER_SESSION: usize = 75;

fn main() {
    println!(
        "{:<10} {:>9} {:>6} {:>8} {:>9} {:>10} {:>12}",
        "", "rows", "envs", "threads", "ns/step", "ns/gather", "gather/step"
    );
    for rows in numbers("rows", "18000") {
        if option("of", "portfolio,cartpole").contains("portfolio") {
            let portfolio = portfolio(rows);
            measure_all("portfolio", rows, 3, || portfolio.clone());
        }
    }
    if option("of", "portfolio,cartpole").contains("cartpole") {
        measure_all("cartpole", 18_000, 2, || CartPole);
    }
}

/// The value of an option.
fn option(name: &str, default: &str) -> String {
    let given =
        std::env::args().find_map(|argument| Some(argument.strip_prefix(name)?.strip_prefix('=')?.into()));
    given.unwrap_or_else(|| default.into())
}

fn numbers(name: &str, default: &str) -> Vec<usize> {
    option(name, default).split(',').map(|number| number.parse().unwrap()).collect()
}

/// What `envpool bench` serves.
fn portfolio(rows: usize) -> Portfolio {
    let n_sessions = rows / BARS_PER_SESSION;
    let table = random_walk_table(1, n_sessions, BARS_PER_SESSION, OBS_LEN - ACCOUNT_LEN, 1);
    let range = SessionRange { first: 0, last: n_sessions as i32 - 1 };
    let data = Arc::new(MarketData::new(&table, Scaler::fit(&table, range)));
    let episodes = EpisodeRules {
        range,
        start: Start::Random,
        length: EpisodeLength::Bars(512),
        liquidate_at_end: false,
    };
    Portfolio::new(data, PortfolioRules::nse(true).unwrap(), episodes).unwrap()
}

fn measure_all<E: Environment>(
    what: &str,
    rows: usize,
    n_choices: usize,
    environment: impl Fn() -> E + Sync,
) {
    for n_envs in numbers("envs", "256,4096") {
        for n_threads in numbers("threads", "1,2") {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| {
                let mut stepped = Stepped::new(environment(), n_envs, n_choices);
                let mut gather = Gather::new(rows, n_envs, stepped.batch.environment().observation_len());
                let span = Duration::from_secs_f64(option("seconds", "0.004").parse().unwrap());
                // Caches and branch predictors settle first.
                stepped.nanoseconds(span);
                gather.nanoseconds(span);
                let mut fastest = [f64::INFINITY; 2];
                for _ in 0..option("rounds", "200").parse().unwrap() {
                    let is_alone = option("gather", "yes") == "no";
                    let gathered = if is_alone { f64::NAN } else { gather.nanoseconds(span) };
                    let round = [stepped.nanoseconds(span), gathered];
                    fastest = [0, 1].map(|at| fastest[at].min(round[at]));
                }
                println!(
                    "{what:<10} {rows:>9} {n_envs:>6} {n_threads:>8} {:>9.1} {:>10.1} {:>12.2}",
                    fastest[0],
                    fastest[1],
                    fastest[1] / fastest[0],
                );
            });
        }
    }
}

/// Numbers that begin with a cache line, as those of a server do.
struct Lines {
    numbers: Vec<f32>,
    first: usize,
    len: usize,
}

impl Lines {
    fn zeros(len: usize) -> Self {
        let numbers = vec![0.0; len + 16];
        let first = numbers.as_ptr().align_offset(64);
        Self { numbers, first, len }
    }

    fn get(&mut self) -> &mut [f32] {
        &mut self.numbers[self.first..][..self.len]
    }
}

/// A batch that is stepped on and on.
struct Stepped<E: Environment> {
    batch: Batch<E>,
    n_choices: usize,
    hold: usize,
    n_steps: usize,
    choices: Vec<i32>,
    observations: Lines,
    finals: Vec<f32>,
    rewards: Vec<f32>,
    flags: [Vec<u8>; 3],
    statistics: Vec<EpisodeStatistics>,
}

impl<E: Environment> Stepped<E> {
    fn new(environment: E, n_envs: usize, n_choices: usize) -> Self {
        let observation_len = environment.observation_len();
        Self {
            batch: Batch::new(environment, n_envs, 1, Autoreset::SameStep),
            n_choices,
            hold: numbers("hold", "50")[0],
            n_steps: 0,
            choices: vec![0; n_envs],
            observations: Lines::zeros(n_envs * observation_len),
            finals: vec![0.0; n_envs * observation_len],
            rewards: vec![0.0; n_envs],
            flags: [(); 3].map(|()| vec![0; n_envs]),
            statistics: vec![EpisodeStatistics::default(); n_envs],
        }
    }

    fn nanoseconds(&mut self, span: Duration) -> f64 {
        let (begun, before) = (Instant::now(), self.n_steps);
        while begun.elapsed() < span {
            // Each changes its mind at its own time, and there are few changes to work out between steps.
            let changed = self.choices.iter_mut().enumerate().skip(self.n_steps % self.hold);
            for (env, choice) in changed.step_by(self.hold) {
                *choice = ((env + self.n_steps / self.hold) % self.n_choices) as i32;
            }
            let [terminated, truncated, finished] = &mut self.flags;
            let outputs = Outputs {
                observations: self.observations.get(),
                rewards: &mut self.rewards,
                terminated,
                truncated,
                finished,
                final_observations: &mut self.finals,
                statistics: &mut self.statistics,
                trace: &mut [],
            };
            self.batch.step(Actions::Discrete(&self.choices), outputs).unwrap();
            self.n_steps += 1;
        }
        begun.elapsed().as_secs_f64() * 1e9 / ((self.n_steps - before) * self.choices.len()) as f64
    }
}

/// Copying as many rows of the same length out of a table of the same size, each environment's next row after
/// the one before, as any step must at least.
struct Gather {
    table: Lines,
    row_len: usize,
    rows: Vec<usize>,
    batch: Lines,
}

impl Gather {
    fn new(n_rows: usize, n_envs: usize, row_len: usize) -> Self {
        let mut table = Lines::zeros(n_rows * row_len);
        table.get().iter_mut().enumerate().for_each(|(i, number)| *number = i as f32);
        // Spread like random starts are.
        let rows = (0..n_envs).map(|env| env.wrapping_mul(0x9E37_79B9_7F4A_7C15) % n_rows).collect();
        Self { table, row_len, rows, batch: Lines::zeros(n_envs * row_len) }
    }

    fn nanoseconds(&mut self, span: Duration) -> f64 {
        // A length that the compiler knows, for it is the faster copy that counts.
        if self.row_len == OBS_LEN { self.run::<OBS_LEN>(span) } else { self.run::<4>(span) }
    }

    fn run<const LEN: usize>(&mut self, span: Duration) -> f64 {
        assert_eq!(self.row_len, LEN);
        let (table, batch) = (self.table.get(), self.batch.get());
        let n_rows = table.len() / LEN;
        let (begun, mut n_steps) = (Instant::now(), 0);
        while begun.elapsed() < span {
            for (to, row) in batch.chunks_exact_mut(LEN).zip(&mut self.rows) {
                *row = if *row + 1 == n_rows { 0 } else { *row + 1 };
                to.copy_from_slice(&table[*row * LEN..][..LEN]);
            }
            std::hint::black_box(&mut *batch);
            n_steps += self.rows.len();
        }
        begun.elapsed().as_secs_f64() * 1e9 / n_steps as f64
    }
}
