"""The installed package, and its speed."""

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
from common import BIN, ENVPOOL, LIMIT_SECONDS, PACKAGE, Place, run


class Package(Place):
    def test_the_readmes_example_runs_with_the_installed_package(self):
        """Installed by pip from a copy, so that building leaves nothing in the checkout."""
        source, target = self.folder / "source", self.folder / "installed"
        shutil.copytree(PACKAGE, source)
        run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--no-build-isolation", "--target", target, source)
        self.assertTrue((target / "envpool_client" / "py.typed").exists())
        example = re.search(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S).group(1)
        environment = {**os.environ, "PYTHONPATH": str(target), "PATH": f"{BIN}:{os.environ['PATH']}"}
        done = subprocess.run([sys.executable, "-c", example], cwd=self.folder, env=environment, capture_output=True,
                              text=True, timeout=LIMIT_SECONDS)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("on 30 simulated days", done.stdout)


class Speed(Place):
    def test_it_is_told_and_not_judged(self):
        """Steps a second at 4,096 environments, with the actions of the Rust client's benchmark; a clock on a busy
        machine proves nothing, so that nothing depends on it."""
        n, best = 4096, {}
        for copy in (True, False):
            env = self.env([ENVPOOL, "--market", "nse", str(self.features)], num_envs=n, seed=1, copy=copy)
            env.reset()
            choices = [((step + np.arange(n)) // 50 * 7919 % 13 % 3).astype(np.int32) for step in range(100)]
            begun, n_steps = time.perf_counter(), 0
            while time.perf_counter() - begun < 1.0:
                env.step(choices[n_steps % 100])
                n_steps += 1
            best[copy] = n_steps * n / (time.perf_counter() - begun) / 1e6
            env.close()
        told = f"\nPython client at {n} environments: {best[True]:.2f} million steps/s, views {best[False]:.2f}"
        benches = [path for path in glob.glob(str(BIN / "deps" / "transport-*")) if os.access(path, os.X_OK)]
        rates = []
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            newest = max(benches, key=os.path.getmtime, default=None)
            if newest:
                out = subprocess.run([newest, str(self.features)], capture_output=True, text=True, timeout=60).stdout
                rates = [float(rate) for rate in re.findall(rf"{n} envs .*? ([0-9.]+) million", out)]
        if rates:
            told += f"; Rust client {max(rates):.2f}; ratio {max(best.values()) / max(rates):.2f}"
        else:
            told += "; for the Rust client's: cargo bench -p envpool --bench transport"
        print(told)
        self.assertGreater(min(best.values()), 0.0)
