"""A batch of environments on a connection: what is asked of it, and what comes back."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import ProtocolError
from .memory import SharedMemory
from .posts import Posts
from .protocol import Kind
from .slab import Slab, SlabLayout

if TYPE_CHECKING:
    from .connection import Connection

_KEPT_BUFFERS = 4
"""A learner that looks at an observation and the next one has two slabs in hand."""


class Session:
    """A batch of environments on a connection; with partial batches each request names some of them, and up to
    `max_in_flight` of them may be without an answer. Answers come in the order of the requests."""

    def __init__(self, connection: Connection, number: int, layout: SlabLayout, max_in_flight: int, copy: bool,
                 shared: SharedMemory | None, posts: Posts | None) -> None:
        self.connection, self.number, self.layout, self.max_in_flight = connection, number, layout, max_in_flight
        self._shared, self._posts = shared, posts
        # Whether the last request was posted, and not sent in a frame.
        self._is_posted = False
        self._head, self._record = layout.head(), layout.record()
        self._max_bytes = layout.max_bytes
        # Those that are read where they lie are taken apart once.
        self._in_place: dict[int, Slab] = {}
        self._buffers = _Buffers(self._max_bytes, kept=_KEPT_BUFFERS) if copy else None
        self._n_turns = 0
        # Where the answers to the requests in flight will lie, the oldest first.
        self._in_flight: deque[int] = deque()

    @property
    def in_flight(self) -> int:
        """How many requests have been sent whose answers have not been received."""
        return len(self._in_flight)

    def reset(self, mask: npt.NDArray[np.bool_] | None = None) -> Slab:
        """New episodes where `mask` is true, or everywhere."""
        self.send_whole_reset(mask)
        return self.receive()

    def send_whole_reset(self, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """`reset` without waiting."""
        self._send(Kind.RESET, b"" if mask is None else np.ascontiguousarray(mask, np.uint8).tobytes())

    def send_reset(self, env_id: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Asks for new episodes of the environments `env_id`, ascending, where `mask` is true, and to see all of them;
        without waiting."""
        masked = b"" if mask is None else np.ascontiguousarray(mask, np.uint8).tobytes()
        self._send(Kind.RESET, env_id.astype("<u4").tobytes(), masked)

    def send(self, actions: npt.NDArray[Any], env_id: npt.NDArray[np.uint32] | None = None) -> None:
        """Sends actions without waiting: contiguous little-endian i4, or f4 for a box; with partial batches those of the
        environments `env_id`, ascending."""
        parts = [actions.data.cast("B")]
        if env_id is not None:
            parts.insert(0, np.ascontiguousarray(env_id, "<u4").data.cast("B"))
        self.connection.begin_exchange(self._n_due)
        slot = self._n_turns % self.max_in_flight
        is_written = self._shared is not None and self._shared.write_request(slot, *parts)
        posts = self._posts if is_written else None
        if posts is not None:
            self.connection.post_begun(posts, self.number)
        else:
            self.connection.send_begun(Kind.STEP, self.number, *([] if is_written else parts))
        self._went(is_posted=posts is not None)

    def _send(self, kind: Kind, *parts: bytes | memoryview) -> None:
        self.connection.send(kind, self.number, *parts, n_due=self._n_due)
        self._went(is_posted=False)

    @property
    def _n_due(self) -> int:
        """Answers that may be due when a request is sent."""
        return len(self._in_flight) if self.layout.is_partial else 0

    def _went(self, is_posted: bool) -> None:
        self._is_posted = is_posted
        self._in_flight.append(self._n_turns % self.max_in_flight)
        self._n_turns += 1

    @property
    def is_shared(self) -> bool:
        """Whether actions and slabs travel in shared memory."""
        return self._shared is not None

    def receive(self) -> Slab:
        """What the oldest request without an answer has brought."""
        connection = self.connection
        if not self._in_flight:
            raise ValueError("nothing is in flight, so nothing can be received: send actions, or reset, first")
        slot = self._in_flight.popleft()
        if self._is_posted and self._posts is not None and connection.receive_posted(self._posts, self.number):
            return self._read_shared(slot)
        length = connection.receive_header(Kind.SLAB, self.number)
        if length == 0 and self._shared is not None:
            self.connection.channel.tell(self._shared.took)
            connection.end_exchange()
            return self._read_shared(slot)
        if not self._head.itemsize <= length <= self._max_bytes:
            raise ProtocolError(f"{connection.peer} sent a slab of {length} bytes")
        slab = self._slab_of_own()
        connection.receive_slab_into(slab.buffer[:length].data)
        return slab.read(length)

    def snapshot(self) -> bytes:
        """The session's whole state, for `restore` of a session that was opened in the same way on a server that
        serves the same."""
        self.connection.send(Kind.SNAPSHOT, self.number)
        return self.connection.receive_bytes(Kind.SNAPSHOTTED, self.number, self.layout.max_snapshot_bytes)

    def restore(self, snapshot: bytes) -> Slab:
        """Goes back to where the session was when `snapshot` was taken, and what its last exchange had brought."""
        if len(snapshot) > self.layout.max_snapshot_bytes:
            raise ValueError(f"a snapshot of {len(snapshot)} bytes, where {self.layout.max_snapshot_bytes} are the most")
        self._send(Kind.RESTORE, snapshot)
        return self.receive()

    def close(self) -> None:
        """Frees the session."""
        self.connection.send(Kind.CLOSE, self.number)
        self.connection.receive_nothing(Kind.CLOSED, self.number)

    def _read_shared(self, slot: int) -> Slab:
        assert self._shared is not None
        if slot not in self._in_place:
            self._in_place[slot] = self._slab_in(self._shared.slab(slot))
        slab = self._in_place[slot]
        if self._buffers is None:
            return slab.read()
        length = slab.length
        copy = self._slab_in(self._buffers.take())
        copy.buffer[:length] = slab.buffer[:length]
        return copy.read(length)

    def _slab_of_own(self) -> Slab:
        """A slab for a frame to be read into."""
        if self._buffers is not None:
            return self._slab_in(self._buffers.take())
        if not self._in_place:
            self._in_place[0] = self._slab_in(np.empty(self._max_bytes, np.uint8))
        return self._in_place[0]

    def _slab_in(self, buffer: npt.NDArray[np.uint8]) -> Slab:
        return Slab(self.layout, self._head, self._record, buffer, self.connection.peer)


class _Buffers:
    """Memory for slabs, each its holder's own for as long as anything refers to it. What nobody refers to any more
    is used again: fresh memory would cost more (its pages are faulted in one by one) than what is written to it."""

    def __init__(self, n_bytes: int, kept: int) -> None:
        self._buffers = [np.empty(n_bytes, np.uint8) for _ in range(kept)]
        # How many references are none of a holder's differs between interpreters, so it is counted now.
        self._unheld = [self._references(i) for i in range(kept)]

    def take(self) -> npt.NDArray[np.uint8]:
        """Memory that nobody else refers to."""
        for i, unheld in enumerate(self._unheld):
            if self._references(i) == unheld:
                return self._buffers[i]
        return np.empty(self._buffers[0].size, np.uint8)

    def _references(self, i: int) -> int:
        return sys.getrefcount(self._buffers[i])
