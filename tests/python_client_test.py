#!/usr/bin/env python3
"""The Python client against the real server: the tests in `python_client`, one file a subject. Names of files there,
without `test_` and `.py`, choose among them.

Runs in .venv, which it makes on demand; where that cannot be done it is skipped, and says so.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "python_client"
REQUIREMENTS = ROOT / "tests" / "python_client_requirements.txt"
VENV = ROOT / ".venv"


def enter_venv():
    """Goes on in .venv; ends with a line that says why not where there is no pip or network."""
    if pathlib.Path(sys.prefix).resolve() == VENV.resolve():
        return
    python, stamp = VENV / "bin" / "python", VENV / "python-client-requirements"
    wanted = REQUIREMENTS.read_bytes()
    if not (python.exists() and stamp.exists() and stamp.read_bytes() == wanted):
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1",
                   "-r", REQUIREMENTS]
        for command in ([sys.executable, "-m", "venv", VENV], install):
            if command is not install and python.exists():
                continue
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=600)
                failed, said = done.returncode != 0, done.stderr or done.stdout
            except subprocess.TimeoutExpired as error:
                failed, said = True, str(error)
            if failed:
                if command is not install:
                    shutil.rmtree(VENV, ignore_errors=True)
                why = said.strip().splitlines() or ["no reason given"]
                print(f"python_client_test: SKIPPED: no .venv with numpy and gymnasium ({why[-1]})")
                sys.exit(0)
        stamp.write_bytes(wanted)
    os.execv(python, [str(python), *sys.argv])


if __name__ == "__main__":
    enter_venv()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(TESTS))
    subjects = sys.argv[1:] or ["*"]
    suites = [unittest.defaultTestLoader.discover(str(TESTS), f"test_{subject}.py") for subject in subjects]
    outcome = unittest.TextTestRunner().run(unittest.TestSuite(suites))
    sys.exit(not (outcome.wasSuccessful() and outcome.testsRun))
