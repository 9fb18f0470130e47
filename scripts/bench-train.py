#!/usr/bin/env python3
"""How fast `train ppo` is, beside what its arithmetic allows and beside what others write: `make bench-train`.

    scripts/bench-train.py target/release target/bench/train.json [--python PYTHON] [--rounds 5]

All do the same work: two 64-64 networks, 128 inputs, 256 environments (Stable-Baselines3: 64), rollouts of 128 steps,
four passes of four minibatches; each steps its own best environment. The unit is environment steps a CPU second, user
and system of all processes together; starting up does not count, which for `train` is the difference of a long and a
short run. Runs are interleaved, so that a machine that others use slows all of them, and medians are compared.

The peers' libraries go into `target/train-peers` when they are first needed; those that cannot be had are skipped by
name. --python takes another Python, as it is.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHORT, LONG = 4 * 32_768, 20 * 32_768
INPUTS, LOG_RETURNS = 128, 41  # Three rows of 41 features, and five numbers of the account.
# The first users' network, whose updates take long: 4,096 samples, 20 passes, minibatches of 1,024.
FIRST_USERS = {"inputs": 792, "hidden": "512,256,128", "envs": 32, "epochs": 20}
TORCH = ["torch==2.13.0+cpu", "torch==2.13.0"]
# Script, how many times as fast `train ppo` is to be, and what each needs, with alternatives.
PEERS = {
    "PyTorch loop, CleanRL-style": ("cleanrl_style_ppo.py", 1.5, [["numpy"], TORCH]),
    "JAX loop, PureJaxRL-style": ("purejaxrl_style_ppo.py", 1.3, [["numpy"], ["jax==0.10.2"], ["optax==0.2.8"]]),
    "Stable-Baselines3, 64 environments": (
        "stable_baselines3_ppo.py",
        3.0,
        [["numpy"], TORCH, ["gymnasium"], ["stable-baselines3==2.9.2"]],
    ),
}


def run(command, threads=None):
    """What a command prints, the CPU seconds of it and its children, and the seconds it took."""
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # A thread that waits is not to count as work.
    env = {**os.environ, **limits, "OMP_WAIT_POLICY": "passive"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-train: {command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds


def imports(python, packages):
    modules = ", ".join(names[0].split("=")[0].replace("-", "_") for names in packages)
    return subprocess.run([python, "-c", f"import {modules}"], capture_output=True, check=False).returncode == 0


def peers(given):
    """The Python for peers, the peers that it can run, and the names of those that it cannot."""
    python = pathlib.Path(given) if given else ROOT / "target/train-peers/bin/python"
    if not given and not python.exists():
        subprocess.run(["python3", "-m", "venv", python.parent.parent], check=True)
    there, missing = {}, []
    for name, (script, _, packages) in PEERS.items():
        if not given and not imports(python, packages):
            print(f"fetching {name} into {python.parent.parent}", flush=True)
            for alternatives in packages:
                install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                any(subprocess.run([*install, one], capture_output=True).returncode == 0 for one in alternatives)
        if imports(python, packages):
            there[name] = script
        else:
            missing.append(name)
    return python, there, missing


class Ours:
    """`train ppo` with an `envpool` that serves what `--features` made."""

    def __init__(self, binaries, scratch):
        self.binaries, self.scratch = binaries, scratch
        self.wide = self.features("wide", FIRST_USERS["inputs"] // 6)
        self.same = self.features("same", LOG_RETURNS)
        self.core = self.features("core", None)

    def features(self, name, log_returns):
        path = self.scratch / f"{name}.parquet"
        chosen = ",".join(f"log_return:{n + 1}" for n in range(log_returns)) if log_returns else "core"
        bars = ROOT / "data/sample/BPCL.csv"
        run([self.binaries / "featgen", "--quiet", "--features", chosen, bars, "-o", path])
        return path

    def train(self, steps, flags, server):
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            command = [self.binaries / "train", "ppo", "--quiet", "--timesteps", steps, "--out", out, *flags]
            return run([*command, "--", self.binaries / "envpool", "--test-days", 30, *server])[1:]

    def difference(self, short, long, flags, server):
        """Steps a CPU second and a second between a short and a long run."""
        before, after = self.train(short, flags, server), self.train(long, flags, server)
        return (long - short) / (after[0] - before[0]), (long - short) / max(after[1] - before[1], 1e-9)

    def same_work(self, threads):
        flags = ["--device", "cpu", "--threads", threads, "--envs", 256, "--hidden", "64,64"]
        server = ["--market", "nse", "--window", 3, "--threads", 1, self.same]
        return self.difference(SHORT, LONG, flags, server)

    def first_users(self):
        envs, epochs, hidden = (FIRST_USERS[key] for key in ("envs", "epochs", "hidden"))
        flags = ["--device", "cpu", "--threads", 1, "--envs", envs, "--epochs", epochs, "--hidden", hidden]
        server = ["--rules", "stock-trading-env2", "--threads", 1, self.wide]
        return self.difference(128 * envs, 3 * 128 * envs, flags, server)

    def bare(self, inputs, hidden, minibatch, epochs, *by_libtorch):
        """What remains if nothing but the networks' forward, backward and Adam took time."""
        command = [self.binaries / "examples/update_speed", inputs, hidden, minibatch, 1, *by_libtorch]
        said = json.loads(run(command)[0])
        allowed = 1e6 / (epochs * said["update_us"] + said["inference_us"])
        return allowed, allowed

    def three_million(self):
        """Seconds of the whole command, measuring, judging and reporting included."""
        return self.train(3_000_000, [], ["--market", "nse", "--envs", 256, self.core])[1]


def peer(python, script, threads):
    steps = (LONG - SHORT) // (2 if script.startswith("stable") else 1)
    command = [python, ROOT / "scripts" / script, "--inputs", INPUTS, "--threads", threads, "--timesteps", steps]
    found = json.loads(run(command, threads)[0])
    return found["steps"] / found["cpu_s"], found["steps"] / found["wall_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path, help="where the release binaries are")
    parser.add_argument("output", type=pathlib.Path, help="where the figures go, as JSON")
    parser.add_argument("--python", help="a Python that has the peers' libraries, instead of a new one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, with a comma between them")
    arguments = parser.parse_args()
    python, there, missing = peers(arguments.python)
    with tempfile.TemporaryDirectory() as scratch:
        ours = Ours(arguments.bin, pathlib.Path(scratch))
        counts = [int(word) for word in arguments.threads.split(",")]
        rates = measure(ours, python, there, counts, arguments.rounds)
        seconds = ours.three_million()
    report(rates, seconds, counts, missing, arguments.output)


def measure(ours, python, there, counts, rounds):
    """Pairs of steps a CPU second and a second, a list for each candidate."""
    candidates = {}
    for threads in counts:
        candidates["train ppo", threads] = lambda threads=threads: ours.same_work(threads)
        for name, script in there.items():
            candidates[name, threads] = lambda script=script, threads=threads: peer(python, script, threads)
    candidates["bare libtorch calls", 1] = lambda: ours.bare(INPUTS, "64,64", 8192, 4, "libtorch")
    candidates["bare networks of its own", 1] = lambda: ours.bare(INPUTS, "64,64", 8192, 4)
    rates = {candidate: [] for candidate in candidates}
    measure_in_turn(candidates, rounds, rates)
    wide = {
        ("train ppo, first users' sizes", 1): ours.first_users,
        ("bare libtorch calls, first users' sizes", 1): lambda: ours.bare(
            FIRST_USERS["inputs"], FIRST_USERS["hidden"], 32 * FIRST_USERS["envs"], FIRST_USERS["epochs"], "libtorch"
        ),
    }
    rates.update({candidate: [] for candidate in wide})
    measure_in_turn(wide, min(rounds, 3), rates)
    return rates


def measure_in_turn(candidates, rounds, rates):
    """One measurement of each candidate a round; says which, since all of it takes a quarter of an hour."""
    for number in range(rounds):
        for (name, threads), once in candidates.items():
            print(f"round {number + 1} of {rounds}: {name}, threads {threads}", file=sys.stderr, flush=True)
            rates[name, threads].append(once())


def report(rates, seconds, counts, missing, output):
    print(f"{'steps a CPU second':36} {'threads':>7} {'median':>9} {'least':>9} {'most':>9} {'a second':>9}")
    medians, rows = {}, []
    for (name, threads), pairs in rates.items():
        cpu, wall = ([pair[i] for pair in pairs] for i in (0, 1))
        medians[name, threads] = statistics.median(cpu)
        in_a_second = statistics.median(wall)
        print(
            f"{name:36} {threads:>7} {medians[name, threads]:>9,.0f} {min(cpu):>9,.0f} {max(cpu):>9,.0f} "
            f"{in_a_second:>9,.0f}"
        )
        rows.append({"name": name, "threads": threads, "steps_per_cpu_second": cpu, "steps_per_second": wall})
    targets = []

    def hold(name, ratio, wanted, is_least=True):
        met = ratio >= wanted if is_least else ratio <= wanted
        targets.append({"name": name, "ratio": ratio, "wanted": wanted, "met": met})

    for (name, threads), median in medians.items():
        if name in PEERS:
            plural = "" if threads == 1 else "s"
            hold(f"times {name}, {threads} thread{plural}", medians["train ppo", threads] / median, PEERS[name][1])
    own = medians["train ppo", counts[0]]
    hold("of what the bare libtorch calls allow", own / medians["bare libtorch calls", 1], 0.85)
    wide = [medians[name, 1] for name in ("train ppo, first users' sizes", "bare libtorch calls, first users' sizes")]
    hold("of what the bare libtorch calls allow, first users' sizes", wide[0] / wide[1], 0.95)
    hold("seconds for 3,000,000 steps of BPCL, all in all, with all cores", seconds, 60.0, is_least=False)
    share = own / medians["bare networks of its own", 1]
    print(f"{share:.0%} of train ppo's time is its networks' forward, backward and Adam")
    print(f"\n{'train ppo is':68} {'ratio':>7} {'wanted':>7}")
    for target in targets:
        verdict = "met" if target["met"] else "MISSED"
        print(f"{target['name']:68} {target['ratio']:>7.2f} {target['wanted']:>7} {verdict}")
    for name in missing:
        print(f"skipped: {name}: its libraries cannot be had here (give PEER_PYTHON a Python that has them)")
    output.parent.mkdir(parents=True, exist_ok=True)
    document = {"inputs": INPUTS, "rates": rows, "targets": targets, "skipped": missing}
    output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"also in {output}")


if __name__ == "__main__":
    main()
