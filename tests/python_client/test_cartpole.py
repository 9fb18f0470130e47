"""The server's CartPole beside Gymnasium's, from the same states."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from common import CARTPOLE, Place


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
