//! Gates: what takes minutes. Learning reaches a known score, and a run killed at fifty random moments goes on
//! every time and comes to what it would have come to. Run by `make gates`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use pipe_tests::left::{assert_same_bits, checkpoints, metrics, newest_checkpoint};
use pipe_tests::{Place, Run, bin, until};
use random::{Purpose, Stream};
use rustix::process::Signal;
use serde_json::{Map, Value};

/// Trains on a known-answer environment and gives its metrics, a line a value.
fn metrics_of(environment: &str, seed: u64, flags: &str) -> Vec<Map<String, Value>> {
    trained(&Place::new(), environment, seed, flags)
}

fn trained(place: &Place, environment: &str, seed: u64, flags: &str) -> Vec<Map<String, Value>> {
    let (out, envpool, seed) = (place.text("runs"), bin("envpool").display().to_string(), seed.to_string());
    Run::new("train")
        .args(["ppo", "--quiet", "--out", &out, "--device", "cpu", "--threads", "2", "--seed", &seed])
        .words(flags)
        .args(["--", &envpool, "--envs", "256", "--env", environment])
        .succeeds();
    metrics(&place.path("runs/latest"))
}

fn last_return(metrics: &[Map<String, Value>]) -> f64 {
    let mut returns = metrics.iter().rev().filter_map(|line| line.get("charts/episodic_return")?.as_f64());
    returns.next().expect("a return")
}

#[test]
fn cartpole_is_solved_within_300_000_steps_by_every_seed() {
    // The last whole update of 2,048 steps that ends within 300,000.
    let flags =
        "--timesteps 299008 --envs 64 --rollout 32 --minibatches 8 --epochs 8 --learning-rate 1e-3..0";
    for seed in 1..=5 {
        let metrics = metrics_of("cartpole", seed, flags);
        // The mean return of the last 100 episodes, at its best along the way.
        let best = metrics
            .iter()
            .filter_map(|line| line.get("charts/episodic_return")?.as_f64())
            .fold(f64::NEG_INFINITY, f64::max);
        println!("cartpole seed {seed}: best {best:.1}, last {:.1}", last_return(&metrics));
        assert!(best >= 475.0, "seed {seed}: {best}");
    }
}

/// The Ornstein-Uhlenbeck market on a fine grid of prices. Its optimum holds −1, 0 or 1.
struct Ou {
    rho: f64,
    cost: f64,
    grid: Vec<f64>,
    /// Probabilities of the next price, a row a price.
    rows: Vec<Vec<f64>>,
}

impl Ou {
    fn new(rho: f64, cost: f64) -> Self {
        let n = 401_usize;
        let (low, high) = (-6.0, 6.0);
        let width = (high - low) / (n - 1) as f64;
        let grid: Vec<f64> = (0..n).map(|i| low + width * i as f64).collect();
        let sigma = (1.0 - rho * rho).sqrt();
        // Normal densities on the grid, normalised.
        let row = |&x: &f64| {
            let density: Vec<f64> =
                grid.iter().map(|&y| (-0.5 * ((y - rho * x) / sigma).powi(2)).exp()).collect();
            let sum: f64 = density.iter().sum();
            density.into_iter().map(|p| p / sum).collect()
        };
        Self { rho, cost, rows: grid.iter().map(row).collect(), grid }
    }

    /// The mean reward of changing from position index `from` to `to` at the price `x`.
    fn reward(&self, x: f64, from: usize, to: usize) -> f64 {
        let (q, target) = (from as f64 - 1.0, to as f64 - 1.0);
        target * (self.rho - 1.0) * x - self.cost * (target - q).abs()
    }

    /// The best mean reward a step, by relative value iteration.
    fn optimum(&self) -> f64 {
        let n = self.grid.len();
        let mut value = vec![[0.0_f64; 3]; n];
        // The value of the centre without a position is held at 0, so what it gains in a sweep is the gain a
        // step.
        let mut gain = 0.0;
        for _ in 0..600 {
            let expected: Vec<[f64; 3]> = self
                .rows
                .iter()
                .map(|row| {
                    let mut sum = [0.0; 3];
                    for (p, v) in row.iter().zip(&value) {
                        (0..3).for_each(|q| sum[q] += p * v[q]);
                    }
                    sum
                })
                .collect();
            let best = |i: usize, q: usize| {
                let of = |target: usize| self.reward(self.grid[i], q, target) + expected[i][target];
                of(0).max(of(1)).max(of(2))
            };
            let mut next: Vec<[f64; 3]> = (0..n).map(|i| [0, 1, 2].map(|q| best(i, q))).collect();
            gain = next[n / 2][1];
            next.iter_mut().flatten().for_each(|v| *v -= gain);
            value = next;
        }
        gain
    }

    /// The mean reward a step of a policy that maps price and position to the next position, one of `positions` or
    /// between two of them, without the noise of playing it: from the distribution of states that it settles into.
    fn mean_reward(&self, positions: &[f64], policy: impl Fn(f64, f64) -> f64) -> f64 {
        let (n, m) = (self.grid.len(), positions.len());
        // What lies between two positions is shared between them by how near it is.
        let shares = |target: f64| {
            let above = positions.iter().position(|&position| position >= target).unwrap_or(m - 1).max(1);
            let (low, high) = (positions[above - 1], positions[above]);
            let share = ((target - low) / (high - low)).clamp(0.0, 1.0);
            [(above - 1, 1.0 - share), (above, share)]
        };
        let targets: Vec<Vec<f64>> =
            self.grid.iter().map(|&x| positions.iter().map(|&q| policy(x, q)).collect()).collect();
        let mut states = vec![vec![0.0_f64; m]; n];
        states[n / 2][m / 2] = 1.0;
        let mut gain = 0.0;
        // Of where it began, 0.95^400 is left.
        for _ in 0..400 {
            gain = 0.0;
            let mut moved = vec![vec![0.0_f64; m]; n];
            for (i, state) in states.iter().enumerate() {
                for (q, mass) in state.iter().enumerate() {
                    let target = targets[i][q];
                    let change = (target - positions[q]).abs();
                    gain += mass * (target * (self.rho - 1.0) * self.grid[i] - self.cost * change);
                    for (to, share) in shares(target) {
                        moved[i][to] += share * mass;
                    }
                }
            }
            let mut next = vec![vec![0.0_f64; m]; n];
            for (row, mass) in self.rows.iter().zip(&moved) {
                for (p, slot) in row.iter().zip(&mut next) {
                    slot.iter_mut().zip(mass).for_each(|(slot, mass)| *slot += p * mass);
                }
            }
            states = next;
        }
        gain
    }
}

/// The policy network of a checkpoint, from nothing but its files.
struct PolicyNetwork {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl PolicyNetwork {
    fn read(checkpoint: &Path) -> Self {
        let text = fs::read_to_string(checkpoint.join("network.json")).expect("network.json");
        let network: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(network["shape"]["activation"], "tanh");
        let layers = network["shape"]["hidden"].as_array().expect("widths").len() + 1;
        // Eight bytes of length, a header in JSON, the numbers.
        let bytes = fs::read(checkpoint.join("policy.safetensors")).expect("the weights");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let tensor = |name: String| -> Vec<f32> {
            let offset =
                |end: usize| header[&name]["data_offsets"][end].as_u64().expect("an offset") as usize;
            let data = &bytes[8 + length + offset(0)..8 + length + offset(1)];
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let layer = |i| (tensor(format!("policy.{i}.weight")), tensor(format!("policy.{i}.bias")));
        Self { layers: (0..layers).map(layer).collect() }
    }

    /// The likeliest choice.
    fn choice(&self, observation: &[f64]) -> usize {
        let x = self.outputs(observation);
        (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best })
    }

    fn outputs(&self, observation: &[f64]) -> Vec<f64> {
        let mut x = observation.to_vec();
        for (i, (weight, bias)) in self.layers.iter().enumerate() {
            let rows = weight.chunks_exact(x.len()).zip(bias);
            let linear = rows.map(|(row, bias)| {
                row.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() + f64::from(*bias)
            });
            let is_head = i + 1 == self.layers.len();
            x = linear.map(|y| if is_head { y } else { y.tanh() }).collect();
        }
        x
    }
}

const THREE: [f64; 3] = [-1.0, 0.0, 1.0];

fn many_positions() -> Vec<f64> {
    (0..=40).map(|i| f64::from(i) / 20.0 - 1.0).collect()
}

#[test]
fn the_mean_reverting_market_is_traded_nearly_as_well_as_can_be() {
    // The published values, as a check of the check.
    for (cost, known) in [(0.0, 0.03990), (0.1, 0.03174), (0.5, 0.0180)] {
        let optimum = Ou::new(0.95, cost).optimum();
        assert!((optimum / known - 1.0).abs() < 0.01, "cost {cost}: {optimum} instead of {known}");
    }
    // Whoever changes sides where |x| exceeds 0.525 has the optimum at a cost of 0.1.
    let ou = Ou::new(0.95, 0.1);
    let by_rule = |x: f64, position: f64| if x.abs() > 0.525 { -x.signum() } else { position };
    for positions in [&THREE[..], &many_positions()] {
        assert!((ou.mean_reward(positions, by_rule) / ou.optimum() - 1.0).abs() < 0.002);
    }

    for (cost, least) in [(0.1, 0.98), (0.5, 0.93)] {
        let place = Place::new();
        // The last whole update of 8,192 steps that ends within 2,000,000.
        let flags = "--timesteps 1998848 --envs 256 --rollout 32 --minibatches 8 --learning-rate 1e-3..0";
        trained(&place, &format!("ou:rho=0.95,cost={cost}"), 1, flags);
        let policy = PolicyNetwork::read(&newest_checkpoint(&place.path("runs/latest")).1);
        let ou = Ou::new(0.95, cost);
        let choose = |x, position| THREE[policy.choice(&[x, position])];
        let reached = ou.mean_reward(&THREE, choose) / ou.optimum();
        println!("ou at cost {cost}: the deterministic policy earns {:.2} % of the optimum", 100.0 * reached);
        assert!(reached >= least && reached <= 1.0 + 1e-6, "cost {cost}: {reached}");
    }
}

#[test]
fn the_mean_reverting_market_is_traded_as_well_with_any_position() {
    let place = Place::new();
    let flags = "--timesteps 1998848 --envs 256 --rollout 32 --minibatches 8 --learning-rate 1e-3..0";
    trained(&place, "ou:rho=0.95,cost=0.1,actions=position", 1, flags);
    let policy = PolicyNetwork::read(&newest_checkpoint(&place.path("runs/latest")).1);
    let ou = Ou::new(0.95, 0.1);
    let choose = |x, position| policy.outputs(&[x, position])[0].clamp(-1.0, 1.0);
    let reached = ou.mean_reward(&many_positions(), choose) / ou.optimum();
    println!("ou with any position: the deterministic policy earns {:.2} % of the optimum", 100.0 * reached);
    assert!((0.97..1.0 + 1e-3).contains(&reached), "{reached}");
}

#[test]
fn each_probe_is_learnt() {
    let flags = "--timesteps 60000 --envs 16 --rollout 32 --learning-rate 3e-3..0";
    // The best return of an episode of each probe.
    for probe in 1..=5 {
        let metrics = metrics_of(&format!("probe:{probe}"), 1, flags);
        let explained = metrics
            .iter()
            .rev()
            .find_map(|line| line.get("losses/value_loss")?.as_f64())
            .expect("a value loss");
        println!("probe {probe}: return {:.3}, value loss {explained:.5}", last_return(&metrics));
        assert!(explained < 0.05, "probe {probe}: the value is not learnt: {explained}");
        if probe >= 4 {
            assert!(last_return(&metrics) > 0.9, "probe {probe}: {}", last_return(&metrics));
        }
    }
}

#[test]
fn a_run_killed_at_fifty_moments_goes_on_and_comes_to_what_it_would_have_come_to() {
    let place = Place::new();
    let (features, killed, whole) = (place.features("BPCL", 20), place.text("killed"), place.text("whole"));
    let envpool = bin("envpool").display().to_string();
    let server = ["--", envpool.as_str(), "--test-days", "5", "--envs", "16", "--market", "nse", &features];
    let flags = "--quiet --envs 16 --rollout 16 --hidden 16,16 --device cpu --threads 1 \
                 --learning-rate 0.002 --checkpoint-every 2000";
    let run = PathBuf::from(&killed).join("latest");
    let mut training = Run::new("train")
        .args(["ppo", "--out", &killed, "--timesteps", "100000000"])
        .words(flags)
        .args(server)
        .start();
    until("a checkpoint stands", || !checkpoints(&run).is_empty());
    let mut stream = Stream::new(1, Purpose::Test, 0, 0);
    let (mut furthest, mut went_on) = (0, 0);
    let newest = || checkpoints(&run).pop().map_or(0, |(step, _)| step);
    for round in 0..50 {
        // Half of them at any moment, perhaps before it has begun to go on; half after it has come further.
        if round % 2 == 0 {
            until("it has come further", || newest() > furthest);
        }
        sleep(Duration::from_millis(stream.below(800)));
        training.signal(Signal::KILL);
        training.wait(Duration::from_secs(20));
        let reached = newest();
        assert!(reached >= furthest, "a checkpoint is lost: {reached} after {furthest}");
        went_on += u32::from(reached > furthest);
        furthest = reached;
        training = Run::new("train").args(["ppo", "--quiet", "--resume"]).args([&run]).args(server).start();
    }
    training.signal(Signal::KILL);
    training.wait(Duration::from_secs(20));
    println!("killed 50 times: {went_on} times it had come further, {furthest} steps in all");
    assert!(went_on >= 25, "kills that only hit the start prove little: {went_on}");

    let timesteps = (newest() + 10 * 256).to_string();
    let resume = ["ppo", "--quiet", "--timesteps", &timesteps, "--resume"];
    Run::new("train").args(resume).args([&run]).args(server).succeeds();
    Run::new("train")
        .args(["ppo", "--out", &whole, "--timesteps", &timesteps])
        .words(flags)
        .args(server)
        .succeeds();
    let whole = PathBuf::from(&whole).join("latest");
    assert_same_bits(&run, &whole);
}
