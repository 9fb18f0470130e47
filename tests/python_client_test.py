#!/usr/bin/env python3
"""The Python client against the real server: Gymnasium's semantics, wrappers and CartPole, the figures of `train`,
and what happens when either side misbehaves.

Runs in .venv, which it makes on demand; where that cannot be done it is skipped, and says so.
"""

import contextlib
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crates" / "envpool" / "python"
REQUIREMENTS = ROOT / "tests" / "python_client_requirements.txt"
VENV = ROOT / ".venv"
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Longer than anything here takes on a busy machine; only a hang lasts as long.
LIMIT_SECONDS = 300


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
sys.path.insert(0, str(PACKAGE / "src"))

import gymnasium as gym  # noqa: E402
import numpy as np  # noqa: E402
from gymnasium import wrappers  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402

import envpool_client  # noqa: E402
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


class Semantics(Place):
    def test_spaces_are_batched_and_everything_returned_is_in_them(self):
        env = self.env(num_envs=8)
        self.assertEqual(env.single_observation_space.shape, (env.specification.observation_len,))
        self.assertEqual(env.observation_space.shape, (8, env.specification.observation_len))
        self.assertEqual(env.action_space, gym.spaces.MultiDiscrete([3] * 8))
        self.assertIs(env.metadata["autoreset_mode"], AutoresetMode.SAME_STEP)
        self.assertEqual(env.specification.levels, (-1.0, 0.0, 1.0))
        self.assertEqual(env.specification.market["provenance"]["kind"], "simulated")
        observations, infos = env.reset(seed=3)
        self.assertTrue(env.observation_space.contains(observations))
        self.assertEqual(infos, {})
        env.action_space.seed(0)
        observations, rewards, terminated, truncated, infos = env.step(env.action_space.sample())
        self.assertTrue(env.observation_space.contains(observations))
        self.assertEqual([a.dtype for a in (rewards, terminated, truncated)], [np.float32, np.bool_, np.bool_])
        self.assertEqual([a.shape for a in (rewards, terminated, truncated)], [(8,)] * 3)

    def test_same_step_mode_is_disabled_mode_with_every_end_reset_by_mask(self):
        n, rng = 16, np.random.default_rng(5)
        same = self.env(CARTPOLE, num_envs=n, seed=7)
        disabled = self.env(CARTPOLE, num_envs=n, seed=7, autoreset_mode=AutoresetMode.DISABLED)
        np.testing.assert_array_equal(same.reset()[0], disabled.reset()[0])
        n_ended = 0
        for _ in range(300):
            actions = rng.integers(0, 2, n)
            new, rewards, terminated, truncated, infos = same.step(actions)
            last, *others, statistics = disabled.step(actions)
            for ours, theirs in zip((rewards, terminated, truncated), others):
                np.testing.assert_array_equal(ours, theirs)
            ended = terminated | truncated
            if not ended.any():
                self.assertEqual((infos, statistics), ({}, {}))
                np.testing.assert_array_equal(new, last)
                continue
            self.assertEqual(infos["final_obs"].dtype, object)
            for mask in ("_final_obs", "_final_info"):
                np.testing.assert_array_equal(infos[mask], ended)
            np.testing.assert_array_equal(np.stack(infos["final_obs"][ended]), last[ended])
            self.assertTrue(all(row is None for row in infos["final_obs"][~ended]))
            self.assertEqual(set(infos["final_info"]), set(statistics))
            np.testing.assert_array_equal(infos["final_info"]["episode_length"], statistics["episode_length"])
            np.testing.assert_array_equal(same.finished["env"], np.flatnonzero(ended))
            np.testing.assert_array_equal(same.finished["final_obs"], last[ended])
            # An ended environment stands still until it is reset; here those that did not end stand still too.
            np.testing.assert_array_equal(disabled.reset(options={"reset_mask": ended})[0], new)
            n_ended += ended.sum()
        self.assertGreater(n_ended, 100)

    def test_a_disabled_environment_stays_as_it_ended(self):
        env = self.env(CARTPOLE, num_envs=2, autoreset_mode=AutoresetMode.DISABLED)
        env.reset()
        for _ in range(60):
            last, rewards, terminated, _, infos = env.step(np.array([1, 1]))
        self.assertTrue(terminated.all() and not rewards.any() and infos == {})
        again, *_ = env.step(np.array([0, 1]))
        np.testing.assert_array_equal(again, last)
        first, _ = env.reset(options={"reset_mask": np.array([False, True])})
        np.testing.assert_array_equal(first[0], last[0])
        self.assertTrue((np.abs(first[1]) <= 0.05).all())
        _, rewards, terminated, *_ = env.step(np.array([0, 1]))
        self.assertEqual((rewards.tolist(), terminated.tolist()), ([0, 1], [True, False]))
        for mask in (np.zeros(2, bool), np.ones(3, bool), [True, False], np.ones(2, int)):
            with self.assertRaisesRegex(ValueError, "reset_mask"):
                env.reset(options={"reset_mask": mask})

    def test_next_step_mode_plays_the_same_episodes_with_a_step_of_reset_between(self):
        def episodes(mode):
            env = self.env(CARTPOLE, num_envs=8, seed=11, autoreset_mode=mode)
            firsts = [[row] for row in env.reset()[0]]
            ended, rng = np.zeros(8, bool), np.random.default_rng(2)
            for _ in range(400):
                seen, rewards, terminated, truncated, infos = env.step(rng.integers(0, 2, 8))
                if mode is AutoresetMode.NEXT_STEP:
                    self.assertFalse(rewards[ended].any() or terminated[ended].any() or truncated[ended].any())
                    self.assertTrue((rewards[~ended] == 1).all())
                    begun, ended = ended, terminated | truncated
                    self.assertEqual("_episode_return" in infos, ended.any())
                else:
                    begun = terminated | truncated
                for i in np.flatnonzero(begun):
                    firsts[i].append(seen[i])
            return firsts

        for ours, theirs in zip(episodes(AutoresetMode.SAME_STEP), episodes(AutoresetMode.NEXT_STEP)):
            n = min(len(ours), len(theirs))
            self.assertGreater(n, 5)
            np.testing.assert_array_equal(ours[:n], theirs[:n])

    def test_what_a_mask_resets_in_next_step_mode_plays_the_next_step(self):
        env = self.env(CARTPOLE, num_envs=1, autoreset_mode=AutoresetMode.NEXT_STEP)
        env.reset()
        for _ in range(100):
            if env.step(np.array([1]))[2][0]:
                break
        first, _ = env.reset(options={"reset_mask": np.array([True])})
        seen, rewards, *_ = env.step(np.array([1]))
        # A push adds 0.2 to the velocity, and two first observations are at most 0.1 apart.
        self.assertEqual(rewards[0], 1.0)
        self.assertGreater(seen[0, 1] - first[0, 1], 0.15)

    def test_equal_seeds_give_equal_bits_and_a_new_seed_begins_anew(self):
        env = self.env(num_envs=32, seed=5)

        def play(seed):
            seen = [env.reset(seed=seed)[0]]
            for step in range(30):
                observations, rewards, *_ = env.step((np.arange(32) + step) % 3)
                seen += [observations, rewards[:, None]]
            return np.concatenate(seen, axis=1)

        first = play(5)
        np.testing.assert_array_equal(play(5), first)
        self.assertFalse(np.array_equal(play(6), first))
        self.assertEqual(env.seed, 6)
        np.testing.assert_array_equal(play(5), first)

    def test_rewards_add_up_to_the_log_of_final_over_initial_equity(self):
        env = self.env(num_envs=64, seed=9, episode=97)
        capital = env.specification.market["rules"]["capital"]
        env.reset()
        sums, rng, n_ended = np.zeros(64), np.random.default_rng(1), 0
        for _ in range(400):
            _, rewards, terminated, truncated, infos = env.step(rng.integers(0, 3, 64))
            sums += rewards
            ended = terminated | truncated
            if ended.any():
                final = infos["final_info"]
                growth = np.log(final["final_equity"][ended] / capital)
                np.testing.assert_allclose(final["episode_return"][ended], growth, rtol=0, atol=1e-9)
                np.testing.assert_allclose(sums[ended], growth, rtol=0, atol=1e-5)
                self.assertTrue((final["costs"][ended].sum(axis=1) > 0).all())
                self.assertTrue((final["episode_length"][ended] <= 97).all())
                sums[ended] = 0
                n_ended += ended.sum()
        self.assertGreater(n_ended, 64 * 3)

    def test_terminated_and_truncated_are_independent(self):
        seen = set()
        for episode in (1, 400):
            # Ruined by the first rupee lost, or cut by the limit, or both in one step.
            env = self.env([*self.server, "--ruin", "0.9995"], num_envs=64, seed=2, episode=episode)
            env.reset()
            for _ in range(400):
                _, _, terminated, truncated, _ = env.step(np.full(64, 2))
                seen |= set(zip(terminated.tolist(), truncated.tolist()))
        self.assertEqual(seen, {(False, False), (True, False), (False, True), (True, True)})

    def test_arrays_are_the_holders_own_unless_views_are_asked_for(self):
        env = self.env(CARTPOLE, num_envs=8)
        held = [env.reset()[0]]
        copies = [held[0].copy()]
        for step in range(50):
            observations = env.step(np.full(8, step % 2))[0]
            held.append(observations)
            copies.append(observations.copy())
        for ours, copy in zip(held, copies):
            np.testing.assert_array_equal(ours, copy)
        del held, ours
        addresses = set()
        for _ in range(50):
            observations = env.step(np.zeros(8, int))[0]
            addresses.add(observations.ctypes.data)
        self.assertLessEqual(len(addresses), 4, "what nobody holds is used again")
        view = self.env(CARTPOLE, num_envs=8, copy=False)
        before = view.reset()[0]
        kept = before.copy()
        after = view.step(np.zeros(8, int))[0]
        self.assertEqual(before.ctypes.data, after.ctypes.data)
        self.assertFalse(np.array_equal(before, kept))

    def test_a_trace_tells_fills_and_costs(self):
        env = self.env(num_envs=4, seed=1, trace=True)
        env.reset()
        env.step(np.array([2, 1, 0, 1]))
        trace = env.trace
        self.assertTrue(trace["open_fill_shares"][0] > 0 > trace["open_fill_shares"][2])
        self.assertTrue(trace["costs"][0].sum() > 0 and trace["costs"][1].sum() == 0)
        self.assertTrue(np.isfinite(trace["equity"]).all())
        self.assertIsNone(self.env(CARTPOLE, num_envs=1).trace)

    def test_ranges_and_episodes_are_those_asked_for(self):
        calendar = self.env().specification.market["calendar"]
        sessions = (10, 12)
        env = self.env(num_envs=4, range=sessions, start="first", episode="full", autoreset_mode="Disabled",
                       trace=True)
        env.reset()
        days, steps = set(), 0
        # More bars than these days have, so that an episode without an end is a failure and not a hang.
        for _ in range(1000):
            _, _, _, truncated, _ = env.step(np.ones(4, int))
            days |= {time.strftime("%Y-%m-%d", time.gmtime(ts / 1e6)) for ts in env.trace["ts"]}
            steps += 1
            if truncated.all():
                break
        self.assertEqual((sorted(days), steps), (calendar[10:13], 3 * 75))


class Wrappers(Place):
    def test_record_episode_statistics_agrees_with_the_server(self):
        for mode in AutoresetMode:
            env = self.env(CARTPOLE, num_envs=8, autoreset_mode=mode)
            wrapped = wrappers.vector.RecordEpisodeStatistics(env)
            wrapped.reset(seed=1)
            rng, n_ended = np.random.default_rng(0), 0
            for _ in range(200):
                _, _, terminated, truncated, infos = wrapped.step(rng.integers(0, 2, 8))
                ended = terminated | truncated
                if ended.any():
                    server = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
                    np.testing.assert_array_equal(infos["_episode"], ended)
                    np.testing.assert_array_equal(infos["episode"]["l"], server["episode_length"])
                    np.testing.assert_allclose(infos["episode"]["r"], server["episode_return"])
                    n_ended += ended.sum()
                    if mode is AutoresetMode.DISABLED:
                        wrapped.reset(options={"reset_mask": ended})
            self.assertGreater(n_ended, 20)

    def test_normalize_observation_normalizes(self):
        env = self.env(num_envs=64, seed=3, autoreset_mode=AutoresetMode.NEXT_STEP, episode=50)
        wrapped = wrappers.vector.NormalizeObservation(env)
        wrapped.reset()
        seen = np.stack([wrapped.step(np.ones(64, int))[0] for _ in range(300)])[100:]
        varying = seen.std(axis=(0, 1)) > 0.01
        self.assertGreater(varying.sum(), 40)
        self.assertLess(np.abs(seen.mean(axis=(0, 1))[varying]).max(), 0.5)
        self.assertLess(np.abs(seen.std(axis=(0, 1))[varying] - 1).mean(), 0.2)

    def test_wrappers_of_rewards_and_infos_take_same_step_mode(self):
        env = self.env(num_envs=64, seed=3, episode=50)
        wrapped = wrappers.vector.RecordEpisodeStatistics(env)
        wrapped = wrappers.vector.NormalizeReward(wrapped)
        wrapped = wrappers.vector.ClipReward(wrapped, -5, 5)
        wrapped = wrappers.vector.DictInfoToList(wrapped)
        wrapped.reset(seed=4)
        rng, rewards, episodes = np.random.default_rng(0), [], 0
        for _ in range(300):
            _, reward, _, _, infos = wrapped.step(rng.integers(0, 3, 64))
            rewards.append(reward)
            self.assertEqual(len(infos), 64)
            episodes += sum("final_obs" in info and "episode" in info for info in infos)
        self.assertGreaterEqual(episodes, 64 * 5)
        self.assertTrue(0.05 < np.std(rewards[100:]) < 5 and np.abs(rewards).max() <= 5)

    def test_wrappers_of_observations_take_next_step_mode(self):
        env = self.env(CARTPOLE, num_envs=4, autoreset_mode=AutoresetMode.NEXT_STEP)
        wrapped = wrappers.vector.FlattenObservation(env)
        wrapped = wrappers.vector.DtypeObservation(wrapped, np.float64)
        wrapped = wrappers.vector.TransformObservation(wrapped, lambda seen: seen.clip(-0.1, 0.1))
        wrapped = wrappers.vector.RecordEpisodeStatistics(wrapped)
        wrapped.reset(seed=1)
        rng = np.random.default_rng(0)
        for _ in range(100):
            observations = wrapped.step(rng.integers(0, 2, 4))[0]
            self.assertEqual((observations.dtype, observations.shape), (np.float64, (4, 4)))
            self.assertLessEqual(np.abs(observations).max(), 0.1)
        self.assertGreater(wrapped.episode_count, 5)

    def test_clip_action_is_refused_where_actions_are_choices(self):
        """There is nothing to clip; Gymnasium says so itself."""
        with self.assertRaises((AssertionError, TypeError)):
            wrappers.vector.ClipAction(self.env(CARTPOLE, num_envs=2))


class CartPole(Place):
    def reference(self, n):
        references = [gym.make("CartPole-v1") for _ in range(n)]
        for reference in references:
            reference.reset(seed=0)
        return references

    def compare(self, choose, steps, from_every_step):
        """Steps Gymnasium's environment beside the server's, from the same states; how episodes ended."""
        n = 8
        env = self.env(CARTPOLE, num_envs=n, seed=13, autoreset_mode=AutoresetMode.NEXT_STEP)
        observations, _ = env.reset()
        references, ended, ends = self.reference(n), np.zeros(n, bool), []
        for reference, row in zip(references, observations):
            reference.unwrapped.state = row.astype(np.float64)
        for _ in range(steps):
            actions = choose(observations)
            before = observations
            observations, rewards, terminated, truncated, _ = env.step(actions)
            for i, reference in enumerate(references):
                if ended[i]:
                    reference.reset()
                    reference.unwrapped.state = observations[i].astype(np.float64)
                    continue
                if from_every_step:
                    reference.unwrapped.state = before[i].astype(np.float64)
                expected, reward, is_terminated, is_truncated, _ = reference.step(int(actions[i]))
                np.testing.assert_allclose(observations[i], expected, rtol=1e-5, atol=2e-6)
                self.assertEqual((rewards[i], terminated[i], truncated[i]), (reward, is_terminated, is_truncated))
            ended = terminated | truncated
            ends += list(zip(terminated[ended].tolist(), truncated[ended].tolist()))
        return ends

    def test_at_random_from_each_first_observation(self):
        rng = np.random.default_rng(3)
        ends = self.compare(lambda seen: rng.integers(0, 2, len(seen)), 1000, False)
        self.assertGreater(len(ends), 200)
        self.assertEqual(set(ends), {(True, False)})

    def test_balanced_to_the_limit_of_500(self):
        # What no observation in single precision shows grows with each step, so each begins from the last one shown.
        ends = self.compare(lambda seen: (seen @ [0.1, 0.3, 1.0, 0.5] > 0).astype(int), 1100, True)
        self.assertEqual(ends, [(False, True)] * 16)


class Judgement(Place):
    def test_long_and_short_are_judged_as_train_judges_them(self):
        run(BIN / "train", "ppo", "--timesteps", "2048", "--envs", "16", "--out", self.folder / "run", "--",
            *self.server)
        report = json.loads((self.folder / "run" / "latest" / "report.json").read_text())
        env = self.env(num_envs=4)
        action_for = env.specification.action_for
        for key, action, held in (("long_every_day", action_for(1.0), False), ("always_short", action_for(-1.0), False),
                                  ("buy_and_hold", 1, True), ("flat", 0, True), ("flat", action_for(0.0), False)):
            found = envpool_client.evaluate(
                lambda rows, action=action: np.full(len(rows), action), connection=env.connection, hold_account=held
            )
            expected = report["baselines"][key]
            for name, ours in found.statistics.items():
                value = expected[name]
                with self.subTest(baseline=key, figure=name):
                    if isinstance(ours, dict):
                        self.assertEqual(list(ours), [key for key, _ in value])
                        np.testing.assert_allclose(list(ours.values()), [each for _, each in value], rtol=0, atol=1e-9)
                    elif value is None or isinstance(value, int):
                        self.assertEqual(ours, value)
                    else:
                        self.assertAlmostEqual(ours, value, delta=1e-9)
            self.assertEqual(found.trace["equity"][-1], found.statistics["final_equity"])
            self.assertEqual((len(found.trace), len(found.trades)), (expected["bars"], expected["trades"]))
            self.assertIn("simulated", str(found))
            # The bar that closes a trade is not one of its bars, as in trades.csv.
            self.assertEqual(found.trades["bars"].sum(), (found.trace["shares"] != 0).sum())

    def test_several_symbols_and_a_policy_that_sees(self):
        both = self.folder / "both.parquet"
        bars = [ROOT / "data" / "sample" / f"{symbol}.csv" for symbol in ("BPCL", "RELIANCE")]
        run(BIN / "featgen", "-o", both, *bars)
        server = [ENVPOOL, "--market", "nse", "--test-days", "5", str(both)]
        seen = []

        def policy(rows):
            seen.append(rows)
            return np.where(rows[:, 0] > 0, 2, 0)

        found = envpool_client.evaluate(policy, command=server)
        self.assertEqual({rows.shape[0] for rows in seen}, {2})
        self.assertEqual(found.statistics["days"], 5)
        self.assertEqual(set(found.trades["symbol"]), {"BPCL", "RELIANCE"})
        last = [found.trace[found.trace["symbol"] == symbol]["equity"][-1] for symbol in (0, 1)]
        self.assertAlmostEqual(sum(last), found.statistics["final_equity"], delta=1e-9)
        # Cash in and out of all fills, and nothing held: what is left is the profit of the trades.
        self.assertAlmostEqual(found.trades["net"].sum(), sum(last) - 200_000, delta=1e-6)
        self.assertEqual(found.trace["shares"][found.trace["symbol"] == 0][-1], 0.0)
        opposite = envpool_client.evaluate(lambda rows: [2, 0], command=server)
        self.assertTrue(0.9 < opposite.statistics["exposure"] < 1.1, "long and short do not cancel")

    def test_a_policy_that_answers_wrongly_is_told(self):
        connection = self.env(num_envs=1).connection
        for answer, words in (([2, 2], "shape"), ([0.5], "whole numbers"), ([7], "environment 0: action 7")):
            with self.assertRaisesRegex((ValueError, envpool_client.Refused), words):
                envpool_client.evaluate(lambda rows, answer=answer: np.array(answer), connection=connection)
        # A policy that fails leaves no session behind, of which a connection has only so many.
        for _ in range(connection.specification.document["max_sessions"] + 1):
            with self.assertRaises(ZeroDivisionError):
                envpool_client.evaluate(lambda rows: 1 / 0, connection=connection)
        with self.assertRaisesRegex(ValueError, "needs a server of features"):
            envpool_client.evaluate(lambda rows: [0], command=CARTPOLE)
        unheld = self.env([ENVPOOL, str(self.features)]).connection
        with self.assertRaisesRegex(envpool_client.Refused, "--test-days"):
            envpool_client.evaluate(lambda rows: [0], connection=unheld)


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
            ({"command": CARTPOLE, "episode": 100}, ValueError, "cartpole has no days"),
            ({"command": self.server, "range": "tomorrow"}, ValueError, "tomorrow"),
            ({"command": self.server, "range": "validation"}, envpool_client.Refused, "--validation-days"),
            ({"command": self.server, "range": (3, 999)}, envpool_client.Refused, "999"),
        ):
            with self.subTest(**keywords), self.assertRaisesRegex(error, words) as caught:
                VectorEnv(**keywords)
            self.assertNotIn("\n", str(caught.exception))

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
        os.kill(os.getpid(), signal.SIGINT)
        env.step(np.zeros(1, int))

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


class Adapter(Place):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            import stable_baselines3  # noqa: F401
        except ImportError:
            print("\nStable-Baselines3 is not installed: its adapter is tested against a stand-in of its base class")
            modules = {name: types.ModuleType(name) for name in (
                "stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.vec_env")}
            modules["stable_baselines3.common.vec_env"].VecEnv = StandInVecEnv
            sys.modules.update(modules)
            cls.addClassCleanup(lambda: [sys.modules.pop(name) for name in modules])
            cls.addClassCleanup(lambda: sys.modules.pop("envpool_client.sb3", None))

    def test_the_adapter_steps_and_reports_ends(self):
        from envpool_client.sb3 import Sb3VecEnv

        inner = self.env(num_envs=8, seed=1, episode=20)
        env, twin = Sb3VecEnv(inner), self.env(num_envs=8, seed=6, episode=20)
        self.assertEqual((env.num_envs, env.action_space), (8, gym.spaces.Discrete(3)))
        env.seed(6)
        np.testing.assert_array_equal(env.reset(), twin.reset()[0])
        n_ended = 0
        for step in range(100):
            actions = (np.arange(8) + step) % 3
            observations, rewards, dones, infos = env.step(actions)
            expected, expected_rewards, terminated, truncated, theirs = twin.step(actions)
            np.testing.assert_array_equal(observations, expected)
            np.testing.assert_array_equal(rewards, expected_rewards)
            np.testing.assert_array_equal(dones, terminated | truncated)
            for i in range(8):
                self.assertEqual("terminal_observation" in infos[i], bool(dones[i]))
                if dones[i]:
                    np.testing.assert_array_equal(infos[i]["terminal_observation"], theirs["final_obs"][i])
                    self.assertEqual(infos[i]["TimeLimit.truncated"], bool(truncated[i] and not terminated[i]))
                    self.assertEqual(infos[i]["episode"]["l"], theirs["final_info"]["episode_length"][i])
                    n_ended += 1
        self.assertGreaterEqual(n_ended, 8 * 4)
        self.assertEqual(env.get_attr("num_envs", [0, 1]), [8, 8])
        env.close()
        self.assertTrue(inner.closed)

    def test_it_wants_same_step_mode(self):
        from envpool_client.sb3 import Sb3VecEnv

        with self.assertRaisesRegex(ValueError, "SAME_STEP"):
            Sb3VecEnv(self.env(CARTPOLE, num_envs=1, autoreset_mode=AutoresetMode.DISABLED))


class StandInVecEnv:
    """What of stable_baselines3.common.vec_env.VecEnv an adapter meets."""

    def __init__(self, num_envs, observation_space, action_space):
        self.num_envs, self.observation_space, self.action_space = num_envs, observation_space, action_space
        self.reset_infos = [{} for _ in range(num_envs)]
        self._seeds, self._options = [None] * num_envs, [{} for _ in range(num_envs)]
        assert self.get_attr("render_mode") == [None] * num_envs
        self.render_mode = None

    def step(self, actions):
        self.step_async(actions)
        return self.step_wait()

    def seed(self, seed):
        self._seeds = [seed + i for i in range(self.num_envs)]
        return self._seeds

    def _reset_seeds(self):
        self._seeds = [None] * self.num_envs

    def _reset_options(self):
        self._options = [{} for _ in range(self.num_envs)]


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


if __name__ == "__main__":
    unittest.main()
