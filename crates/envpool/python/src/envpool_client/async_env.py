"""`AsyncEnv`: some environments step in the server while the policy looks at others, in the manner of EnvPool."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .arrays import AsSent, infos
from .errors import Refused
from .opened import Command, Opened, Step, asked_of, connected
from .protocol import Episode, Range, Start
from .rows import Rows
from .slab import TRACE_COLUMNS


class AsyncEnv(Opened):
    """`num_envs` environments, of which `recv` gives `batch_size` at a time.

        env = AsyncEnv(command=["envpool", "features.parquet"], num_envs=256, batch_size=64)
        env.async_reset()
        while True:
            observations, rewards, terminated, truncated, info = env.recv()
            env.send(policy(observations), info["env_id"])

    The names are those of EnvPool's API. What differs: first sent is first received, not whoever is ready first, so
    that equal actions give equal bits, for any batch size; `info["env_id"]` is ascending; and a mistake is an error that
    names the environment. Up to `num_envs // batch_size` batches are on their way at once.

    `batch_size` defaults to the server's (`--batch`), or to all. The other arguments, and `info` of ended
    episodes, are those of `VectorEnv`; `action_space` and `observation_space` are one environment's. With
    `copy=False` what `recv` gives are views that hold until as many batches more have been sent as can be on their way.
    """

    def __init__(
        self,
        command: Command | None = None,
        address: str | None = None,
        *,
        num_envs: int | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        range: Range = "train",
        start: Start = "random",
        episode: Episode = "default",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        copy: bool = True,
        trace: bool = False,
        liquidate_at_end: bool = False,
        connect_timeout: float = 20.0,
        answer_timeout: float = 60.0,
        shared_memory: bool = True,
    ) -> None:
        self._mode = AutoresetMode(autoreset_mode)
        with connected(command, address, num_envs, connect_timeout=connect_timeout, answer_timeout=answer_timeout,
                       shared_memory=shared_memory) as self.connection:
            specification = self.specification
            asked = asked_of(specification, num_envs=num_envs, seed=seed, range=range, start=start, episode=episode,
                             mode=self._mode, trace=trace, liquidate_at_end=liquidate_at_end)
            n_envs = asked.n_envs
            if batch_size is not None and not 0 < batch_size <= n_envs:
                raise ValueError(f"batch_size={batch_size!r}: say a number from 1 to num_envs, which is {n_envs}")
            if batch_size is None and specification.batch <= n_envs:
                batch_size = specification.batch
            asked = replace(asked, batch=batch_size or n_envs)
            self.num_envs, self.batch_size = n_envs, asked.n_rows
            # Where batches do not come out even, rows of several answers make up a batch, so they are kept.
            self._is_even = n_envs % self.batch_size == 0
            self._open_session(asked, copy or not self._is_even)
            self.observation_space, self.action_space = specification.observation_space, specification.action_space
        self._as_sent = AsSent(self.action_space, self.batch_size)
        self.all_env_ids = np.arange(n_envs, dtype=np.int32)
        self._is_away = np.zeros(n_envs, np.bool_)
        self._away: deque[npt.NDArray[np.int32]] = deque()
        self._left: Rows | None = None
        self._given = self.all_env_ids[:0]
        self._slab: Rows | None = None

    @property
    def in_flight(self) -> int:
        """How many batches have been asked for and not been received."""
        return self._session.in_flight

    @property
    def trace(self) -> dict[str, npt.NDArray[np.float64]] | None:
        """What the steps of the last batch did, column by column, and `costs` by row and kind; with `trace=True`."""
        if self._slab is None or self._slab.trace is None or self._slab.trace_costs is None:
            return None
        return {**dict(zip(TRACE_COLUMNS, self._slab.trace.T)), "costs": self._slab.trace_costs}

    def async_reset(self, env_id: npt.NDArray[Any] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Starts new episodes in all environments, which `recv` then gives batch by batch; what was on its way is
        forgotten. With `env_id` (as many as a batch has) it is about these alone, and new episodes start where
        `mask` is true."""
        if env_id is None:
            if mask is not None:
                raise ValueError("a mask needs the environments that it is about: async_reset(env_id, mask)")
            self._ask_all(None)
            return
        ids, order = self._as_asked(env_id)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != np.bool_ or mask.shape != ids.shape:
                raise ValueError(f"mask must be a numpy array of {self.batch_size} booleans")
            mask = mask if order is None else mask[order]
        self._ask_reset(ids, mask)

    def send(self, actions: npt.NDArray[Any], env_id: npt.NDArray[Any] | None = None) -> None:
        """Sends the actions of the environments `env_id`, in any order, without waiting; without `env_id` those of the
        environments that `recv` gave last."""
        ids, order = self._as_asked(self._given if env_id is None else env_id)
        sent = self._as_sent(actions)
        if order is not None:
            sent = np.ascontiguousarray(sent[order])
        self._session.send(sent, ids.astype(np.uint32) if self._open.is_partial else None)
        self._went(ids)

    def recv(self) -> Step:
        """The batch that was asked for longest ago: observations, rewards, terminated, truncated, and `info` with
        `env_id`, ascending. If the server refused an action, that is raised, and its environments can be sent again."""
        rows = self._receive() if self._is_even else self._gather()
        self._slab, self._given = rows, rows.env_id
        ended: dict[str, Any] = {}
        if len(rows.finished):
            ended = infos(rows.finished, np.searchsorted(rows.env_id, rows.finished["env"]), self.batch_size, self._mode)
        return rows.observations, rows.rewards, rows.terminated, rows.truncated, {"env_id": rows.env_id, **ended}

    def step(self, actions: npt.NDArray[Any], env_id: npt.NDArray[Any] | None = None) -> Step:
        """`send`, then `recv`: with more than one batch on their way these are others than were sent."""
        self.send(actions, env_id)
        return self.recv()

    def snapshot(self) -> bytes:
        """The whole state of all environments, for `restore` here or in another `AsyncEnv` that was made in the same way
        but for its seed. Nothing may be on its way."""
        if self.in_flight:
            raise ValueError(f"{self.in_flight} batches are on their way: recv them before a snapshot")
        return self._session.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Goes back to where `snapshot` was taken. `recv` then gives the environments as they were, batch by batch, with
        rewards of 0; what was on its way is forgotten."""
        self._forget()
        self._go_back(snapshot)
        self._ask_all(np.zeros(self.batch_size, np.bool_))

    def close(self) -> None:
        """Ends the session, and the server if it was started for it."""
        self.connection.close()

    def __enter__(self) -> AsyncEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_all(self, mask: npt.NDArray[np.bool_] | None) -> None:
        self._forget()
        for first in range(0, self.num_envs, self.batch_size):
            # The last batch may name some again, which keep the episodes that they have just begun.
            start = min(first, self.num_envs - self.batch_size)
            self._ask_reset(self.all_env_ids[start : start + self.batch_size], mask)
            if not self._is_even:
                rows = self._receive().after(first - start)
                self._left = rows if self._left is None else self._left.with_more(rows)

    def _ask_reset(self, ids: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_] | None) -> None:
        if self._open.is_partial:
            self._session.send_reset(ids, mask)
        else:
            self._session.send_whole_reset(mask)
        self._went(ids)

    def _forget(self) -> None:
        while self._away:
            try:
                self._receive()
            except Refused:
                continue
        self._left = None

    def _went(self, ids: npt.NDArray[np.int32]) -> None:
        self._is_away[ids] = True
        self._away.append(ids)

    def _receive(self) -> Rows:
        if not self._away:
            raise ValueError("nothing is on its way: async_reset or send first")
        ids = self._away.popleft()
        self._is_away[ids] = False
        return Rows.of(self._session.receive(), ids)

    def _gather(self) -> Rows:
        """As many rows as a batch has, those first that have waited longest."""
        rows = self._left
        if rows is None or len(rows.env_id) < self.batch_size:
            more = self._receive()
            rows = more if rows is None else rows.with_more(more)
        left = rows.after(self.batch_size)
        self._left = left if len(left.env_id) else None
        return rows.at(np.argsort(rows.env_id[: self.batch_size]))

    def _as_asked(self, env_id: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any] | None]:
        """Environments in ascending order, and where each of them stood; none if they stood so already."""
        given = np.asarray(env_id)
        if given.shape != (self.batch_size,) or given.dtype.kind not in "iu":
            raise ValueError(f"env_id of shape {given.shape} and type {given.dtype}, where {self.batch_size} whole "
                             "numbers are due: the environments that this is about")
        order = None if (given[1:] > given[:-1]).all() else np.argsort(given, kind="stable")
        ordered = given if order is None else given[order]
        for wrong in (ordered[0], ordered[-1]):
            if not 0 <= wrong < self.num_envs:
                raise ValueError(f"environment {wrong} is not one of the {self.num_envs} (0 to {self.num_envs - 1})")
        if order is not None and (ordered[1:] == ordered[:-1]).any():
            raise ValueError(f"environment {ordered[1:][ordered[1:] == ordered[:-1]][0]} is named twice")
        # A copy, as the caller may write to its own before this has been received.
        ids: npt.NDArray[np.int32] = ordered.astype(np.int32)
        is_away = self._is_away[ids]
        if is_away.any():
            raise ValueError(f"environment {ids[is_away][0]} is on its way: recv it before it is asked for again")
        waiting = ids[:0] if self._left is None else np.intersect1d(ids, self._left.env_id)
        if len(waiting):
            raise ValueError(f"environment {waiting[0]} has not been received: recv it before it is asked for again")
        return ids, order
