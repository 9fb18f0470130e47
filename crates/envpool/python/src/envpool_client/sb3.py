"""`Sb3VecEnv`: a `VectorEnv` as Stable-Baselines3 wants it. Importing this module imports Stable-Baselines3."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(
        f"envpool_client.sb3 needs Stable-Baselines3 ({error}); install it with `pip install stable-baselines3`"
    ) from None

from .vector_env import VectorEnv


class Sb3VecEnv(VecEnv):
    """A `VectorEnv` in same-step mode. `infos[i]` of an episode that ended holds `terminal_observation`,
    `TimeLimit.truncated` (so that a cut episode is bootstrapped), `episode` as SB3's Monitor has it, and the
    statistics of the server."""

    def __init__(self, env: VectorEnv) -> None:
        if env.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ValueError("Stable-Baselines3 wants VectorEnv(autoreset_mode=AutoresetMode.SAME_STEP)")
        self.env = env
        self._begun = time.monotonic()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """First observations; with the seed that `seed` has set, if any."""
        seeds = [seed for seed in getattr(self, "_seeds", ()) if seed is not None]
        observations, _ = self.env.reset(seed=seeds[0] if seeds else None)
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for forget in ("_reset_seeds", "_reset_options"):
            getattr(self, forget, lambda: None)()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Sends actions."""
        self.env.step_async(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """What they have brought: observations, rewards, dones, infos."""
        observations, rewards, terminated, truncated, _ = self.env.step_wait()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        finished = self.env.finished
        if finished is not None and len(finished):
            seconds = round(time.monotonic() - self._begun, 6)
            for record in finished:
                env, costs = int(record["env"]), record["costs"].tolist()
                infos[env] = {
                    "terminal_observation": record["final_obs"].copy(),
                    "TimeLimit.truncated": bool(truncated[env] and not terminated[env]),
                    "episode": {"r": float(record["episode_return"]), "l": int(record["length"]), "t": seconds},
                    "final_equity": float(record["final_equity"]),
                    "turnover": float(record["turnover"]),
                    "max_drawdown": float(record["max_drawdown"]),
                    "trades": int(record["trades"]),
                    "costs": dict(zip(self.env.specification.cost_kinds, costs)),
                }
        return observations, rewards, terminated | truncated, infos

    def close(self) -> None:
        """Ends the session, and the server if it was started for it."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute, which all environments share."""
        return [getattr(self.env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Refused: the environments live in the server."""
        raise NotImplementedError(f"cannot set {attr_name}: the environments live in the server")

    def env_method(self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None,
                   **method_kwargs: Any) -> list[Any]:
        """Refused: the environments live in the server."""
        raise NotImplementedError(f"cannot call {method_name}: the environments live in the server")

    def env_is_wrapped(self, wrapper_class: type, indices: int | Iterable[int] | None = None) -> list[bool]:
        """No single environment is wrapped; but each reports its episodes as SB3's Monitor does."""
        return [wrapper_class.__name__ == "Monitor"] * len(self._chosen(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """There is nothing to see."""
        return [None] * self.num_envs

    def _chosen(self, indices: int | Iterable[int] | None) -> Sequence[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else list(indices)
