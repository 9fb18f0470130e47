"""What all tests of the Python client share: the real binaries, features of the sample, and a limit."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "crates" / "envpool" / "python"
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Longer than anything here takes on a busy machine; only a hang lasts as long.
LIMIT_SECONDS = 300

sys.path.insert(0, str(PACKAGE / "src"))

from envpool_client import VectorEnv  # noqa: E402

ENVPOOL = str(BIN / "envpool")
CARTPOLE = [ENVPOOL, "--env", "cartpole"]


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done


class Place(unittest.TestCase):
    """Features of the sample, made once."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.features = cls.folder / "features.parquet"
        run(BIN / "featgen", "-o", cls.features, ROOT / "data" / "sample" / "BPCL.csv")
        cls.server = [ENVPOOL, "--market", "nse", "--test-days", "30", str(cls.features)]

    def env(self, command=None, **keywords):
        env = VectorEnv(None if "address" in keywords else command or self.server, **keywords)
        self.addCleanup(env.close)
        return env

    def listen(self, *arguments):
        """A server on a socket, and its address."""
        address = f"unix:{self.folder / f'socket-{time.monotonic_ns()}'}"
        server = subprocess.Popen([ENVPOOL, "--listen", address, *arguments], stderr=subprocess.DEVNULL)

        def end():
            server.terminate()
            server.wait(20)

        self.addCleanup(end)
        return server, address
