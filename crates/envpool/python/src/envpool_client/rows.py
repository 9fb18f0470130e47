"""Rows of several answers put together, for batches that do not come out even."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .slab import Slab


@dataclass(frozen=True)
class Rows:
    """What an answer says of some environments, row by row."""

    env_id: npt.NDArray[np.int32]
    observations: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    trace: npt.NDArray[np.float64] | None
    """Here a row for each environment."""
    trace_costs: npt.NDArray[np.float64] | None
    finished: npt.NDArray[np.void]

    @classmethod
    def of(cls, slab: Slab, env_id: npt.NDArray[np.int32]) -> Rows:
        """Those of a slab."""
        trace = None if slab.trace is None else slab.trace.T
        return cls(env_id, slab.observations, slab.rewards, slab.terminated, slab.truncated, trace, slab.trace_costs,
                   slab.finished)

    def at(self, rows: npt.NDArray[Any]) -> Rows:
        """Some of them."""
        env_id = self.env_id[rows]
        parts = (None if part is None else part[rows] for part in self._parts())
        finished = self.finished[np.isin(self.finished["env"], env_id)]
        return Rows(env_id, *parts, finished)  # type: ignore[arg-type, call-arg]

    def after(self, n: int) -> Rows:
        """All but the first."""
        return self.at(np.arange(n, len(self.env_id)))

    def with_more(self, more: Rows) -> Rows:
        """These, then `more`."""
        pairs = zip(self._parts(), more._parts())
        parts = (None if one is None or other is None else np.concatenate([one, other]) for one, other in pairs)
        finished = np.concatenate([self.finished, more.finished])
        return Rows(np.concatenate([self.env_id, more.env_id]), *parts, finished)  # type: ignore[arg-type, call-arg]

    def _parts(self) -> tuple[npt.NDArray[Any] | None, ...]:
        return self.observations, self.rewards, self.terminated, self.truncated, self.trace, self.trace_costs
