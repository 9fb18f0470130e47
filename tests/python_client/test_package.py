"""The installed package, and its speed."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
from common import BIN, ENVPOOL, LIMIT_SECONDS, PACKAGE, Place, run

from envpool_client import AsyncEnv


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
        """Steps a second at 4,096 environments on the table of `envpool bench`, whole and in four parts; a clock on a
        busy machine proves nothing, so that nothing depends on it."""
        n, rates = 4096, {}
        server = [ENVPOOL, "bench", "--serve", "--envs", str(n)]
        choices = [((step + np.arange(n)) // 50 % 3).astype(np.int32) for step in range(150)]

        def rate(exchange):
            begun, n_exchanges = time.perf_counter(), 0
            while time.perf_counter() - begun < 1.0:
                exchange(n_exchanges)
                n_exchanges += 1
            return n_exchanges * n / (time.perf_counter() - begun) / 1e6

        for name, copy in (("copies", True), ("views", False)):
            env = self.env(server, num_envs=n, seed=1, copy=copy)
            env.reset()
            rates[name] = rate(lambda step: env.step(choices[step % 150]))
            env.close()
        parts = AsyncEnv(server, num_envs=n, batch_size=n // 4, seed=1)
        self.addCleanup(parts.close)
        parts.async_reset()

        def in_parts(step):
            for _ in range(4):
                ids = parts.recv()[-1]["env_id"]
                parts.send(choices[step % 150][ids[0] : ids[-1] + 1], ids)

        rates["four parts"] = rate(in_parts)
        parts.close()
        report = json.loads(run(ENVPOOL, "bench", "--envs", n, "--rounds", "3", "--json").stdout)["results"][0]
        rust = {"Rust client": report["shared"] / 1e6, "with copies": report["copied"] / 1e6}
        told = "; ".join(f"{name} {value:.2f}" for name, value in {**rates, **rust}.items())
        print(f"\nPython client at {n} environments, million steps/s: {told}")
        self.assertGreater(min(rates.values()), 0.0)
