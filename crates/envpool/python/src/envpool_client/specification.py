"""What a server says that it serves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from .errors import ProtocolError


@dataclass(frozen=True)
class Specification:
    """The specification document. Fields that this package does not know are in `document`."""

    environment: str
    observation_len: int
    window: int
    features: tuple[str, ...]
    """Names of the values in one row of features."""
    account: tuple[str, ...]
    """Names of the values that describe the account, which follow the rows."""
    levels: tuple[float, ...]
    """What each discrete action means as a target position; empty where it means none."""
    seed: int
    max_envs: int
    batch: int
    """Environments in one exchange, by default of clients that can take parts of a session; 0 for all of them."""
    cost_kinds: tuple[str, ...]
    market: dict[str, Any] | None
    """Symbols, calendar, days, scaler, rules and provenance; none for environments with a known answer."""
    document: dict[str, Any] = field(repr=False)
    """All of it, as it came."""

    @classmethod
    def from_json(cls, text: str, peer: str) -> Specification:
        """The specification that `text` is."""
        try:
            document = json.loads(text)
            observation, action = document["observation"], document["action"]
            return cls(
                environment=document["environment"],
                observation_len=int(observation["len"]),
                window=int(observation["window"]),
                features=tuple(observation["features"]),
                account=tuple(observation.get("account", ())),
                levels=tuple(action.get("levels", ())),
                seed=int(document["seed"]),
                max_envs=int(document["max_envs"]),
                batch=int(document.get("batch", 0)),
                cost_kinds=tuple(document.get("cost_kinds", ())),
                market=document.get("market"),
                document=document,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"{peer} sent a specification that is not one: {error!r}") from None

    @property
    def observation_space(self) -> gym.spaces.Box:
        """One environment's observations."""
        return gym.spaces.Box(-np.inf, np.inf, (self.observation_len,), np.float32)

    @property
    def action_space(self) -> gym.spaces.Discrete[Any] | gym.spaces.Box:
        """One environment's actions."""
        action = self.document["action"]
        if action["kind"] == "discrete":
            return gym.spaces.Discrete(int(action["n"]))
        if action["kind"] == "box":
            return gym.spaces.Box(np.float32(action["low"]), np.float32(action["high"]), dtype=np.float32)
        raise ProtocolError(f"actions of kind {action['kind']!r}: install a newer envpool-client")

    @property
    def values_per_action(self) -> int:
        """4-byte values that one environment's action takes on the wire."""
        return int(np.prod(self.action_space.shape or (), dtype=np.int64))

    def action_for(self, target: float) -> Any:
        """The action that asks for `target`, a fraction of equity, or for what comes nearest."""
        space = self.action_space
        if isinstance(space, gym.spaces.Box):
            if space.shape == (2,):
                # A direction and a size: flat is long with nothing, as a direction of 0 keeps what is held.
                return np.array([1.0 if target >= 0 else -1.0, abs(target)], np.float32)
            return np.clip(np.full(space.shape, target, np.float32), space.low, space.high)
        if not self.levels:
            raise ValueError(f"the actions of {self.environment} are no target positions: choose one by number")
        return min(range(len(self.levels)), key=lambda action: abs(self.levels[action] - target))
