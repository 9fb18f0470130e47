#!/usr/bin/env python3
"""How fast `train openes` is, beside what envpool and a bare forward pass allow and beside evosax.

    scripts/bench-openes.py target/release target/bench/openes.json [--python PYTHON_WITH_EVOSAX]

The first part is `examples/openes_speed`: all in turn in one process, medians. The second is CartPole with 256 members
and a 64-64 network, both with their environments: environment steps a second and a CPU second (user and system, of
the whole tree of processes), from the difference of a long and a short run, so that starting up does not count.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SHORT, LONG, ROUNDS = 2_000_000, 6_000_000, 3


def run(command):
    """What a command prints, its seconds and its CPU seconds, those of its children included."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-openes: {command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(binaries, timesteps):
    """Steps made, seconds of the training itself, and CPU seconds of everything."""
    with tempfile.TemporaryDirectory() as out:
        train = [binaries / "train", "openes", "--quiet", "--out", out, "--timesteps", timesteps]
        _, _, used = run([*train, "--", binaries / "envpool", "--envs", 256, "--env", "cartpole"])
        report = json.loads((pathlib.Path(out) / "latest/report.json").read_text())
    return report["timesteps"], report["timesteps"] / report["steps_per_second"], used


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path, help="where the release binaries are")
    parser.add_argument("output", type=pathlib.Path, help="where the figures go, as JSON")
    parser.add_argument("--python", help="a Python that has evosax, gymnax and six; without one it is left out")
    arguments = parser.parse_args()
    threads = os.cpu_count()
    limits = [
        json.loads(run([arguments.bin / "examples/openes_speed", arguments.bin / "envpool", 256, "64,64", threads])[0])
    ]
    limit = limits[0]
    print(f"train openes, 256 members, 64-64, {threads} threads: {limit['steps_per_second']:,.0f} steps/s")
    for part, what in (
        ("ratio_to_server_and_batched_forward", "random actions and a bare batched product a layer (target 0.7)"),
        ("ratio_to_server_and_forward_of_one_network", "random actions and one network for all rows"),
    ):
        print(f"  {limit[part]:6.2f} of envpool with {what}")
    figures = {"limits": limits}

    rounds, peers = [], []
    for _ in range(ROUNDS):
        short, long = ours(arguments.bin, SHORT), ours(arguments.bin, LONG)
        steps, seconds, used = (b - a for a, b in zip(short, long))
        rounds.append((steps / seconds, steps / used))
        if arguments.python:
            peers.append(json.loads(run([arguments.python, HERE / "bench-openes-peer.py", 10])[0]))
    wall, cpu = (statistics.median(column) for column in zip(*rounds))
    figures["cartpole"] = {"steps_per_second": wall, "steps_per_cpu_second": cpu}
    print(f"train openes on CartPole: {wall:,.0f} steps/s, {cpu:,.0f} a CPU second")
    if peers:
        figures["peers"] = peers
        peer_wall, peer_cpu = (
            statistics.median(peer[key] for peer in peers) for key in ("steps_per_second", "steps_per_cpu_second")
        )
        named = ", ".join(f"{name} {version}" for name, version in peers[0]["versions"].items())
        print(f"{named}: {peer_wall:,.0f} steps/s, {peer_cpu:,.0f} a CPU second")
        print(f"  {wall / peer_wall:6.2f} times as fast, {cpu / peer_cpu:.2f} times a CPU second (target 3)")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"also in {arguments.output}")


main()
