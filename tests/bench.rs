//! Speeds of the real binaries, as ratios against a limit or against themselves with fewer threads, in one
//! run. Prints a table, and writes it as JSON to `target/bench/pipe.json`. Run by `make bench`.
#![expect(clippy::print_stdout, reason = "a benchmark's table is its data")]

use std::fs;
use std::time::{Duration, Instant};

use pipe_tests::{Place, Run, bin, root};
use random::{Purpose, Stream};
use serde_json::{Value, json};
use wire::{Actions, Client, Open};

/// How long one measurement lasts.
const SPAN: Duration = Duration::from_secs(2);
/// Measurements of each kind; their median counts.
const ROUNDS: usize = 5;

fn main() {
    let place = Place::new();
    let results: Vec<Value> =
        [features(&place), environments(&place, 256), environments(&place, 4096), learner(&place)]
            .into_iter()
            .collect();
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder).expect("target/ is writable");
    let text = serde_json::to_string_pretty(&results).expect("plain numbers");
    fs::write(folder.join("pipe.json"), text + "\n").expect("target/ is writable");
    for result in &results {
        println!(
            "{:44} {:>14.0} {:12} {:.2} of {}",
            result["what"].as_str().unwrap_or_default(),
            result["rate"].as_f64().unwrap_or_default(),
            result["unit"].as_str().unwrap_or_default(),
            result["ratio"].as_f64().unwrap_or_default(),
            result["against"].as_str().unwrap_or_default(),
        );
    }
    println!("also in target/bench/pipe.json");
}

/// The median of one measurement and of another made in turn, so that a drifting machine drifts for both.
fn medians(mut one: impl FnMut() -> f64, mut other: impl FnMut() -> f64) -> (f64, f64) {
    let (mut ones, mut others): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (one(), other())).unzip();
    ones.sort_by(f64::total_cmp);
    others.sort_by(f64::total_cmp);
    (ones[ROUNDS / 2], others[ROUNDS / 2])
}

fn features(place: &Place) -> Value {
    let sessions = "120";
    let inputs: Vec<String> = (0..8)
        .map(|i| {
            let (symbol, csv) = (format!("S{i}"), place.text(&format!("S{i}.csv")));
            let args = ["simulate", "--symbol", &symbol, "--seed", "5", "--sessions", sessions, "-o", &csv];
            Run::new("featgen").args(args).succeeds();
            csv
        })
        .collect();
    let rows = 8.0 * 120.0 * 75.0;
    let rate = |threads: &str| {
        let begun = Instant::now();
        let out = place.text("bench.parquet");
        Run::new("featgen").args(["--quiet", "--threads", threads, "-o", &out]).args(&inputs).succeeds();
        rows / begun.elapsed().as_secs_f64()
    };
    let (two, one) = medians(|| rate("2"), || rate("1"));
    json!({ "what": "featgen core, 8 symbols, 2 threads", "rate": two, "unit": "rows/s", "ratio": two / one,
        "against": "the same with 1 thread" })
}

fn environments(place: &Place, n: u32) -> Value {
    let features = place.features("BPCL", 120);
    let envs = n.to_string();
    let args = ["--envs", &envs, "--market", "nse", "--test-days", "10", &features];
    let command: Vec<_> =
        std::iter::once(bin("envpool").into_os_string()).chain(args.iter().map(Into::into)).collect();
    let mut client = Client::spawn(&command, "bench").expect("envpool serves");
    let mut session = client.open(&Open::training(n, 1)).expect("a session");
    client.reset(&mut session).expect("first observations");
    let obs_len = client.spec().observation.len as usize;
    let mut stream = Stream::new(1, Purpose::Test, 0, 0);
    let actions: Vec<i32> = (0..n).map(|_| stream.below(3) as i32).collect();
    let delivered = || {
        let (begun, mut steps) = (Instant::now(), 0.0);
        while begun.elapsed() < SPAN {
            client.step(&mut session, Actions::Discrete(&actions)).expect("a step");
            steps += f64::from(n);
        }
        steps / begun.elapsed().as_secs_f64()
    };
    // The limit: copying as many rows of the same length out of a table of the same size, within one process.
    let n_rows = 120 * 75;
    let table: Vec<f32> = (0..n_rows * obs_len).map(|i| i as f32).collect();
    let order: Vec<usize> = (0..n).map(|_| stream.below(n_rows as u64) as usize).collect();
    let mut batch = vec![0.0_f32; n as usize * obs_len];
    let gathered = || {
        let (begun, mut steps) = (Instant::now(), 0.0);
        while begun.elapsed() < SPAN {
            for (to, &row) in batch.chunks_exact_mut(obs_len).zip(&order) {
                to.copy_from_slice(&table[row * obs_len..(row + 1) * obs_len]);
            }
            std::hint::black_box(&mut batch);
            steps += f64::from(n);
        }
        steps / begun.elapsed().as_secs_f64()
    };
    let (rate, limit) = medians(delivered, gathered);
    json!({ "what": format!("envpool to another process, {n} environments"), "rate": rate, "unit": "steps/s",
        "ratio": rate / limit, "against": format!("a bare gather of {obs_len} floats in one process") })
}

fn learner(place: &Place) -> Value {
    let features = place.features("BPCL", 120);
    let envpool = bin("envpool").display().to_string();
    let mut round = 0;
    let mut split = || {
        round += 1;
        let out = place.text(&format!("bench-runs-{round}"));
        Run::new("train")
            .args(["ppo", "--quiet", "--out", &out, "--timesteps", "500000", "--device", "cpu", "--"])
            .args([&envpool, "--market", "nse", "--test-days", "10", &features])
            .succeeds();
        let report = fs::read_to_string(format!("{out}/latest/report.json")).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let seconds = |part: &str| report["time_split"][part].as_f64().unwrap_or_default();
        let network = seconds("inference") + seconds("update");
        let whole = network + seconds("environment") + seconds("checkpoint") + seconds("waiting");
        (report["steps_per_second"].as_f64().unwrap_or_default(), network / whole)
    };
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| split()).collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, share) = rounds[ROUNDS / 2];
    json!({ "what": "train ppo, 64-64, 256 environments, 1 server", "rate": rate, "unit": "steps/s",
        "ratio": share, "against": "its time is the network's own (inference and update)" })
}
