#!/usr/bin/env python3
"""A PPO loop in JAX as PureJaxRL writes it, tuned, with the trading environment in JAX too, so that whole updates are
one compiled program: what `make bench-train` holds `train ppo` against. Prints one JSON object: environment steps, and
the CPU and wall seconds they took.

The tuning over PureJaxRL: both networks' first layers are one product and so are their second, minibatches are drawn
by one sort and gathered one at a time, nothing is logged, buffers are given back to the program (donated).
"""

import argparse
import json
import os
import time
from functools import partial

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--timesteps", type=int, default=500_000)
parser.add_argument("--inputs", type=int, default=128)
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()
# Before JAX is imported: how large it makes its pools.
os.environ.update(JAX_PLATFORMS="cpu", NPROC=str(arguments.threads), PJRT_NPROC=str(arguments.threads))
if arguments.threads == 1:
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from jax import lax  # noqa: E402

N_ENVS, ROLLOUT, EPOCHS, MINIBATCHES, GAMMA, LAMBDA, CLIP, WIDTH = 256, 128, 4, 4, 0.99, 0.95, 0.2, 64
ROWS, EPISODE, BATCH = 100_000, 512, N_ENVS * ROLLOUT


def market(key, n_inputs):
    """Prices that walk at random under random features; three target positions, a cost for changing them."""
    first, second = jax.random.split(key)
    return jax.random.normal(first, (ROWS, n_inputs - 1)), 1e-3 * jax.random.normal(second, (ROWS,))


def observe(data, state):
    row, _, position = state
    return jnp.concatenate([data[0].at[row].get(mode="promise_in_bounds"), position[:, None]], axis=1)


def step(data, state, action, key):
    row, left, position = state
    target = action.astype(jnp.float32) - 1
    row, left = row + 1, left - 1
    reward = target * data[1].at[row].get(mode="promise_in_bounds") - 1e-4 * jnp.abs(target - position)
    done = left == 0
    fresh = jax.random.randint(key, row.shape, 0, ROWS - EPISODE)
    state = (jnp.where(done, fresh, row), jnp.where(done, EPISODE, left), jnp.where(done, 0.0, target))
    return state, reward, done


def layers(key, n_inputs):
    """Both networks; their hidden layers stand side by side."""
    keys = iter(jax.random.split(key, 6))
    root = 2**0.5

    def both(inputs, outputs, gains):
        made = [jax.nn.initializers.orthogonal(gain)(next(keys), (inputs, n)) for n, gain in zip(outputs, gains)]
        return made, [jnp.zeros(n) for n in outputs]

    (actor, critic), biases = both(n_inputs, (WIDTH, WIDTH), (root, root))
    second, second_biases = both(WIDTH, (WIDTH, WIDTH), (root, root))
    head, head_biases = both(WIDTH, (3, 1), (0.01, 1.0))
    return {
        "first": jnp.concatenate([actor, critic], axis=1), "first_bias": jnp.concatenate(biases),
        "second": second, "second_bias": second_biases, "head": head, "head_bias": head_biases,
    }


def forward(p, x):
    hidden = jnp.tanh(x @ p["first"] + p["first_bias"])
    halves = hidden[:, :WIDTH], hidden[:, WIDTH:]
    halves = [jnp.tanh(h @ w + b) for h, w, b in zip(halves, p["second"], p["second_bias"])]
    logits, value = (h @ w + b for h, w, b in zip(halves, p["head"], p["head_bias"]))
    return jax.nn.log_softmax(logits), value[:, 0]


def loss_of(p, batch):
    seen, action, old_log_p, advantage, returns = batch
    log_p, value = forward(p, seen)
    ratio = jnp.exp(jnp.take_along_axis(log_p, action[:, None], axis=1)[:, 0] - old_log_p)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    policy_loss = jnp.maximum(-advantage * ratio, -advantage * jnp.clip(ratio, 1 - CLIP, 1 + CLIP)).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(axis=1).mean()
    return policy_loss - 0.01 * entropy + 0.5 * 0.5 * jnp.square(value - returns).mean()


def main():
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3, eps=1e-5))
    data = market(jax.random.key(1), arguments.inputs)

    @partial(jax.jit, donate_argnums=(0,))
    def update(carry, data):
        p, moments, state, key = carry

        def act(carry, _):
            state, key = carry
            key, for_action, for_env = jax.random.split(key, 3)
            seen = observe(data, state)
            log_p, value = forward(p, seen)
            action = jax.random.categorical(for_action, log_p)
            chosen = jnp.take_along_axis(log_p, action[:, None], axis=1)[:, 0]
            state, reward, done = step(data, state, action, for_env)
            return (state, key), (seen, action, chosen, value, reward, done)

        (state, key), (seen, action, log_p, values, reward, done) = lax.scan(act, (state, key), None, ROLLOUT)
        last = forward(p, observe(data, state))[1]

        def backwards(carry, here):
            advantage, following = carry
            reward, value, done = here
            alive = 1.0 - done
            advantage = reward + GAMMA * following * alive - value + GAMMA * LAMBDA * alive * advantage
            return (advantage, value), advantage

        start = (jnp.zeros(N_ENVS), last)
        _, advantages = lax.scan(backwards, start, (reward, values, done), reverse=True, unroll=16)
        whole = (seen, action, log_p, advantages, advantages + values)
        whole = jax.tree.map(lambda a: a.reshape(BATCH, *a.shape[2:]), whole)

        def epoch(carry, key):
            order = jnp.argsort(jax.random.bits(key, (BATCH,))).reshape(MINIBATCHES, -1)

            def minibatch(carry, index):
                p, moments = carry
                batch = jax.tree.map(lambda a: a.at[index].get(mode="promise_in_bounds"), whole)
                gradient = jax.grad(loss_of)(p, batch)
                change, moments = optimiser.update(gradient, moments, p)
                return (optax.apply_updates(p, change), moments), None

            return lax.scan(minibatch, carry, order)[0], None

        key, for_epochs = jax.random.split(key)
        (p, moments), _ = lax.scan(epoch, (p, moments), jax.random.split(for_epochs, EPOCHS))
        return p, moments, state, key

    p = layers(jax.random.key(2), arguments.inputs)
    row = jax.random.randint(jax.random.key(3), (N_ENVS,), 0, ROWS - EPISODE)
    left = jax.random.randint(jax.random.key(4), (N_ENVS,), 1, EPISODE)
    carry = (p, optimiser.init(p), (row, left, jnp.zeros(N_ENVS)), jax.random.key(5, impl="rbg"))
    carry = jax.block_until_ready(update(carry, data))  # Compiled here.
    updates = -(-arguments.timesteps // BATCH)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(updates):
        carry = update(carry, data)
    jax.block_until_ready(carry)
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps({"steps": updates * BATCH, **seconds}))


if __name__ == "__main__":
    main()
