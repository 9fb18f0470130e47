#!/usr/bin/env python3
"""How fast `train ppo` is, beside what its arithmetic allows and beside a tuned PPO loop in PyTorch.

    scripts/bench-train.py target/release target/bench/train.json [--python PYTHON_WITH_TORCH]

All do the same work: two 64-64 networks, about 128 inputs, 256 environments, rollouts of 128, four passes of four
minibatches; each has its own environment. The unit is environment steps a CPU second (user and system, of the whole
tree of processes), from the difference of a long and a short run, so that starting up does not count. Runs are
interleaved, and medians are compared.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHORT, LONG = 262_144, 1_048_576


def cpu_seconds(command, threads):
    """CPU seconds of a command and its children, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-train: {command[0]}: {done.stderr.strip().splitlines()[-1]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path, help="where the release binaries are")
    parser.add_argument("output", type=pathlib.Path, help="where the figures go, as JSON")
    parser.add_argument("--python", help="a Python that has PyTorch; without one the loop in PyTorch is left out")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, pathlib.Path(scratch))


def measure(arguments, scratch):
    features = scratch / "features.parquet"
    subprocess.run([arguments.bin / "featgen", "--quiet", ROOT / "data/sample/BPCL.csv", "-o", features], check=True)
    server = [arguments.bin / "envpool", "--market", "nse", "--test-days", 30, "--window", 3, "--threads", 1, features]
    described = subprocess.run([arguments.bin / "envpool", "describe", *server[1:]], capture_output=True, text=True)
    line = next(line for line in described.stdout.splitlines() if line.startswith("observation"))
    inputs = int(line.split()[1])

    def ours(threads):
        def run(steps):
            command = [arguments.bin / "train", "ppo", "--quiet", "--device", "cpu", "--threads", threads]
            command += ["--envs", 256, "--timesteps", steps, "--out", scratch / f"{threads}-{steps}-{os.urandom(4).hex()}"]
            return cpu_seconds([*command, "--", *server], threads)[0]

        return (LONG - SHORT) / (run(LONG) - run(SHORT))

    def bound():
        said = cpu_seconds([arguments.bin / "examples/update_speed", inputs, "64,64", 8192, 1], 1)[2]
        microseconds = [float(line.split()[-4]) for line in said.splitlines()]
        update, inference = microseconds[0], microseconds[1]
        return 1e6 / (4 * update + inference)

    def torch_loop(threads):
        command = [arguments.python, ROOT / "scripts/cleanrl_style_ppo.py", "--timesteps", LONG - SHORT]
        found = json.loads(cpu_seconds([*command, "--inputs", inputs, "--threads", threads], threads)[1])
        return found["steps"] / found["cpu_s"]

    candidates = {"train ppo, 1 thread": lambda: ours(1), "bare libtorch calls, 1 thread": bound}
    candidates["train ppo, 2 threads"] = lambda: ours(2)
    if arguments.python:
        candidates["PyTorch loop, 1 thread"] = lambda: torch_loop(1)
        candidates["PyTorch loop, 2 threads"] = lambda: torch_loop(2)
    found = {name: [] for name in candidates}
    for _ in range(arguments.rounds):
        for name, run in candidates.items():
            found[name].append(run())
    medians = {name: statistics.median(values) for name, values in found.items()}
    own = medians["train ppo, 1 thread"]
    print(f"{'steps a CPU second':32} {'median':>10} {'least':>10} {'most':>10} {'train is':>9}")
    for name, values in found.items():
        ratio = own / medians[name]
        print(f"{name:32} {medians[name]:>10,.0f} {min(values):>10,.0f} {max(values):>10,.0f} {ratio:>8.2f}x")
    targets = {"of what the bare calls allow": (own / medians["bare libtorch calls, 1 thread"], 0.85)}
    if arguments.python:
        targets["times the tuned loop in PyTorch"] = (own / medians["PyTorch loop, 1 thread"], 1.5)
    else:
        print("skipped: the loop in PyTorch (give --python a Python that has torch)")
    for name, (ratio, target) in targets.items():
        print(f"{'PASS' if ratio >= target else 'MISS'}  {ratio:.2f} {name}, where {target} is the target")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"inputs": inputs, "steps_per_cpu_second": found, "targets": targets}
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
