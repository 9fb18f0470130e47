"""The handshake, and sessions on one connection. Not for several threads at once."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from .barrier import Barrier, barrier
from .channel import Channel
from .errors import ProtocolError, Refused, ServerGone
from .memory import SharedMemory, Slots, map_descriptors, map_files
from .posts import Posts
from .protocol import (
    CAN_BATCH,
    CAN_MAP_DESCRIPTORS,
    CAN_MAP_FILES,
    CAN_POST,
    ERROR_CODES,
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    Kind,
    Open,
    Reader,
    Slab,
    SlabLayout,
    decode_header,
    encode_header,
    encode_hello,
)
from .specification import Specification

_CLIENT = "envpool-client 0.1.0"
_MAX_WAKES = 1000
"""More than there ever are of those that a side is sent which is awake already."""
_KEPT_BUFFERS = 4
"""A learner that looks at an observation and the next one has two slabs in hand."""


class Connection:
    """A connection to a server that was spawned (`command`) or listens (`address`, `unix:PATH`)."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]] | None = None,
        address: str | None = None,
        *,
        start_timeout: float = 300.0,
        connect_timeout: float = 20.0,
        answer_timeout: float = 60.0,
        shared_memory: bool = True,
    ) -> None:
        """`start_timeout` is for a server to load its tables and say hello, `connect_timeout` for somebody to
        listen, `answer_timeout` for every answer after; all in seconds. With `shared_memory` actions and slabs travel in
        memory where both sides can map it, and in frames elsewhere; whole batches then need no frames at all where this
        machine has a memory barrier for Python."""
        if (command is None) == (address is None):
            raise ValueError("say either command=['envpool', 'features.parquet'] or address='unix:PATH'")
        if command is not None:
            self.channel = Channel.spawn(command, answer_timeout)
        else:
            assert address is not None
            self.channel = Channel.connect(address, connect_timeout, answer_timeout)
        self._capabilities = CAN_BATCH
        if shared_memory:
            self._capabilities |= CAN_MAP_FILES if command is not None else CAN_MAP_DESCRIPTORS
        self._barrier: Barrier | None = barrier() if shared_memory else None
        if self._barrier is not None:
            self._capabilities |= CAN_POST
        self._n_due = 0
        # Whether a request or an answer has gone or come in part; for good, if an error stopped it.
        self._is_cut = False
        self._next_session = 1
        self._header = bytearray(HEADER_BYTES)
        try:
            self._greet()
            reader = Reader(self._receive_control(Kind.WELCOME, start_timeout), self.peer)
            self.server = reader.string()
            """The server's name and version."""
            self._capabilities &= reader.unsigned(8)
            self.specification = Specification.from_json(reader.string(), self.peer)
            reader.end()
        except BaseException:
            self.channel.close()
            raise

    @property
    def peer(self) -> str:
        """What the server is called in errors."""
        return self.channel.peer

    @property
    def server_pid(self) -> int | None:
        """The process id of a server that was spawned."""
        return self.channel.process.pid if self.channel.process else None

    def open(self, request: Open, *, copy: bool = True) -> Session:
        """Opens a session. It must be reset before it is stepped."""
        number = self._next_session
        self.send(Kind.OPEN, number, request.encode(self._capabilities))
        descriptors: list[int] = []
        by_descriptors = self._capabilities & CAN_MAP_DESCRIPTORS != 0
        reader = Reader(self._receive_control(Kind.OPENED, descriptors=descriptors if by_descriptors else None),
                        self.peer)
        shapes = (reader.unsigned(4), reader.unsigned(4), reader.unsigned(4), bool(reader.unsigned(1)))
        sharing = reader.unsigned(4)
        paths = (reader.string(), reader.string()) if sharing == CAN_MAP_FILES else None
        reader.end()
        asked = (request.n_envs, self.specification.observation_len, len(self.specification.cost_kinds),
                 request.trace)
        if shapes != asked:
            raise ProtocolError(f"{self.peer} opened a session of other shapes than asked for")
        # 0 is inline; files and descriptors are numbered as their capabilities are.
        if sharing and (sharing not in (CAN_MAP_FILES, CAN_MAP_DESCRIPTORS) or not self._capabilities & sharing):
            raise ProtocolError(f"{self.peer} offered memory in a way that was not agreed on")
        self._next_session += 1
        layout = SlabLayout(*asked, n_rows=request.n_rows, is_partial=request.is_partial)
        shared = None
        slots = Slots(4 * layout.n_rows * (self.specification.values_per_action + request.is_partial),
                      layout.total_bytes, request.max_in_flight, request.is_partial)
        if sharing:
            shared = map_files(*paths, slots) if paths else map_descriptors(descriptors, slots)
            self.send(Kind.MAP, number, bytes([shared is not None]))
            self.receive_nothing(Kind.MAPPED, number)
        posts = None
        if shared is not None and self._barrier is not None and self._capabilities & CAN_POST and not request.is_partial:
            posts = Posts(shared.words, self._barrier)
        return Session(self, number, layout, slots.n_slots, copy, shared, posts)

    def send(self, kind: Kind, session: int, *parts: bytes | memoryview, n_due: int = 0) -> None:
        """Sends one request, while `n_due` answers to others are due, which will come first."""
        self.begin_exchange(n_due)
        self.send_begun(kind, session, *parts)

    def begin_exchange(self, n_due: int = 0) -> None:
        """Before a request is sent or posted, or its actions are written: an error if it is not its turn."""
        self.channel.check_open()
        if self._is_cut:
            raise ServerGone(
                f"the last exchange with {self.peer} was cut short, so its answer is still due; "
                "close this connection and open another"
            )
        if self._n_due != n_due:
            raise ValueError(f"an answer of {self.peer} has not been received: receive it before another request")
        self._is_cut = True
        self._n_due += 1

    def send_begun(self, kind: Kind, session: int, *parts: bytes | memoryview) -> None:
        """Sends the request that was begun."""
        self.channel.send(encode_header(kind, session, sum(map(len, parts))), *parts)
        self._is_cut = False

    def post_begun(self, posts: Posts, session: int) -> None:
        """Asks for the step whose actions stand in a session's shared memory: the request that was begun. Without a frame,
        unless the server sleeps."""
        if posts.post():
            self.channel.send(encode_header(Kind.WAKE, session, 0))
        self._is_cut = False

    def receive_posted(self, posts: Posts, session: int) -> bool:
        """Waits for the answer to what was posted: whether it is in the slab, and not in a frame that is yet to be
        received."""
        self.channel.check_open()
        self._is_cut = True
        if not posts.look():
            n_wakes = 0
            while posts.fall_asleep():
                n_wakes = self._count_wake(n_wakes)
                self.receive_header(Kind.WAKE, session, self.channel.answer_timeout)
        if not posts.receive():
            return False
        self.end_exchange()
        return True

    def _count_wake(self, n_wakes: int) -> int:
        """One more; an error if there is no end of them."""
        if n_wakes == _MAX_WAKES:
            raise ProtocolError(f"{self.peer} sent {n_wakes} wake-ups and no answer")
        return n_wakes + 1

    def receive_header(self, due: Kind, session: int, timeout: float | None = None,
                       descriptors: list[int] | None = None) -> int:
        """The length of the answer that is due; a refusal is raised. What comes with it is put into `descriptors`."""
        self._is_cut = True
        n_wakes = 0
        while True:
            if descriptors is not None:
                descriptors += self.channel.receive_with_descriptors_into(memoryview(self._header))
            elif timeout is not None:
                self.channel.receive_into(memoryview(self._header), timeout)
            else:
                self.channel.receive_soon_into(memoryview(self._header))
            if self._header == encode_header(due, session, 0):
                return 0
            kind, number, length = decode_header(self._header, self.peer)
            # One that was sent when this side was no longer asleep.
            if kind is not Kind.WAKE or length != 0:
                break
            n_wakes = self._count_wake(n_wakes)
        if kind is Kind.REFUSED:
            reader = Reader(self._receive_body(length), self.peer)
            code, text = reader.unsigned(4), reader.string()
            raise Refused(self.peer, ERROR_CODES[code] if code < len(ERROR_CODES) else str(code), text)
        if kind is Kind.GOODBYE:
            self.channel.close()
            raise ServerGone(f"{self.peer} went away: it was told to end")
        if kind is not due or number != session:
            what = f"{kind.name} of session {number} where {due.name} of session {session} was due"
            raise ProtocolError(f"{self.peer} sent {what}")
        return length

    def receive_slab_into(self, buffer: memoryview) -> None:
        """The body of a slab, which ends the exchange."""
        self.channel.receive_into(buffer)
        self.end_exchange()

    def end_exchange(self) -> None:
        """The answer has come whole."""
        self._n_due -= 1
        self._is_cut = False

    def receive_nothing(self, due: Kind, session: int) -> None:
        """An answer without a body."""
        if self.receive_header(due, session) != 0:
            raise ProtocolError(f"{self.peer} sent {due.name} with a body")
        self.end_exchange()

    def receive_bytes(self, due: Kind, session: int, most: int) -> bytes:
        """An answer that is kept as it is."""
        length = self.receive_header(due, session)
        if length > most:
            raise ProtocolError(f"{self.peer} sent {due.name} of {length} bytes")
        return self._receive_body(length)

    def close(self) -> None:
        """Closes the connection with all its sessions; a server that was spawned has ended after it."""
        self.channel.close()

    def _greet(self) -> None:
        hello = encode_hello(_CLIENT, self._capabilities)
        self._n_due += 1
        # A server that takes no more clients says so without listening, and hangs up.
        self.channel.send(encode_header(Kind.HELLO, 0, len(hello)), hello, even_if_gone=True)

    def _receive_control(self, due: Kind, timeout: float | None = None,
                         descriptors: list[int] | None = None) -> bytes:
        session = self._next_session if due is Kind.OPENED else 0
        return self._receive_body(self.receive_header(due, session, timeout, descriptors))

    def _receive_body(self, length: int) -> bytes:
        if length > MAX_CONTROL_BYTES:
            raise ProtocolError(f"{self.peer} sent a control message of {length} bytes")
        body = bytearray(length)
        self.channel.receive_into(memoryview(body))
        self.end_exchange()
        return bytes(body)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


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

    def send_reset(self, env_id: npt.NDArray[np.uint32], mask: npt.NDArray[np.bool_] | None = None) -> None:
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
