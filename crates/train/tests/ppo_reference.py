"""PPO's arithmetic once more, in numpy and 64 bits, written from the papers: generalised advantage estimation, the
losses, and a whole update with Adam. Reads one JSON document from standard input and writes one to standard output."""

import json
import sys

import numpy as np


def advantages(case):
    """Sums of discounted temporal differences, forwards from each step, as the definition has them."""
    shape = (case["steps"], case["n_envs"])
    reward, value, final = (np.array(case[key]).reshape(shape) for key in ("rewards", "values", "final_values"))
    ended = np.array(case["ended"]).reshape(shape)
    following = np.vstack([value[1:], np.array(case["last_values"])])
    following = np.where(ended, final, following)
    delta = reward + case["gamma"] * following - value
    result = np.zeros(shape)
    for step in range(shape[0]):
        weight = np.ones(shape[1])
        for later in range(step, shape[0]):
            result[step] += weight * delta[later]
            weight = weight * case["gamma"] * case["lambda"] * ~ended[later]
    return result


class Dense:
    def __init__(self, case, network):
        names = [name for name in case["parameters"] if name.startswith(network + ".") and name.endswith(".weight")]
        self.names = [name[: -len(".weight")] for name in sorted(names, key=lambda name: int(name.split(".")[1]))]
        self.tanh = case["activation"] == "tanh"

    def forward(self, parameters, x):
        self.inputs = []
        for i, name in enumerate(self.names):
            self.inputs.append(x)
            x = x @ parameters[name + ".weight"].T + parameters[name + ".bias"]
            if i + 1 < len(self.names):
                x = np.tanh(x) if self.tanh else np.maximum(x, 0)
        return x

    def backward(self, parameters, slope, gradients):
        for i in reversed(range(len(self.names))):
            name, x = self.names[i], self.inputs[i]
            gradients[name + ".weight"] = slope.T @ x
            gradients[name + ".bias"] = slope.sum(axis=0)
            slope = slope @ parameters[name + ".weight"]
            slope = slope * ((1 - x**2) if self.tanh else (x > 0)) if i else slope


def loss_and_slopes(case, outputs, values, deviation, rows):
    """The losses of a minibatch, and their slopes by what the networks put out."""
    n = len(rows)
    pick = lambda key: np.array(case[key])[rows]
    advantage = pick("advantages")
    advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    if case["discrete"]:
        action = pick("actions")[:, 0].astype(int)
        p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        p = p / p.sum(axis=1, keepdims=True)
        log_probability = np.log(p[np.arange(n), action])
        entropy = -(p * np.log(p)).sum(axis=1)
        score = np.eye(p.shape[1])[action] - p
        entropy_slope = -p * (np.log(p) + entropy[:, None])
    else:
        sigma = np.exp(deviation)
        z = (pick("actions") - outputs) / sigma
        log_probability = (-0.5 * z**2 - deviation - 0.5 * np.log(2 * np.pi)).sum(axis=1)
        entropy = np.full(n, (deviation + 0.5 * np.log(2 * np.pi * np.e)).sum())
        score = z / sigma
        entropy_slope = np.zeros_like(outputs)
    log_ratio = log_probability - pick("log_probabilities")
    ratio = np.exp(log_ratio)
    clip = case["clip"]
    free, bound = ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage
    policy_loss = -np.minimum(free, bound)
    by_log_probability = np.where(free <= bound, -free, 0.0)

    old, target, value_clip = pick("values"), pick("returns"), case["value_clip"]
    error = values - target
    value_loss, value_slope = 0.5 * error**2, error
    if value_clip > 0:
        moved = values - old
        bounded = 0.5 * (old + np.clip(moved, -value_clip, value_clip) - target) ** 2
        # Within its bounds a value is free, whatever rounding makes of the two losses.
        is_bounded = (np.abs(moved) > value_clip) & (bounded > value_loss)
        value_slope = np.where(is_bounded, 0.0, value_slope)
        value_loss = np.where(is_bounded, bounded, value_loss)

    output_slope = (by_log_probability[:, None] * score - case["entropy_coefficient"] * entropy_slope) / n
    gradients = {}
    if not case["discrete"]:
        by_deviation = by_log_probability[:, None] * (z**2 - 1) - case["entropy_coefficient"]
        gradients["policy.log_deviation"] = by_deviation.sum(axis=0) / n
    sums = {
        "policy": policy_loss.sum(),
        "value": value_loss.sum(),
        "entropy": entropy.sum(),
        "approx_kl": (ratio - 1 - log_ratio).sum(),
        "clipped": (np.abs(ratio - 1) > clip).sum(),
    }
    return sums, output_slope, (case["value_coefficient"] * value_slope / n)[:, None], gradients


def update(case):
    parameters = {name: np.array(p["values"]).reshape(p["shape"]) for name, p in case["parameters"].items()}
    observations = np.array(case["observations"]).reshape(-1, case["observation_len"])
    policy, value = Dense(case, "policy"), Dense(case, "value")
    first = {name: np.zeros_like(p) for name, p in parameters.items()}
    second = {name: np.zeros_like(p) for name, p in parameters.items()}
    totals, norms, samples = {}, [], 0
    for step, rows in enumerate(case["minibatches"], start=1):
        x = observations[rows]
        outputs, values = policy.forward(parameters, x), value.forward(parameters, x)[:, 0]
        deviation = parameters.get("policy.log_deviation")
        sums, output_slope, value_slope, gradients = loss_and_slopes(case, outputs, values, deviation, rows)
        policy.backward(parameters, output_slope, gradients)
        value.backward(parameters, value_slope, gradients)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        norms.append(norm)
        scale = min(1.0, case["max_grad_norm"] / norm)
        for name, gradient in gradients.items():
            g = gradient * scale
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            parameters[name] = parameters[name] - case["learning_rate"] * m / (np.sqrt(v) + 1e-5)
        samples += len(rows)
        for key, total in sums.items():
            totals[key] = totals.get(key, 0.0) + float(total)
    flat = lambda tensors: {name: tensor.ravel().tolist() for name, tensor in tensors.items()}
    return {
        "parameters": flat(parameters),
        "first_moment": flat(first),
        "second_moment": flat(second),
        "losses": {key: total / samples for key, total in totals.items()},
        "grad_norm": float(np.mean(norms)),
    }


document = json.load(sys.stdin)
answer = {"advantages": advantages(document["gae"]).ravel().tolist(), "updates": [update(c) for c in document["updates"]]}
json.dump(answer, sys.stdout)
