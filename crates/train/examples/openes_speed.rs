//! How fast `train openes` steps environments, against what the server delivers to random actions and a bare
//! forward pass of the same shapes, in turn in one run: `make bench-openes`. Writes one line of JSON.
//! Arguments: the server's program, environments, hidden widths, threads (envpool 256 64,64 2).

use std::cell::RefCell;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use random::{Purpose, Stream};
use serde_json::json;
use tch::{Device, Kind, Tensor};
use train::algorithms::Algorithm;
use train::algorithms::env::{ServedEnv, VecEnv};
use train::algorithms::openes::OpenEsConfig;
use train::algorithms::task::{Listener, Memory, Task, UpdateReport};
use train::networks::device::Placement;
use train::networks::learner::Policy;
use train::networks::lent::Lent;
use train::networks::network::{Activation, Distribution, NetworkShape};
use train::networks::torch::TorchLearner;
use train::training::stop::Stop;
use wire::{Actions, Client, Open};

const ROUNDS: usize = 5;
/// Steps of each environment in a measurement: an episode's.
const STEPS: usize = 1000;

/// Notes where the time of each generation went.
#[derive(Default)]
struct Watch {
    steps_per_second: f64,
}

impl Listener for Watch {
    fn begun(&mut self, _: &mut dyn VecEnv, _: &mut dyn Policy, _: Memory<Lent>) -> Result<()> {
        Ok(())
    }

    fn updated(
        &mut self,
        report: &UpdateReport<'_>,
        _: &mut dyn VecEnv,
        _: &mut dyn Policy,
        _: Memory<Lent>,
    ) -> Result<()> {
        let times = report.times;
        let seconds = (times.environment + times.inference + times.update).as_secs_f64();
        self.steps_per_second = report.timesteps as f64 / report.update as f64 / seconds;
        Ok(())
    }
}

fn main() -> Result<()> {
    train::networks::device::keep_freed_memory();
    let given: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| given.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let envs: u32 = argument(1, "256").parse()?;
    let hidden = argument(2, "64,64").split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let threads: usize = argument(3, "2").parse()?;
    let server =
        [&argument(0, "target/release/envpool"), "--envs", &envs.to_string(), "--env", "ou:cost=0.1"];
    let client = Client::spawn(&server.map(Into::into), "bench").context("the server")?;
    let space = client.spec().action.clone();
    let shape = NetworkShape {
        observation_len: client.spec().observation.len as usize,
        hidden: hidden.clone(),
        activation: Activation::Tanh,
        distribution: Distribution::over(&space),
    };
    let algorithm = Algorithm::OpenEs(OpenEsConfig::default());
    let client = RefCell::new(client);
    let (bound_open, open) = (Open::training(envs, 1), algorithm.session(Open::training(envs, 1)));
    let mut random_session = client.borrow_mut().open(&bound_open)?;
    client.borrow_mut().reset(&mut random_session)?;
    let mut stream = Stream::new(1, Purpose::Test, 0, 0);
    let actions: Vec<i32> = (0..envs).map(|_| stream.below(3) as i32).collect();

    // One layer a batched product, members × 1 × in by members × in × out, and the same with one network for all.
    let rows = i64::from(envs);
    let kind = (Kind::Float, Device::Cpu);
    let widths: Vec<i64> =
        [shape.observation_len].iter().chain(&hidden).chain([&3]).map(|&w| w as i64).collect();
    let weights: Vec<Tensor> = widths.windows(2).map(|w| Tensor::randn([rows, w[0], w[1]], kind)).collect();
    let observations = Tensor::randn([rows, 1, widths[0]], kind);
    let mut shared =
        TorchLearner::new(&shape, 1, Placement { inference_threads: threads, ..Placement::one_thread() })?;
    let seen: Vec<f32> = vec![0.1; envs as usize * shape.observation_len];
    let session = client.borrow_mut().open(&open)?;
    let mut env = ServedEnv::new(&client, session);
    let placement = Placement { inference_threads: threads, ..Placement::one_thread() };

    let mut found: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..STEPS {
            client.borrow_mut().step(&mut random_session, Actions::Discrete(&actions))?;
        }
        found[0].push(begun.elapsed().as_secs_f64() / STEPS as f64);
        // Threads inside a product lose as often as they win: the better of the two counts.
        let batched = |inner: usize| {
            tch::set_num_threads(inner as i32);
            let begun = Instant::now();
            for _ in 0..STEPS / 4 {
                let mut x = observations.shallow_clone();
                for (layer, weight) in weights.iter().enumerate() {
                    x = x.bmm(weight);
                    if layer < hidden.len() {
                        let _ = x.tanh_();
                    }
                }
                std::hint::black_box(&x);
            }
            begun.elapsed().as_secs_f64() / (STEPS / 4) as f64
        };
        found[1].push(batched(threads).min(batched(1)));
        let begun = Instant::now();
        for _ in 0..STEPS / 4 {
            shared.infer(&seen)?;
        }
        found[2].push(begun.elapsed().as_secs_f64() / (STEPS / 4) as f64);
        env.reset()?;
        let mut watch = Watch::default();
        let mut task = Task {
            seed: 1,
            timesteps: u64::from(envs) * STEPS as u64 + 1,
            earlier_ends: &[],
            space: &space,
            env: &mut env,
            start: None,
            stop: &Stop::never(),
            listener: &mut watch,
        };
        algorithm.train(&mut task, &shape, placement)?;
        found[3].push(f64::from(envs) / watch.steps_per_second);
    }
    let [server, batched, one_network, openes] = found.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        1e6 * seconds[seconds.len() / 2]
    });
    let line = json!({
        "envs": envs, "hidden": hidden, "threads": threads, "microseconds_a_step_of_all": {
            "server": server, "forward_batched": batched, "forward_one_network": one_network, "openes": openes,
        },
        "steps_per_second": 1e6 * f64::from(envs) / openes,
        "ratio_to_server_and_batched_forward": (server + batched) / openes,
        "ratio_to_server_and_forward_of_one_network": (server + one_network) / openes,
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
