#!/usr/bin/env python3
"""A PPO loop in PyTorch as CleanRL writes it, tuned, over an environment vectorised in numpy: what `make bench-train`
holds `train ppo` against. Prints one JSON object: environment steps, and the CPU and wall seconds they took.

The tuning over CleanRL: no Categorical object, one fused Adam, minibatches by one index, no copies of the rollout.
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn


class Market:
    """Prices that walk at random under random features; three target positions, a cost for changing them."""

    def __init__(self, n_envs, n_inputs, rows=100_000, episode=512):
        random = np.random.default_rng(1)
        self.features = random.standard_normal((rows, n_inputs - 1), dtype=np.float32)
        self.returns = (1e-3 * random.standard_normal(rows)).astype(np.float32)
        self.random, self.episode, self.n_envs = random, episode, n_envs
        self.row = random.integers(0, rows - episode, n_envs)
        self.left = random.integers(1, episode, n_envs)
        self.position = np.zeros(n_envs, dtype=np.float32)
        self.seen = np.empty((n_envs, n_inputs), dtype=np.float32)

    def observe(self):
        np.take(self.features, self.row, axis=0, out=self.seen[:, :-1])
        self.seen[:, -1] = self.position
        return self.seen

    def step(self, action):
        target = action.astype(np.float32) - 1
        self.row += 1
        reward = target * self.returns[self.row] - 1e-4 * np.abs(target - self.position)
        self.position = target
        self.left -= 1
        done = self.left == 0
        if done.any():
            n = int(done.sum())
            self.row[done] = self.random.integers(0, len(self.returns) - self.episode, n)
            self.left[done] = self.episode
            self.position[done] = 0
        return self.observe(), reward, done


def network(n_inputs, outputs, gain):
    def layer(a, b, gain):
        made = nn.Linear(a, b)
        nn.init.orthogonal_(made.weight, gain)
        nn.init.zeros_(made.bias)
        return made

    root = 2**0.5
    return nn.Sequential(layer(n_inputs, 64, root), nn.Tanh(), layer(64, 64, root), nn.Tanh(), layer(64, outputs, gain))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--inputs", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    n_envs, rollout, epochs, minibatches, gamma, lam, clip = 256, 128, 4, 4, 0.99, 0.95, 0.2
    torch.manual_seed(1)
    torch.set_num_threads(arguments.threads)
    env = Market(n_envs, arguments.inputs)
    actor, critic = network(arguments.inputs, 3, 0.01), network(arguments.inputs, 1, 1.0)
    parameters = [*actor.parameters(), *critic.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3, eps=1e-5, fused=True)
    rows = rollout * n_envs
    seen = torch.zeros(rollout, n_envs, arguments.inputs)
    actions = torch.zeros(rollout, n_envs, dtype=torch.long)
    log_probabilities, rewards, dones, values = (torch.zeros(rollout, n_envs) for _ in range(4))
    now = torch.from_numpy(env.observe())
    updates = -(-arguments.timesteps // rows)

    def run(updates):
        nonlocal now
        for _ in range(updates):
            with torch.no_grad():
                for t in range(rollout):
                    seen[t] = now
                    log_p = actor(now).log_softmax(1)
                    values[t] = critic(now)[:, 0]
                    # The largest of logit plus Gumbel noise is a draw.
                    choice = (log_p - torch.empty_like(log_p).exponential_().log()).argmax(1)
                    actions[t] = choice
                    log_probabilities[t] = log_p.gather(1, choice[:, None])[:, 0]
                    observation, reward, done = env.step(choice.numpy())
                    rewards[t], dones[t] = torch.from_numpy(reward), torch.from_numpy(done)
                    now = torch.from_numpy(observation)
                following = critic(now)[:, 0]
                advantages, running = torch.zeros(rollout, n_envs), torch.zeros(n_envs)
                for t in reversed(range(rollout)):
                    alive = 1 - dones[t]
                    running = rewards[t] + gamma * following * alive - values[t] + gamma * lam * alive * running
                    advantages[t], following = running, values[t]
                returns = (advantages + values).view(-1)
            flat_seen, flat_actions = seen.view(rows, -1), actions.view(-1)
            flat_log_probabilities, flat_advantages = log_probabilities.view(-1), advantages.view(-1)
            for _ in range(epochs):
                for index in torch.randperm(rows).split(rows // minibatches):
                    x = flat_seen[index]
                    log_p = actor(x).log_softmax(1)
                    ratio = (log_p.gather(1, flat_actions[index, None])[:, 0] - flat_log_probabilities[index]).exp()
                    a = flat_advantages[index]
                    a = (a - a.mean()) / (a.std() + 1e-8)
                    policy_loss = torch.max(-a * ratio, -a * ratio.clamp(1 - clip, 1 + clip)).mean()
                    entropy = -(log_p.exp() * log_p).sum(1).mean()
                    value_loss = 0.5 * (critic(x)[:, 0] - returns[index]).square().mean()
                    loss = policy_loss - 0.01 * entropy + 0.5 * value_loss
                    adam.zero_grad(set_to_none=True)
                    loss.backward()
                    nn.utils.clip_grad_norm_(parameters, 0.5)
                    adam.step()

    run(1)  # Tensors are made and threads are woken.
    wall, cpu = time.perf_counter(), time.process_time()
    run(updates)
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps({"steps": updates * rows, **seconds}))


if __name__ == "__main__":
    main()
