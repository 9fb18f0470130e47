//! Steps a second delivered to another process over stdin and stdout, for numbers of environments and
//! threads: `cargo bench -p envpool --bench transport -- features.parquet`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark's table is its data")]

use std::ffi::OsString;
use std::time::{Duration, Instant};

use wire::{Actions, Client, Open};

/// How long one measurement lasts.
const SPAN: Duration = Duration::from_secs(1);

fn main() {
    let Some(features) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        println!("no feature file given, nothing measured");
        return;
    };
    for n_envs in [256_u32, 1024, 4096] {
        for n_threads in ["1", "2"] {
            let envs = n_envs.to_string();
            let arguments = ["--envs", &envs, "--threads", n_threads, "--market", "nse", &features];
            let command: Vec<OsString> =
                std::iter::once(env!("CARGO_BIN_EXE_envpool")).chain(arguments).map(Into::into).collect();
            let mut client = Client::spawn(&command, "transport bench").unwrap();
            let mut session = client.open(&Open::training(n_envs, 1)).unwrap();
            client.reset(&mut session).unwrap();
            let (begun, mut n_steps) = (Instant::now(), 0);
            let mut choices = vec![0; n_envs as usize];
            while begun.elapsed() < SPAN {
                for (env, choice) in choices.iter_mut().enumerate() {
                    *choice = ((n_steps + env) / 50 * 7919 % 13 % 3) as i32;
                }
                client.step(&mut session, Actions::Discrete(&choices)).unwrap();
                n_steps += 1;
            }
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{n_envs:5} envs {n_threads} threads {:8.2} million steps/s, {:7.1} µs an exchange",
                (n_steps as f64) * f64::from(n_envs) / seconds / 1e6,
                seconds / n_steps as f64 * 1e6
            );
        }
    }
}
