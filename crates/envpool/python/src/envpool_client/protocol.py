"""The bytes of the protocol, as PROTOCOL.md of the `wire` crate gives them. Pure: nothing here waits or reads."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np

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
