#!/usr/bin/env python3
"""What cpumon costs beside its peers: `make bench-cpumon`.

Each tool watches a sleeping process of 17 threads for two lengths of time; the difference is its cost without
its start. CPU time is what the kernel counted for the tool (wait4), memory its high-water mark. Then a fixed job
runs bare and wrapped in turns. Peers that are not there are installed where that is possible (apt as root;
psrecord into .venv), or named and left out. Ends with 1 if a target is missed. About five minutes; SECONDS_EACH
and PAIRS change that.
"""
import json
import os
import pty
import shutil
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CPUMON = os.environ.get("CPUMON", os.path.join(ROOT, "target/release/cpumon"))
VENV = os.path.join(ROOT, ".venv")
OUT = os.path.join(ROOT, "target/bench/cpumon.json")
SHORT_S, LONG_S = 2, int(os.environ.get("SECONDS_EACH", "20")) + 2
PAIRS = int(os.environ.get("PAIRS", "20"))

SLEEPERS = "import threading,time\nfor _ in range(16): threading.Thread(target=time.sleep, args=(9999,), daemon=True).start()\ntime.sleep(9999)"


def quiet(words):
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def install():
    """Gives the paths of the peers that there are, and the names of the others."""
    wanted = [tool for tool in ("mpstat", "pidstat", "htop") if not shutil.which(tool)]
    if wanted and shutil.which("apt-get") and os.geteuid() == 0:
        if not quiet(["apt-get", "install", "-y", "sysstat", "htop"]):
            # A fresh machine has no lists of packages yet.
            quiet(["apt-get", "update"])
            quiet(["apt-get", "install", "-y", "sysstat", "htop"])
    psrecord = shutil.which("psrecord") or os.path.join(VENV, "bin/psrecord")
    if not os.path.exists(psrecord):
        if not os.path.exists(VENV):
            quiet([sys.executable, "-m", "venv", VENV])
        quiet([os.path.join(VENV, "bin/python"), "-m", "pip", "install", "--quiet", "psrecord"])
    paths = {tool: shutil.which(tool) for tool in ("mpstat", "pidstat", "htop")}
    paths["psrecord"] = psrecord if os.path.exists(psrecord) else None
    return paths, [tool for tool, path in paths.items() if path is None]


def high_water_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def cost(words, seconds, on_terminal=False):
    """CPU seconds and memory of a tool that is ended after so many seconds."""
    primary, secondary = pty.openpty() if on_terminal else (None, subprocess.DEVNULL)
    if on_terminal:
        drain = threading.Thread(target=drained, args=(primary,), daemon=True)
        drain.start()
    environment = dict(os.environ, TERM="xterm")
    tool = subprocess.Popen(
        words, stdin=secondary, stdout=secondary, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    time.sleep(seconds)
    memory = high_water_bytes(tool.pid)
    tool.terminate()
    _, _, usage = os.wait4(tool.pid, 0)
    tool.returncode = 0
    if on_terminal:
        os.close(secondary)
    return usage.ru_utime + usage.ru_stime, memory


def drained(primary):
    try:
        while os.read(primary, 65536):
            pass
    except OSError:
        pass


def steady(words, on_terminal=False):
    start_s, _ = cost(words, SHORT_S, on_terminal)
    whole_s, memory = cost(words, LONG_S, on_terminal)
    share = max(whole_s - start_s, 0.0) / (LONG_S - SHORT_S)
    return {"percent_of_a_core": 100 * share, "with_start_percent": 100 * whole_s / LONG_S, "memory_bytes": memory}


def wall(words):
    start = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def pairs():
    """Wall time of a command by itself, in cpumon, and by itself again, in turns, so that what else happens meets all.
    How far the two bare runs of a round lie apart is the noise of the machine."""
    command = ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]
    bare, wrapped, again = [], [], []
    runs = [(bare, command), (wrapped, [CPUMON, "--quiet", "--", *command]), (again, command)]
    for number in range(PAIRS):
        turn = number % len(runs)
        for into, words in runs[turn:] + runs[:turn]:
            into.append(wall(words))
    differences = [w - b for b, w in zip(bare, wrapped)]
    low, median, high = statistics.quantiles(differences, n=4)
    return {
        "pairs": PAIRS,
        "bare_median_s": statistics.median(bare),
        "wrapped_median_s": statistics.median(wrapped),
        "bare_best_s": min(bare + again),
        "wrapped_best_s": min(wrapped),
        "difference_median_s": median,
        "difference_quartiles_s": [low, high],
        "noise_median_s": statistics.median(abs(b - a) for a, b in zip(bare, again)),
    }


def checks_of(rows, both):
    """The targets, each with what was measured and whether it is met."""
    of = {(row["tool"], row["hertz"]): row["percent_of_a_core"] for row in rows}
    mine, mine_fast = of["cpumon --pid", 1], of["cpumon --pid", 10]
    mpstat, psrecord = of.get(("mpstat -P ALL", 1)), of.get(("psrecord", 10))
    memory = max((row["memory_bytes"] or 0 for row in rows if row["tool"].startswith("cpumon")), default=0)
    median, noise = both["difference_median_s"], both["noise_median_s"]
    checks = [
        ("1 Hz: at most 0.05 % of a core", f"{mine:.3f} %", mine <= 0.05),
        ("10 Hz: at most 0.4 % of a core", f"{mine_fast:.3f} %", mine_fast <= 0.4),
        # What the kernel counts is whole microseconds, and a peer may have taken too few to divide by.
        ("1 Hz: at most 5 times mpstat", f"{mine / max(mpstat, 1e-4):.1f} times", mine <= 5 * mpstat) if mpstat is not None else None,
        ("10 Hz: less than a fifth of psrecord", f"{mine_fast / max(psrecord, 1e-4):.3f}", mine_fast < psrecord / 5) if psrecord is not None else None,
        ("resident memory under 12 MB", f"{memory / 1e6:.1f} MB", 0 < memory < 12e6) if memory else None,
        # On a noisy machine the medians prove little; the best of each is what no neighbour has touched.
        (
            "wrapped as fast as bare, within the noise of two bare runs",
            f"median {1000 * median:+.2f} ms, noise {1000 * noise:.2f} ms of {1000 * both['bare_median_s']:.0f} ms",
            median <= noise,
        ),
        (
            "the best of the wrapped runs within 1 % of the best bare one",
            f"{100 * (both['wrapped_best_s'] / both['bare_best_s'] - 1):+.2f} %",
            both["wrapped_best_s"] <= 1.01 * both["bare_best_s"],
        ),
    ]
    return [{"target": target, "measured": measured, "pass": bool(met)} for target, measured, met in filter(None, checks)]


def main():
    if not os.access(CPUMON, os.X_OK):
        sys.exit(f"bench-cpumon: {CPUMON}: not built (make build)")
    peers, missing = install()
    subject = subprocess.Popen([sys.executable, "-c", SLEEPERS])
    pid = str(subject.pid)
    time.sleep(0.5)
    rows = []

    def row(name, hertz, words, on_terminal=False):
        found = steady(words, on_terminal)
        rows.append({"tool": name, "hertz": hertz, **found})
        memory = found["memory_bytes"]
        memory = f"{memory / 1e6:8.1f} MB" if memory else "   unknown"
        print(f"{name:<18} {hertz:>5} Hz {found['percent_of_a_core']:10.3f} % {memory}", flush=True)

    print(f"{'tool':<18} {'rate':>8} {'of a core':>12} {'memory':>11}")
    try:
        for hertz, interval in ((1, "1s"), (10, "100ms")):
            row("cpumon --pid", hertz, [CPUMON, "--quiet", "--interval", interval, "--pid", pid])
            row("cpumon (machine)", hertz, [CPUMON, "--quiet", "--interval", interval])
        row("cpumon (live)", 2, [CPUMON, "--interval", "500ms"], on_terminal=True)
        if peers["mpstat"]:
            row("mpstat -P ALL", 1, [peers["mpstat"], "-P", "ALL", "1"])
        if peers["pidstat"]:
            row("pidstat -t", 1, [peers["pidstat"], "-t", "-p", pid, "1"])
        if peers["psrecord"]:
            for hertz, interval in ((1, "1"), (10, "0.1")):
                words = [peers["psrecord"], pid, "--interval", interval, "--include-children"]
                row("psrecord", hertz, [*words, "--log", os.devnull])
        if peers["htop"]:
            row("htop", 1, [peers["htop"], "-d", "10"], on_terminal=True)
    finally:
        subject.kill()
        subject.wait()
    both = pairs()
    low, high = both["difference_quartiles_s"]
    print(
        f"{PAIRS} pairs: bare {1000 * both['bare_median_s']:.1f} ms, wrapped {1000 * both['wrapped_median_s']:.1f} ms, "
        f"median difference {1000 * both['difference_median_s']:+.2f} ms, quartiles {1000 * low:+.2f} to {1000 * high:+.2f} ms"
    )
    checks = checks_of(rows, both)
    for check in checks:
        print(f"{'PASS' if check['pass'] else 'MISS'}  {check['target']}: {check['measured']}")
    for tool in missing:
        print(f"SKIP  {tool}: not there, and could not be installed")
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT + ".new", "w") as out:
        found = {"seconds_each": LONG_S - SHORT_S, "rows": rows, "wrapping": both, "checks": checks, "left_out": missing}
        json.dump(found, out, indent=1)
    os.replace(OUT + ".new", OUT)
    print(f"written to {os.path.relpath(OUT, ROOT)}")
    return 0 if all(check["pass"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
