"""The bytes of the protocol, as PROTOCOL.md of the `wire` crate gives them. Pure: nothing here waits or reads."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import ProtocolError

MAGIC = b"ENVP"
VERSION = 2
_HEADER = struct.Struct("<4sHHIIQ")
HEADER_BYTES = _HEADER.size
MAX_CONTROL_BYTES = 16 << 20
"""No control message is longer; the longest is a specification with a long calendar."""
ERROR_CODES = ("bad-frame", "bad-session", "bad-open", "bad-action", "too-many", "shutting-down", "bad-snapshot")

AutoresetName = Literal["same-step", "disabled", "next-step"]
RangeName = Literal["train", "validation", "test"]
Range = RangeName | tuple[int, int]
"""Which days: a part that the server names, or sessions of its calendar by ordinal, both included."""
Start = Literal["random", "first"]
Episode = Literal["default", "session", "full"] | int
"""How long: as the server was told, to the end of the trading session, of the range, or at most N steps."""


class Kind(enum.IntEnum):
    """What a frame's body is."""

    HELLO = 1
    OPEN = 2
    RESET = 3
    STEP = 4
    CLOSE = 5
    GOODBYE = 6
    SNAPSHOT = 7
    RESTORE = 8
    MAP = 9
    WAKE = 10
    WELCOME = 101
    OPENED = 102
    SLAB = 103
    CLOSED = 104
    REFUSED = 105
    SNAPSHOTTED = 106
    MAPPED = 107


def encode_header(kind: Kind, session: int, length: int) -> bytes:
    """The 24 bytes before every body."""
    return _HEADER.pack(MAGIC, VERSION, kind, session, 0, length)


def decode_header(header: bytes | bytearray | memoryview, peer: str) -> tuple[Kind, int, int]:
    """Kind, session and length of body."""
    magic, version, kind, session, reserved, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise ProtocolError(f"{peer} sent {magic!r}, which is not this protocol (only frames may be on its stdout)")
    if version != VERSION:
        raise ProtocolError(
            f"{peer} speaks protocol version {version} and this package speaks {VERSION}; "
            "install both from one release"
        )
    try:
        named = Kind(kind)
    except ValueError:
        named = None
    if named is None or reserved != 0:
        raise ProtocolError(f"{peer} sent a frame of kind {kind} with reserved field {reserved}")
    return named, session, length


CAN_MAP_FILES = 1
CAN_MAP_DESCRIPTORS = 2
CAN_POST = 4
CAN_BATCH = 8


def encode_hello(client: str, capabilities: int) -> bytes:
    """The first message: a name for logs, and what this side can do."""
    name = client.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<Q", capabilities)


@dataclass(frozen=True)
class Open:
    """What a session is to be."""

    n_envs: int
    seed: int
    range: Range = "train"
    start: Start = "random"
    episode: Episode = "default"
    autoreset: AutoresetName = "same-step"
    trace: bool = False
    liquidate_at_end: bool = False
    hold_account: bool = False
    batch: int = 0
    """How many environments a request names and its answer describes; 0, or `n_envs`, for all of them."""

    @property
    def is_partial(self) -> bool:
        """Whether a request names some of the environments, and not all."""
        return self.batch not in (0, self.n_envs)

    @property
    def n_rows(self) -> int:
        """How many environments an answer describes."""
        return self.batch or self.n_envs

    @property
    def max_in_flight(self) -> int:
        """How many requests may be in flight at once."""
        return max(self.n_envs // max(self.n_rows, 1), 1)

    def encode(self, capabilities: int) -> bytes:
        """The message's bytes between sides that have agreed on `capabilities`; a value that has none is a `ValueError`
        that names it."""
        if self.is_partial and not capabilities & CAN_BATCH:
            raise ValueError("a server without partial batches (install both from one release)")
        batch = _unsigned("batch_size", self.batch, 32)
        return b"".join((
            _unsigned("num_envs", self.n_envs, 32),
            _unsigned("seed", self.seed, 64),
            self._encode_range(),
            struct.pack("<I", _index("start", self.start, ("random", "first"))),
            self._encode_episode(),
            struct.pack("<I3B", _index("autoreset", self.autoreset, ("same-step", "disabled", "next-step")), self.trace,
                        self.liquidate_at_end, self.hold_account),
            batch if capabilities & CAN_BATCH else b"",
        ))

    def _encode_range(self) -> bytes:
        if isinstance(self.range, str):
            return struct.pack("<I", _index("range", self.range, ("train", "validation", "test")))
        try:
            first, last = self.range
        except (TypeError, ValueError):
            raise ValueError(
                f"range={self.range!r}: say 'train', 'validation', 'test' or (first session, last session)"
            ) from None
        return struct.pack("<I", 3) + _unsigned("range", first, 32) + _unsigned("range", last, 32)

    def _encode_episode(self) -> bytes:
        if isinstance(self.episode, str):
            return struct.pack("<I", {0: 0, 1: 2, 2: 3}[_index("episode", self.episode,
                                                              ("default", "session", "full"))])
        return struct.pack("<I", 1) + _unsigned("episode", self.episode, 32)


def _unsigned(name: str, value: int, bits: int) -> bytes:
    whole = int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else -1
    if not 0 <= whole < 1 << bits:
        raise ValueError(f"{name}={value!r}: say a whole number from 0 to {(1 << bits) - 1}")
    return whole.to_bytes(bits // 8, "little")


def _index(name: str, value: str, choices: tuple[str, ...]) -> int:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: say one of {', '.join(map(repr, choices))}")
    return choices.index(value)


def snapshot_seed(snapshot: bytes) -> int | None:
    """The seed of the session that a snapshot is of; none if these bytes are no snapshot of this release."""
    if len(snapshot) < 16 or snapshot[:8] != b"ENVSNAP3":
        return None
    return int.from_bytes(snapshot[8:16], "little")


class Reader:
    """Takes a control message apart; every byte must belong to it."""

    def __init__(self, body: bytes, peer: str) -> None:
        self._body, self._at, self._peer = body, 0, peer

    def unsigned(self, n_bytes: int) -> int:
        """The next integer."""
        return int.from_bytes(self._take(n_bytes), "little")

    def string(self) -> str:
        """The next string."""
        length = self.unsigned(8)
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"{self._peer} sent a text that is not UTF-8") from None

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._body):
            raise ProtocolError(f"{self._peer} sent {len(self._body) - self._at} bytes too many")

    def _take(self, n_bytes: int) -> bytes:
        taken = self._body[self._at : self._at + n_bytes]
        if len(taken) != n_bytes:
            raise ProtocolError(f"{self._peer} sent a control message that is cut short")
        self._at += n_bytes
        return taken


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
        # A byte other than 0 and 1 is no boolean, and numpy would not say so. Mostly there are zeros alone, and to find
        # that out takes a fifth of the time.
        if bytes(self._ends_bytes) != self._no_ends and max(map(np.maximum.reduce, self._ends)) > 1:
            raise ProtocolError(f"{peer} sent an end of an episode that is neither 0 nor 1")
        return self
