#!/usr/bin/env python3
"""What cpumon costs beside its peers: `make bench-cpumon`.

Each tool watches a sleeping process of 17 threads for two lengths of time; the difference is its cost without
its start. CPU time is what the kernel counted for the tool (wait4), memory its high-water mark. Peers that are
not there are installed where that is possible (apt as root; psrecord into .venv), or named and left out.
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
    """Wall time of a command by itself and in cpumon, in turns, so that what else happens meets both."""
    command = ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]
    bare, wrapped = [], []
    for number in range(PAIRS):
        order = [(bare, command), (wrapped, [CPUMON, "--quiet", "--", *command])]
        for into, words in order if number % 2 else reversed(order):
            into.append(wall(words))
    differences = [w - b for b, w in zip(bare, wrapped)]
    quarters = statistics.quantiles(bare, n=4)
    return {
        "pairs": PAIRS,
        "bare_median_s": statistics.median(bare),
        "wrapped_median_s": statistics.median(wrapped),
        "median_difference_s": statistics.median(differences),
        "noise_s": quarters[2] - quarters[0],
    }


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
    milli = {name: 1000 * both[name] for name in both if name.endswith("_s")}
    print(
        f"wrapped against bare, {PAIRS} pairs: {milli['wrapped_median_s']:.1f} and {milli['bare_median_s']:.1f} ms; "
        f"median difference {milli['median_difference_s']:+.1f} ms, quartiles of the bare runs {milli['noise_s']:.1f} ms apart"
    )
    of = {(row["tool"], row["hertz"]): row["percent_of_a_core"] for row in rows}
    mine, mine_fast = of["cpumon --pid", 1], of["cpumon --pid", 10]
    mpstat, psrecord = of.get(("mpstat -P ALL", 1)), of.get(("psrecord", 10))
    checks = [("1 Hz: at most 0.05 % of a core", mine <= 0.05), ("10 Hz: at most 0.4 %", mine_fast <= 0.4)]
    if mpstat:
        checks.append((f"1 Hz: at most 5 times mpstat ({mine / mpstat:.1f} times)", mine <= 5 * mpstat))
    if psrecord:
        checks.append((f"10 Hz: less than a fifth of psrecord ({mine_fast / psrecord:.2f})", mine_fast < psrecord / 5))
    memories = [row["memory_bytes"] for row in rows if row["tool"].startswith("cpumon") and row["memory_bytes"]]
    if memories:
        checks.append((f"memory under 12 MB ({max(memories) / 1e6:.1f} MB)", max(memories) < 12e6))
    checks.append(("wrapping is within noise", both["median_difference_s"] <= max(both["noise_s"], 0.01)))
    for text, holds in checks:
        print(f"{'holds' if holds else 'FAILS'}: {text}")
    if missing:
        print(f"left out, as it is not there and could not be installed: {', '.join(missing)}")
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT + ".new", "w") as out:
        checked = [{"what": text, "holds": holds} for text, holds in checks]
        json.dump({"seconds_each": LONG_S - SHORT_S, "rows": rows, "wrapping": both, "checks": checked, "left_out": missing}, out, indent=1)
    os.replace(OUT + ".new", OUT)
    print(f"written to {os.path.relpath(OUT, ROOT)}")
    return 0 if all(holds for _, holds in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
