"""The Stable-Baselines3 adapter."""

import sys
import types

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from common import CARTPOLE, Place

import envpool_client


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
