"""The handshake, and the exchanges of one connection. Not for several threads at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType

from .barrier import Barrier, barrier
from .channel import Channel
from .errors import ProtocolError, Refused, ServerGone
from .memory import Slots, map_descriptors, map_files
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
    decode_header,
    encode_header,
    encode_hello,
)
from .session import Session
from .slab import SlabLayout
from .specification import Specification

_CLIENT = "envpool-client 0.1.0"
_MAX_WAKES = 1000
"""More than there ever are of those that a side is sent which is awake already."""


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
        try:
            return self._receive_opened(request, number, copy, descriptors)
        finally:
            # What is mapped stays so without them.
            for descriptor in descriptors:
                os.close(descriptor)

    def _receive_opened(self, request: Open, number: int, copy: bool, descriptors: list[int]) -> Session:
        """The session that was asked for under this number. What comes with the answer is put into `descriptors`."""
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
