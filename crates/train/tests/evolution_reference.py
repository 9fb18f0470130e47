"""The updates of the evolution strategies once more, in numpy and 64 bits, written from the papers. Reads one JSON
document from standard input, with the noise of every generation, and writes where the centre stands after each."""

import json
import sys

import numpy as np


def ranks(fitness):
    """Between -1/2 and 1/2; equals share the mean of their ranks."""
    below = (fitness[None, :] < fitness[:, None]).sum(axis=1)
    equal = (fitness[None, :] == fitness[:, None]).sum(axis=1)
    return (below + (equal - 1) / 2) / (len(fitness) - 1) - 0.5


def members(noise):
    """The noise of each member: a pair's, and its mirror image."""
    return np.stack([noise, -noise], axis=1).reshape(-1, noise.shape[1])


def openes(case):
    x, sigma = np.array(case["centre"]), case["sigma"]
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step, generation in enumerate(case["generations"], 1):
        fitness, noise = np.array(generation["fitness"]), members(np.array(generation["delta"])) / sigma
        estimate = ranks(fitness) @ noise / (len(fitness) * sigma)
        gradient = case["weight_decay"] * x - estimate
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x = x - case["learning_rate"] * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        yield x


def cem(case):
    x = np.array(case["centre"])
    for generation in case["generations"]:
        fitness, delta = np.array(generation["fitness"]), members(np.array(generation["delta"]))
        best = np.argsort(-fitness, kind="stable")[: int(np.ceil(case["elite"] * len(fitness)))]
        elite = x + delta[best]
        x = elite.mean(axis=0)
        yield np.concatenate([x, elite.var(axis=0)])


def ars(case):
    x, nu = np.array(case["centre"]), case["sigma"]
    for generation in case["generations"]:
        fitness, noise = np.array(generation["fitness"]).reshape(-1, 2), np.array(generation["delta"]) / nu
        best = np.argsort(-fitness.max(axis=1), kind="stable")[: int(np.ceil(case["top"] * len(fitness)))]
        deviation = fitness[best].std()
        steps = (fitness[best, 0] - fitness[best, 1]) @ noise[best]
        x = x + case["learning_rate"] / (len(best) * deviation) * steps
        yield x


cases = json.load(sys.stdin)
rules = {"openes": openes, "cem": cem, "ars": ars}
json.dump({name: [list(x) for x in rules[name](case)] for name, case in cases.items()}, sys.stdout)
