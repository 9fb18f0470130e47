"""Gymnasium's semantics: spaces, seeds, autoreset modes, ends, traces."""

import time

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from common import CARTPOLE, Place


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
