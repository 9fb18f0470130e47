"""What happens when either side misbehaves."""

import os
import pty
import select
import signal
import sys
import time

import gymnasium
import numpy as np
from common import CARTPOLE, ENVPOOL, PACKAGE, Place

import envpool_client
from envpool_client import AsyncEnv, VectorEnv


class Faults(Place):
    def test_bad_actions_are_raised_with_the_environments_number_and_change_nothing(self):
        env, twin = (self.env(num_envs=4, seed=1) for _ in range(2))
        env.reset(), twin.reset()
        for actions, error, words in (
            (np.array([0, 0, 7, 0]), envpool_client.Refused, "environment 2: action 7"),
            (np.array([0, -1, 0, 0], np.int32), envpool_client.Refused, "environment 1: action -1"),
            (np.array([0, 0, 0, 1 << 40]), ValueError, "environment 3: action 1099511627776"),
            (np.array([0, 0]), ValueError, r"shape \(2,\)"),
            (np.array([0.0, 1.0, 0.5, 0.0]), ValueError, "whole numbers"),
        ):
            with self.assertRaisesRegex(error, words):
                env.step(actions)
        for _ in range(20):
            ours, theirs = env.step(np.array([0, 1, 2, 1])), twin.step(np.array([0, 1, 2, 1]))
            np.testing.assert_array_equal(ours[0], theirs[0])

    def test_steps_that_are_asked_for_out_of_turn_are_refused_at_once_and_change_nothing(self):
        env, twin = (self.env(num_envs=4, seed=1) for _ in range(2))
        env.reset(), twin.reset()
        actions = np.array([0, 1, 2, 1])
        with self.assertRaises(gymnasium.error.NoAsyncCallError):
            env.step_wait()
        env.step_async(actions)
        for call in (lambda: env.step_async(actions), lambda: env.step(actions), env.reset):
            with self.assertRaisesRegex(gymnasium.error.AlreadyPendingCallError, "step_wait"):
                call()
        np.testing.assert_array_equal(env.step_wait()[0], twin.step(actions)[0])
        np.testing.assert_array_equal(env.step(actions)[0], twin.step(actions)[0])

    def test_a_second_request_before_the_first_is_received_changes_nothing(self):
        env, twin = (self.env(num_envs=4, seed=1) for _ in range(2))
        env.reset(), twin.reset()
        for step in range(20):
            actions = (np.arange(4, dtype="<i4") + step) % 3
            env._session.send(actions)
            with self.assertRaisesRegex(ValueError, "has not been received"):
                env._session.send((actions + 1) % 3)
            np.testing.assert_array_equal(env._session.receive().observations, twin.step(actions)[0])
        env.step_async(np.zeros(4, int))
        env.close()
        with self.assertRaisesRegex(envpool_client.ServerGone, "closed"):
            env.step_wait()

    def test_what_cannot_be_opened_says_why(self):
        for keywords, error, words in (
            ({"command": [*CARTPOLE, "--envs", "4"], "num_envs": 5}, envpool_client.Refused, "--envs"),
            ({"command": ["no-such-envpool"]}, envpool_client.NotReached, "no-such-envpool"),
            ({"command": [ENVPOOL, "no-such-file"]}, envpool_client.ServerGone, "exit status"),
            ({"command": "envpool x"}, ValueError, "a list"),
            ({"command": []}, ValueError, "a list"),
            ({"command": ["echo", "This is no frame of the protocol"]}, envpool_client.ProtocolError, "stdout"),
            ({"address": "unix:/nowhere/s", "connect_timeout": 0.1}, envpool_client.NotReached, "envpool --listen"),
            ({"address": "tcp:1"}, ValueError, "unix:PATH"),
            ({}, ValueError, "either"),
            ({"command": CARTPOLE, "seed": -1}, ValueError, "seed=-1"),
            ({"command": CARTPOLE, "num_envs": 0}, ValueError, "num_envs=0"),
            ({"command": CARTPOLE, "num_envs": 3.0}, ValueError, "num_envs=3.0"),
            ({"command": self.server, "episode": 0}, envpool_client.Refused, "0 steps"),
            ({"command": CARTPOLE, "episode": 100}, ValueError, "cartpole has no days"),
            ({"command": self.server, "range": "tomorrow"}, ValueError, "tomorrow"),
            ({"command": self.server, "range": "validation"}, envpool_client.Refused, "--validation-days"),
            ({"command": self.server, "range": (3, 999)}, envpool_client.Refused, "999"),
        ):
            with self.subTest(**keywords), self.assertRaisesRegex(error, words) as caught:
                VectorEnv(**keywords)
            self.assertNotIn("\n", str(caught.exception))
        with self.assertRaisesRegex(ValueError, "cartpole has no days"):
            AsyncEnv(CARTPOLE, num_envs=4, batch_size=2, episode=100)

    def test_a_server_that_dies_is_an_error_and_not_a_hang(self):
        env = self.env(CARTPOLE, num_envs=4)
        env.reset()
        env.step(np.zeros(4, int))
        os.kill(env.connection.server_pid, signal.SIGKILL)
        with self.assertRaisesRegex(envpool_client.ServerGone, "killed by signal 9"):
            for _ in range(3):
                env.step(np.zeros(4, int))
        with self.assertRaisesRegex(envpool_client.ServerGone, "closed"):
            env.step(np.zeros(4, int))
        server, address = self.listen("--env", "cartpole")
        env = self.env(address=address)
        env.reset()
        server.kill()
        with self.assertRaisesRegex(envpool_client.ServerGone, "went away"):
            for _ in range(3):
                env.step(np.zeros(env.num_envs, int))

    def test_a_server_that_stops_is_waited_for_with_an_end(self):
        env = self.env(CARTPOLE, num_envs=4, answer_timeout=0.3)
        env.reset()
        os.kill(env.connection.server_pid, signal.SIGSTOP)
        # All its threads have stopped only some time after the call.
        time.sleep(0.2)
        with self.assertRaisesRegex(envpool_client.ServerTimeout, "0.3 s"):
            env.step(np.zeros(4, int))
        # The answer may still come, so that another exchange must not take it for its own.
        with self.assertRaisesRegex(envpool_client.ServerGone, "cut short"):
            env.step(np.zeros(4, int))
        begun = time.monotonic()
        env.close()
        self.assertLess(time.monotonic() - begun, 30)
        self.assertIsNotNone(env.connection.channel.process.returncode)

    def test_several_share_a_server_and_one_that_leaves_does_not_disturb(self):
        _, address = self.listen(*self.server[1:], "--envs", "16")
        alone = self.env(num_envs=16, seed=2)
        envs = [self.env(address=address, num_envs=16, seed=2) for _ in range(3)]
        expected, _ = alone.reset()
        for env in envs:
            np.testing.assert_array_equal(env.reset()[0], expected)
        for step in range(60):
            actions = (np.arange(16) + step // 7) % 3
            expected, *_ = alone.step(actions)
            for env in envs:
                env.step_async(actions)
            for env in envs:
                np.testing.assert_array_equal(env.step_wait()[0], expected)
            if step == 30:
                envs.pop().close()

    def test_a_server_with_no_place_says_so(self):
        _, address = self.listen("--env", "cartpole")
        envs = []
        with self.assertRaisesRegex(envpool_client.Refused, "clients are connected"):
            for _ in range(1000):
                envs.append(self.env(address=address, num_envs=1))
        for _ in range(20):
            with self.assertRaisesRegex(envpool_client.Refused, "clients are connected"):
                VectorEnv(address=address)
        envs[0].close()
        deadline = time.monotonic() + 20
        while True:
            try:
                self.env(address=address, num_envs=1).reset()
                break
            except envpool_client.Refused:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)

    def test_an_interrupt_is_for_the_client_alone(self):
        env = self.env(CARTPOLE, num_envs=1)
        env.reset()
        before = signal.signal(signal.SIGINT, lambda *_: None)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.assertNotEqual(os.getpgid(env.connection.server_pid), os.getpgrp())
        # Sessions are scheduled apart: to give a core to another session's process is not to be relied on.
        if sys.version_info >= (3, 11):
            self.assertEqual(os.getsid(env.connection.server_pid), os.getsid(0))
        os.kill(os.getpid(), signal.SIGINT)
        env.step(np.zeros(1, int))

    def test_a_terminal_that_stops_what_writes_from_the_background_hears_the_server(self):
        code = (
            "import sys, termios\n"
            "modes = termios.tcgetattr(2)\n"
            "modes[3] |= termios.TOSTOP\n"
            "termios.tcsetattr(2, termios.TCSANOW, modes)\n"
            f"sys.path.insert(0, {str(PACKAGE / 'src')!r})\n"
            "import envpool_client\n"
            "try:\n"
            f"    envpool_client.VectorEnv([{ENVPOOL!r}, 'no-such-file'])\n"
            "except envpool_client.ServerGone as error:\n"
            "    print('GONE', error)\n"
        )
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", code])
        said, deadline = b"", time.monotonic() + 60
        while b"GONE" not in said and time.monotonic() < deadline:
            if select.select([terminal], [], [], 1.0)[0]:
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
        self.assertIn(b"no-such-file: No such file", said)
        self.assertIn(b"GONE", said)

    def test_fifty_openings_leave_no_process_and_no_descriptor(self):
        def descriptors():
            return len(os.listdir("/dev/fd"))

        _, address = self.listen("--env", "cartpole")
        VectorEnv(address=address).close()
        before = descriptors()
        for i in range(50):
            spawned, shared = VectorEnv(CARTPOLE, num_envs=2), VectorEnv(address=address, num_envs=2)
            for env in (spawned, shared):
                env.reset()
                env.step(np.zeros(2, int))
            pid = spawned.connection.server_pid
            if i % 2:
                spawned.close(), shared.close()
            # The others are forgotten rather than closed.
            del spawned, shared, env
            with self.assertRaises(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self.assertEqual(descriptors(), before)
