#!/usr/bin/env python3
"""evosax's OpenES on gymnax's CartPole with a population of 256 and a 64-64 network, as one compiled JAX program a
generation. Prints one line of JSON: environment steps a second and a CPU second, compilation left out, steps after an
episode's end counted as if they were real (JAX computes them all the same).

Made with evosax 0.3.2, gymnax 1.0.1 (which needs six) and JAX 0.10.2.
"""

import json
import resource
import sys
import time
from importlib.metadata import version

import gymnax
import jax
import jax.numpy as jnp
from evosax.algorithms import Open_ES

POPULATION, STEPS, GENERATIONS = 256, 500, int(sys.argv[1]) if len(sys.argv) > 1 else 10

environment, parameters = gymnax.make("CartPole-v1")
widths = [4, 64, 64, 2]
keys = jax.random.split(jax.random.key(0), len(widths))
solution = [
    (jax.random.normal(key, (n, m)) / n**0.5, jnp.zeros(m)) for key, n, m in zip(keys, widths[:-1], widths[1:])
]


def act(network, observation):
    for weight, bias in network[:-1]:
        observation = jnp.tanh(observation @ weight + bias)
    weight, bias = network[-1]
    return jnp.argmax(observation @ weight + bias)


def episode(key, network):
    key, begin = jax.random.split(key)
    observation, state = environment.reset(begin, parameters)

    def step(carry, key):
        observation, state, alive = carry
        action = act(network, observation)
        observation, state, reward, terminated, truncated, _ = environment.step(key, state, action, parameters)
        return (observation, state, alive & ~(terminated | truncated)), reward * alive

    keys = jax.random.split(key, STEPS)
    _, rewards = jax.lax.scan(step, (observation, state, True), keys)
    return rewards.sum()


strategy = Open_ES(population_size=POPULATION, solution=solution)
settings = strategy.default_params


@jax.jit
def generation(key, state):
    ask, play, tell = jax.random.split(key, 3)
    population, state = strategy.ask(ask, state, settings)
    returns = jax.vmap(episode)(jax.random.split(play, POPULATION), population)
    state, _ = strategy.tell(tell, population, -returns, state, settings)
    return state, returns.mean()


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


state = strategy.init(jax.random.key(1), solution, settings)
state, mean = jax.block_until_ready(generation(jax.random.key(2), state))
begun, used = time.perf_counter(), cpu_seconds()
for number in range(GENERATIONS):
    state, mean = generation(jax.random.key(3 + number), state)
jax.block_until_ready(mean)
seconds, used = time.perf_counter() - begun, cpu_seconds() - used
steps = POPULATION * STEPS * GENERATIONS
names = ("evosax", "gymnax", "jax")
print(json.dumps({
    "versions": {name: version(name) for name in names}, "steps_per_second": steps / seconds,
    "steps_per_cpu_second": steps / used, "mean_return": float(mean),
}))
