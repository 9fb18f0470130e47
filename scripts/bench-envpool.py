#!/usr/bin/env python3
"""Measures envpool against its limit and its peers: `make bench-envpool`.

usage: bench-envpool.py ENVPOOL OUT.json

Steps a second of: our server through the Rust client (`envpool bench`: into memory that it can read, copied too, in
frames, without another process, and a bare gather of the same rows) and through the Python client; EnvPool of PyPI
and Gymnasium's AsyncVectorEnv with CartPole, where they are installed. They take turns, so that a machine that others
use slows all of them, and medians count.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_EACH", "0.5"))
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "crates" / "envpool" / "python" / "src"))

import gymnasium as gym  # noqa: E402
import numpy as np  # noqa: E402

import envpool_client  # noqa: E402


def main():
    program, out = sys.argv[1], Path(sys.argv[2])
    kinds, skipped = peers()
    kinds["Python client, CartPole, 256"] = ours([program, "--env", "cartpole"], 256, 2)
    for n in (256, 4096):
        kinds[f"Python client, 64 numbers, {n}"] = ours([program, "bench", "--serve", "--envs", str(n)], n, 3)
    rates = {name: [] for name in kinds}
    rust = {n: [] for n in (256, 4096)}
    for _ in range(ROUNDS):
        for name, (n, step) in kinds.items():
            rates[name].append(rate(n, step))
        command = [program, "bench", "--json", "--rounds", "1", "--seconds", str(SECONDS)]
        for result in json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["results"]:
            rust[result["envs"]].append(result)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for n, results in rust.items():
        for kind, name in (("shared", "shared memory"), ("copied", "and copied"), ("inline", "frames"),
                           ("process", "in process"), ("gather", "bare gather, one process")):
            middle[f"Rust client, 64 numbers, {n}, {name}"] = statistics.median(r[kind] for r in results)
    ratios = [
        ("256 environments, of a bare gather", statistics.median(r["shared_ratio"] for r in rust[256]), 0.25),
        ("4096 environments, of a bare gather", statistics.median(r["shared_ratio"] for r in rust[4096]), 0.5),
        ("Python client at 4096, of the Rust client", middle["Python client, 64 numbers, 4096"]
         / middle["Rust client, 64 numbers, 4096, shared memory"], 0.5),
    ]
    for name, least in (("EnvPool, CartPole, 256", 10), ("Gymnasium AsyncVectorEnv, CartPole, 16", 200)):
        if name in middle:
            ours_ = middle["Rust client, 64 numbers, 4096, shared memory"]
            ratios.append((f"4096 environments, of {name}", ours_ / middle[name], least))
    for name, value in middle.items():
        print(f"{name:56} {value / 1e6:10.3f} million steps/s")
    for name, value, least in ratios:
        print(f"{name:56} {value:10.2f} wanted {least}: {'met' if value >= least else 'MISSED'}")
    for name, why in skipped.items():
        print(f"{name:56} skipped: {why}")
    print(f"also in {out}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    out.parent.mkdir(parents=True, exist_ok=True)
    ratio_objects = [{"what": name, "ratio": value, "wanted": least} for name, value, least in ratios]
    out.write_text(json.dumps({"steps_per_second": middle, "ratios": ratio_objects, "skipped": skipped}, indent=2) + "\n")


def rate(n, step):
    step(0)
    begun, n_steps = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        step(n_steps)
        n_steps += 1
    return n_steps * n / (time.perf_counter() - begun)


def held_actions(n, n_choices):
    """Actions that are held for a while, as a policy's are; made before the clock runs."""
    return [((step + np.arange(n)) // 50 % n_choices).astype(np.int32) for step in range(100)]


def ours(command, n, n_choices):
    env = envpool_client.VectorEnv(command, num_envs=n, seed=1, copy=False)
    env.reset()
    actions = held_actions(n, n_choices)
    return n, lambda i: env.step(actions[i % 100])


def peers():
    """How to step each peer that is there, and why the others are not."""
    kinds, skipped = {}, {}
    n = 16
    asynchronous = gym.vector.AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * n)
    asynchronous.reset()
    choices = held_actions(n, 2)
    kinds[f"Gymnasium AsyncVectorEnv, CartPole, {n}"] = n, lambda i: asynchronous.step(choices[i % 100])
    try:
        import envpool

        theirs = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=256, num_threads=os.cpu_count())
        theirs.reset()
        actions = held_actions(256, 2)
        kinds["EnvPool, CartPole, 256"] = 256, lambda i: theirs.step(actions[i % 100])
    except Exception as error:  # Whatever a package of others finds wrong with this machine.
        skipped["EnvPool, CartPole, 256"] = str(error).splitlines()[0] if str(error) else repr(error)
    return kinds, skipped


if __name__ == "__main__":
    main()
