"""Gymnasium's own vector wrappers around the client."""

import numpy as np
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode
from common import CARTPOLE, Place


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
