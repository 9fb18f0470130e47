"""Shared memory and frames, snapshots: the same bits every way."""

import pathlib
import tempfile
import time
from unittest import mock

import numpy as np
from common import CARTPOLE, Place
from gymnasium.vector import AutoresetMode

import envpool_client
from envpool_client import barrier
from envpool_client.protocol import Kind, encode_header


def transcript(env, steps, first=0):
    """All that some steps bring, copied."""
    brought = []
    for step in range(first, first + steps):
        observations, rewards, terminated, truncated, infos = env.step((np.arange(env.num_envs) + step // 3) % 3)
        final = [row for row in infos.get("final_obs", ()) if row is not None]
        brought.append([np.copy(part) for part in (observations, rewards, terminated, truncated, *final)])
    return brought


def barrier_if(has_barrier):
    """As on this machine, or on one that has none."""
    return mock.patch("envpool_client.connection.barrier", barrier.barrier if has_barrier else lambda: None)


class Transport(Place):
    def assert_same(self, one, other):
        self.assertEqual(len(one), len(other))
        for ours, theirs in zip(one, other):
            self.assertEqual(len(ours), len(theirs))
            for mine, yours in zip(ours, theirs):
                np.testing.assert_array_equal(mine, yours)

    def test_frames_and_shared_memory_carry_the_same_bits_over_pipes_and_sockets(self):
        _, address = self.listen(*self.server[1:], "--envs", "9")
        played = []
        for shared_memory, has_barrier in ((False, True), (True, False), (True, True)):
            for where in ({}, {"address": address}):
                for copy in (True, False):
                    with barrier_if(has_barrier):
                        env = self.env(**where, num_envs=9, seed=4, episode=11, copy=copy, shared_memory=shared_memory)
                    self.assertEqual(env._session.is_shared, shared_memory)
                    if not (shared_memory and has_barrier):
                        self.assertIsNone(env._session._posts)
                    env.reset()
                    played.append(transcript(env, 60))
        for other in played[1:]:
            self.assert_same(other, played[0])

    def test_sides_that_sleep_are_woken_and_play_the_same_bits(self):
        if barrier.barrier() is None:
            self.skipTest("no memory barrier for Python on this machine")
        env, twin = self.env(num_envs=9, seed=4, episode=11), self.env(num_envs=9, seed=4, episode=11, shared_memory=False)
        env.reset(), twin.reset()
        posts = env._session._posts
        # It never looks twice, so that it sleeps at every step; and pauses that long at times that the server does.
        posts._spinner.look = lambda is_ready: is_ready()
        asleep, slept = posts.fall_asleep, []
        posts.fall_asleep = lambda: slept.append(asleep()) or slept[-1]
        wakes, awake = posts.post, []
        posts.post = lambda: awake.append(wakes()) or awake[-1]
        for step in range(300):
            if step % 10 == 0:
                time.sleep(0.01)
            actions = (np.arange(9) + step // 3) % 3
            for ours, theirs in zip(env.step(actions)[:4], twin.step(actions)[:4]):
                np.testing.assert_array_equal(ours, theirs)
            if step % 50 == 49:
                # Refused while this side sleeps; the next answer is the next step's.
                with self.assertRaisesRegex(envpool_client.Refused, "environment 3: action 7"):
                    env.step(np.array([0, 0, 0, 7, 0, 0, 0, 0, 0]))
        self.assertIn(True, slept)
        self.assertIn(True, awake)

    def test_a_wake_up_too_many_is_passed_over(self):
        env = self.env(CARTPOLE, num_envs=3)
        env.reset()
        connection = env.connection
        wake = encode_header(Kind.WAKE, env._session.number, 0)
        for _ in range(20):
            # To the server, which is awake or not; and, as if from it, to this side.
            connection.channel.send(wake)
            connection.channel._early += wake
            env.step(np.zeros(3, np.int64))
        env.reset()
        env.step(np.zeros(3, np.int64))
        self.assertEqual(bytes(connection.channel._early), b"")

    def test_views_of_shared_memory_cannot_be_written(self):
        env = self.env(CARTPOLE, num_envs=3, copy=False)
        observations, _ = env.reset()
        with self.assertRaises(ValueError):
            observations[0, 0] = 1.0
        before = observations.copy()
        env.step(np.zeros(3, np.int64))
        self.assertFalse(np.array_equal(observations, before), "the view shows the next step")

    def test_a_wrong_number_of_actions_is_refused_and_the_session_goes_on(self):
        env = self.env(CARTPOLE, num_envs=3)
        env.reset()
        with self.assertRaisesRegex(envpool_client.Refused, "2 actions for 3"):
            env._session.send(np.zeros(2, "<i4"))
            env._session.receive()
        env.step(np.zeros(3, np.int64))

    def test_files_are_gone_once_mapped(self):
        env = self.env(CARTPOLE, num_envs=3)
        name = f"envpool-{env.connection.server_pid:x}-*"
        left = [path for folder in ("/dev/shm", tempfile.gettempdir()) for path in pathlib.Path(folder).glob(name)]
        self.assertEqual(left, [])

    def test_a_restored_environment_goes_on_with_the_same_bits(self):
        for mode in AutoresetMode:
            made = {"num_envs": 6, "seed": 4, "episode": 11, "autoreset_mode": mode}
            env = self.env(**made)
            env.reset()
            transcript(env, 17)
            snapshot = env.snapshot()
            then = transcript(env, 40, first=17)
            for other in (env, self.env(**made)):
                observations, infos = other.restore(snapshot)
                self.assertTrue(env.observation_space.contains(observations))
                self.assertEqual(infos, {})
                self.assert_same(transcript(other, 40, first=17), then)
        with self.assertRaisesRegex(envpool_client.Refused, "n_envs 6"):
            self.env(**{**made, "num_envs": 5}).restore(snapshot)
        with self.assertRaisesRegex(envpool_client.Refused, "no whole snapshot"):
            env.restore(snapshot[:-1])
