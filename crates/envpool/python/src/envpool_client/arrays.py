"""What a user gives and gets, as arrays: actions as they are sent, and Gymnasium's infos of ended episodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .protocol import AutoresetName

AUTORESET: dict[AutoresetMode, AutoresetName] = {
    AutoresetMode.SAME_STEP: "same-step",
    AutoresetMode.NEXT_STEP: "next-step",
    AutoresetMode.DISABLED: "disabled",
}
_STATISTICS = ("episode_return", "final_equity", "turnover", "max_drawdown", "trades", "costs")


class AsSent:
    """How the actions of `n_envs` environments, each one of `space`, are sent."""

    def __init__(self, space: gym.Space[Any], n_envs: int) -> None:
        self._space = space
        self._is_discrete = isinstance(space, gym.spaces.Discrete)
        self._type: np.dtype[Any] = np.dtype("<i4" if self._is_discrete else "<f4")
        self._shape = (n_envs, *(space.shape or ()))

    def __call__(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`actions` in the type and order in which they are sent; themselves, if they are so."""
        given = np.asarray(actions)
        if given.shape != self._shape:
            raise ValueError(f"actions of shape {given.shape}, where {self._shape} are due: one for each environment")
        if given.dtype == self._type and given.flags.c_contiguous:
            return given
        if self._is_discrete and given.dtype.kind not in "iub":
            raise ValueError(
                f"actions of type {given.dtype}: the action space is {self._space}, so send whole numbers"
            )
        sent = np.ascontiguousarray(given, self._type)
        if self._is_discrete and not np.array_equal(sent, given):
            env = int(np.argmax(sent != given))
            raise ValueError(f"environment {env}: action {given[env]} is not in {self._space}")
        return sent


def infos(finished: npt.NDArray[np.void], rows: npt.NDArray[Any], n_rows: int, mode: AutoresetMode) -> dict[str, Any]:
    """Gymnasium's infos of the episodes that ended, at least one, of which each stands in its row of `n_rows`."""
    mask = np.zeros(n_rows, np.bool_)
    mask[rows] = True
    statistics: dict[str, Any] = {}
    for name, column in (("episode_length", finished["length"].astype(np.int64)),
                         *((name, finished[name]) for name in _STATISTICS)):
        values = np.zeros((n_rows, *column.shape[1:]), column.dtype)
        values[rows] = column
        statistics[name], statistics[f"_{name}"] = values, mask
    if mode is not AutoresetMode.SAME_STEP:
        return statistics
    final_obs = np.full(n_rows, None, dtype=object)
    # Copied, so that one observation that is kept does not keep a whole slab.
    for row, observation in zip(rows.tolist(), finished["final_obs"].copy()):
        final_obs[row] = observation
    return {"final_obs": final_obs, "_final_obs": mask, "final_info": statistics, "_final_info": mask}
