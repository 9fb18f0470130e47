#!/usr/bin/env python3
"""Stable-Baselines3's PPO at its best on a processor: 64 environments in one `VecEnv` that is vectorised in numpy, as
`make bench-train` holds it against `train ppo`. Prints one JSON object: environment steps, and the CPU and wall
seconds they took.
"""

import argparse
import json
import time

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from cleanrl_style_ppo import Market


class Vectorised(VecEnv):
    """The same market; what a `VecEnv` must have and the algorithm never asks for is left out."""

    def __init__(self, n_envs, n_inputs):
        space = gymnasium.spaces.Box(-np.inf, np.inf, (n_inputs,), np.float32)
        self.market = Market(n_envs, n_inputs)
        super().__init__(n_envs, space, gymnasium.spaces.Discrete(3))

    def reset(self):
        return self.market.observe().copy()

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        seen, reward, done = self.market.step(self.actions)
        infos = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i] = {"terminal_observation": seen[i], "TimeLimit.truncated": False}
        return seen.copy(), reward, done, infos

    def close(self):
        pass

    def get_attr(self, name, indices=None):
        return [None] * self.num_envs

    def set_attr(self, name, value, indices=None):
        pass

    def env_method(self, name, *args, indices=None, **kwargs):
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper, indices=None):
        return [False] * self.num_envs


class AfterTheFirst(BaseCallback):
    """Starts the clocks after the first update: tensors are made and threads are woken."""

    rollouts = 0

    def _on_rollout_start(self):
        self.rollouts += 1
        if self.rollouts == 2:
            self.before, self.wall, self.cpu = self.num_timesteps, time.perf_counter(), time.process_time()

    def _on_step(self):
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timesteps", type=int, default=250_000)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    n_envs, rollout = 64, 128
    model = PPO(
        "MlpPolicy", Vectorised(n_envs, arguments.inputs), n_steps=rollout, batch_size=n_envs * rollout // 4,
        n_epochs=4, ent_coef=0.01, learning_rate=1e-3, device="cpu", seed=1,
    )
    clock = AfterTheFirst()
    model.learn(arguments.timesteps + n_envs * rollout, callback=clock)
    seconds = {"wall_s": time.perf_counter() - clock.wall, "cpu_s": time.process_time() - clock.cpu}
    print(json.dumps({"steps": model.num_timesteps - clock.before, **seconds}))


if __name__ == "__main__":
    main()
