//! Steps a second of the bare batch, without any transport: `cargo bench -p trading-env`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark's table is its data")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trading_env::cartpole::CartPole;
use trading_env::testing::random_walk_table;
use trading_env::{
    Actions, Autoreset, Batch, Environment, EpisodeLength, EpisodeRules, EpisodeStatistics, MarketData,
    Outputs, Portfolio, PortfolioRules, Scaler, SessionRange, Start,
};

/// How long one measurement lasts.
const SPAN: Duration = Duration::from_millis(700);

fn main() {
    for n_sessions in [250, 5000] {
        let table = random_walk_table(1, n_sessions, 75, 45, 1);
        let range = SessionRange { first: 0, last: n_sessions as i32 - 1 };
        let data = Arc::new(MarketData::new(&table, Scaler::fit(&table, range)));
        let episodes = EpisodeRules {
            range,
            start: Start::Random,
            length: EpisodeLength::Bars(512),
            liquidate_at_end: false,
        };
        let rules = PortfolioRules::nse(true).unwrap();
        let portfolio = Portfolio::new(data, rules, episodes).unwrap();
        let mib = (n_sessions * 75 * 45 * 4) >> 20;
        measure_all(&format!("portfolio, 45 features, {mib} MiB table"), 3, || portfolio.clone());
    }
    measure_all("cartpole", 2, || CartPole);
}

fn measure_all<E: Environment>(what: &str, n_choices: usize, environment: impl Fn() -> E + Sync) {
    for n_envs in [256, 1024, 4096] {
        for n_threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            // A policy that changes its mind at random, and one that mostly holds, as a trained one does.
            let rates = [1, 50].map(|hold| pool.install(|| rate(environment(), n_envs, n_choices, hold)));
            println!(
                "{what:42} {n_envs:5} envs {n_threads} threads {:8.2} million steps/s, {:8.2} mostly holding",
                rates[0] / 1e6,
                rates[1] / 1e6
            );
        }
    }
}

fn rate<E: Environment>(environment: E, n_envs: usize, n_choices: usize, hold: usize) -> f64 {
    let observation_len = environment.observation_len();
    let mut batch = Batch::new(environment, n_envs, 1, Autoreset::SameStep);
    let mut observations = vec![0.0; n_envs * observation_len];
    let mut finals = observations.clone();
    let (mut rewards, mut terminated) = (vec![0.0; n_envs], vec![0; n_envs]);
    let (mut truncated, mut finished) = (terminated.clone(), terminated.clone());
    let mut statistics = vec![EpisodeStatistics::default(); n_envs];
    let mut choices = vec![0; n_envs];
    let (begun, mut n_steps) = (Instant::now(), 0);
    while begun.elapsed() < SPAN {
        for (env, choice) in choices.iter_mut().enumerate() {
            *choice = (((n_steps + env) / hold) * 7919 % 13 % n_choices) as i32;
        }
        let outputs = Outputs {
            observations: &mut observations,
            rewards: &mut rewards,
            terminated: &mut terminated,
            truncated: &mut truncated,
            finished: &mut finished,
            final_observations: &mut finals,
            statistics: &mut statistics,
            trace: &mut [],
        };
        batch.step(Actions::Discrete(&choices), outputs).unwrap();
        n_steps += 1;
    }
    (n_steps * n_envs) as f64 / begun.elapsed().as_secs_f64()
}
