"""What an exchange brings: where everything lies in it, and views that are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ProtocolError

TRACE_COLUMNS = (
    "ts", "symbol", "close", "open_fill_price", "open_fill_shares", "close_fill_price", "close_fill_shares",
    "shares", "equity",
)  # fmt: skip


@dataclass(frozen=True)
class SlabLayout:
    """Where everything is in a session's slabs."""

    n_envs: int
    obs_len: int
    n_cost_kinds: int
    has_trace: bool
    n_rows: int
    """Environments that a slab describes."""
    is_partial: bool = False
    """Whether these are some of the session's, whose numbers the slab has too."""

    @property
    def max_bytes(self) -> int:
        """The largest slab."""
        return self.head().itemsize + self.n_rows * self.record().itemsize

    @property
    def total_bytes(self) -> int:
        """What a slab takes in shared memory."""
        return -(-self.max_bytes // 64) * 64

    @property
    def max_snapshot_bytes(self) -> int:
        """The largest snapshot of such a session."""
        return 4096 + self.n_envs * 4096 + self.max_bytes

    def head(self) -> np.dtype[np.void]:
        """The part of fixed length: sections at multiples of 64 bytes, up to the first finished record."""
        n = self.n_rows
        fields: list[tuple[str, str, tuple[int, ...]]] = [
            ("observations", "<f4", (n, self.obs_len)),
            ("rewards", "<f4", (n,)),
            ("terminated", "u1", (n,)),
            ("truncated", "u1", (n,)),
        ]
        if self.is_partial:
            fields.append(("env_id", "<u4", (n,)))
        if self.has_trace:
            fields.append(("trace", "<f8", (n * (len(TRACE_COLUMNS) + self.n_cost_kinds),)))
        fields.append(("n_finished", "<u8", ()))
        offsets, end = [], 0
        for _, scalar, shape in fields:
            offsets.append(end)
            end += -(-np.dtype((scalar, shape)).itemsize // 64) * 64
        return np.dtype({
            "names": [name for name, _, _ in fields],
            "formats": [(scalar, shape) for _, scalar, shape in fields],
            "offsets": offsets,
            "itemsize": end,
        })

    def record(self) -> np.dtype[np.void]:
        """One episode that ended."""
        fields = [
            ("env", "<u4"), ("length", "<u4"), ("episode_return", "<f8"), ("final_equity", "<f8"),
            ("turnover", "<f8"), ("max_drawdown", "<f8"), ("trades", "<u8"),
            ("costs", "<f8", (self.n_cost_kinds,)), ("final_obs", "<f4", (self.obs_len,)),
        ]  # fmt: skip
        packed = np.dtype(fields)
        names = list(packed.names or ())
        layout = [packed.fields[name] for name in names]  # type: ignore[index]
        return np.dtype({
            "names": names,
            "formats": [field[0] for field in layout],
            "offsets": [field[1] for field in layout],
            "itemsize": -(-packed.itemsize // 8) * 8,
        })


class Slab:
    """What one exchange brought: views into its buffer, checked, nothing copied."""

    __slots__ = ("_count", "_ends", "_ends_bytes", "_head_bytes", "_layout", "_no_ends", "_peer", "_record", "buffer",
                 "env_id", "finished", "observations", "rewards", "terminated", "trace", "trace_costs", "truncated")

    observations: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    finished: npt.NDArray[np.void]
    """The episodes that ended in this step, a structured array."""
    env_id: npt.NDArray[np.uint32] | None
    """Which environments these are, ascending; none where they are all of the session's."""
    trace: npt.NDArray[np.float64] | None
    """`TRACE_COLUMNS` × environments."""
    trace_costs: npt.NDArray[np.float64] | None
    """Environments × kinds of costs."""

    buffer: npt.NDArray[np.uint8]
    """All of it."""

    def __init__(self, layout: SlabLayout, head: np.dtype[np.void], record: np.dtype[np.void],
                 buffer: npt.NDArray[np.uint8], peer: str) -> None:
        """Views into `buffer`, which has room for the largest slab; what they say counts from `read` on."""

        def section(name: str) -> npt.NDArray[Any]:
            kind, offset = head.fields[name][:2]  # type: ignore[index]
            return np.ndarray(kind.shape or (1,), kind.base, buffer.data, offset)

        self.buffer, self._layout, self._head_bytes, self._record, self._peer = (
            buffer, layout, head.itemsize, record, peer)
        self._count = section("n_finished")
        self.env_id = section("env_id") if layout.is_partial else None
        self._ends = section("terminated"), section("truncated")
        first, last = (head.fields[name][1] for name in ("terminated", "truncated"))  # type: ignore[index]
        self._ends_bytes = buffer[first : last + layout.n_rows].data
        self._no_ends = bytes(len(self._ends_bytes))
        self.observations, self.rewards = section("observations"), section("rewards")
        self.terminated, self.truncated = self._ends[0].view(np.bool_), self._ends[1].view(np.bool_)
        self.finished = buffer[:0].view(record)
        self.trace = self.trace_costs = None
        if layout.has_trace:
            trace, cut = section("trace"), layout.n_rows * len(TRACE_COLUMNS)
            self.trace = trace[:cut].reshape(len(TRACE_COLUMNS), layout.n_rows)
            self.trace_costs = trace[cut:].reshape(layout.n_rows, layout.n_cost_kinds)

    @property
    def length(self) -> int:
        """The bytes that it says it has, but never more than there are."""
        return min(self._head_bytes + int(self._count[0]) * self._record.itemsize, len(self.buffer))

    def read(self, received: int | None = None) -> Slab:
        """Checks what has come: so many bytes, or in shared memory as many as it says itself."""
        layout, peer, n_finished = self._layout, self._peer, int(self._count[0])
        end = self._head_bytes + n_finished * self._record.itemsize
        if n_finished > layout.n_rows or received not in (None, end):
            raise ProtocolError(f"{peer} sent a slab of {received} bytes with {n_finished} finished episodes")
        self.finished = self.buffer[self._head_bytes : end].view(self._record)
        if n_finished and int(self.finished["env"].max()) >= layout.n_envs:
            raise ProtocolError(f"{peer} sent a finished episode of environment {self.finished['env'].max()}")
        if self.env_id is not None:
            if np.any(self.env_id[:-1] >= self.env_id[1:]) or int(self.env_id[-1]) >= layout.n_envs:
                raise ProtocolError(f"{peer} sent a slab of environments that are not open, or not in order")
            if n_finished and not np.isin(self.finished["env"], self.env_id).all():
                raise ProtocolError(f"{peer} sent a finished episode of an environment that the slab is not about")
        # A byte other than 0 and 1 is no boolean, and numpy would not say so. Mostly there are zeros alone, which are
        # found out in less time.
        if bytes(self._ends_bytes) != self._no_ends and max(map(np.maximum.reduce, self._ends)) > 1:
            raise ProtocolError(f"{peer} sent an end of an episode that is neither 0 nor 1")
        return self
