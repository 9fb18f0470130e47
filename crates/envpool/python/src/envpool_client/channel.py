"""The byte stream to a server, and its process where it is ours. Every wait has an end."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from typing import Any

from .awake import Spinner
from .errors import NotReached, ServerGone, ServerTimeout

_EXIT_LIMIT_SECONDS = 2.0
"""How long a server that was told to go may take before it is killed."""
_PIPE_BYTES = 1 << 20
_MAX_EARLY_BYTES = 1 << 30
"""The most that is kept of answers that come early."""


class Channel:
    """Bytes out and in. Each byte of progress starts the limit of a wait anew."""

    def __init__(self, reader: int, writer: int, process: subprocess.Popen[bytes] | None, peer: str,
                 answer_timeout: float) -> None:
        self.peer = peer
        self.process = process
        self._reader, self._writer = reader, writer
        self.answer_timeout = answer_timeout
        """How many seconds of silence are waited for an answer."""
        self._spinner = Spinner()
        # Also when this value is forgotten and at the interpreter's end, so that no server is left over.
        self._end = weakref.finalize(self, _end, {reader, writer}, process, _EXIT_LIMIT_SECONDS)
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reader, select.POLLIN)
        self._writable.register(writer, select.POLLOUT)
        # Where several requests are in flight, a server may wait for its answers to be read before it reads on. What
        # comes while a request is being written is therefore read at once, and kept here.
        self._early = bytearray()
        self._either = select.poll()
        self._either.register(reader, select.POLLIN)
        if writer == reader:
            self._either.modify(reader, select.POLLIN | select.POLLOUT)
        else:
            self._either.register(writer, select.POLLOUT)

    @classmethod
    def spawn(cls, command: Sequence[str | os.PathLike[str]], answer_timeout: float) -> Channel:
        """Starts `command` and talks to it over its standard input and output; its stderr stays ours."""
        if isinstance(command, (str, bytes)) or not command:
            raise ValueError(f"command={command!r}: say a list, such as ['envpool', 'features.parquet']")
        arguments = [os.fspath(part) for part in command]
        their_input, writer = os.pipe()
        reader, their_output = os.pipe()
        try:
            for pipe in (writer, reader):
                _widen(pipe)
            process = subprocess.Popen(arguments, stdin=their_input, stdout=their_output, **_of_its_own_group())
        except BaseException as error:
            os.close(writer)
            os.close(reader)
            if not isinstance(error, OSError):
                raise
            raise NotReached(
                f"cannot start {arguments[0]!r}: {error.strerror} (is it installed, and on the PATH?)"
            ) from None
        finally:
            os.close(their_input)
            os.close(their_output)
        return cls(reader, writer, process, os.path.basename(arguments[0]), answer_timeout)

    @classmethod
    def connect(cls, address: str, patience: float, answer_timeout: float) -> Channel:
        """Connects to `unix:PATH`, waiting up to `patience` seconds for somebody to listen."""
        prefix, _, path = str(address).partition(":")
        if prefix != "unix" or not path:
            raise ValueError(f"address={address!r} is not of the form unix:PATH")
        deadline = time.monotonic() + patience
        while True:
            connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connecting.settimeout(max(patience, 1.0))
                connecting.connect(path)
            except OSError as error:
                connecting.close()
                if not isinstance(error, (FileNotFoundError, ConnectionRefusedError, TimeoutError)):
                    raise NotReached(f"cannot connect to {address}: {error}") from None
                if time.monotonic() >= deadline:
                    raise NotReached(
                        f"nobody listens on {address} (waited {patience:.0f} s); start "
                        f"`envpool --listen {address} FEATURES…` first, or mend the address"
                    ) from None
                time.sleep(0.02)
                continue
            descriptor = connecting.detach()
            return cls(descriptor, descriptor, None, address, answer_timeout)

    @property
    def closed(self) -> bool:
        """Whether the stream has been given up."""
        return not self._end.alive

    def check_open(self) -> None:
        """An error if the stream has been given up."""
        if self.closed:
            raise ServerGone(f"the connection to {self.peer} is closed; open another")

    def send(self, *parts: bytes | memoryview, even_if_gone: bool = False) -> None:
        """Writes all of `parts`. With `even_if_gone` a peer that has closed its end is no error, since what it has
        said before can still be read."""
        self.check_open()
        left = [memoryview(part).cast("B") for part in parts if len(part)]
        while left:
            try:
                written = os.writev(self._writer, left)
            except BlockingIOError:
                self._wait_while_reading()
                continue
            except (BrokenPipeError, ConnectionResetError):
                if even_if_gone:
                    return
                raise self._gone() from None
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def tell(self, nanoseconds: int) -> None:
        """The server's last answer took so long, which is told to whoever waits awake for the next."""
        self._spinner.tell(nanoseconds)

    def receive_soon_into(self, view: memoryview) -> None:
        """Fills `view` with what is likely to come soon."""
        if not self._early and not self.closed:
            self._spinner.look(self._is_readable)
        self.receive_into(view)
        self._spinner.ready()

    def receive_into(self, view: memoryview, timeout: float | None = None) -> None:
        """Fills `view`."""
        self.check_open()
        limit = self.answer_timeout if timeout is None else timeout
        filled = min(len(self._early), len(view))
        if filled:
            view[:filled] = self._early[:filled]
            del self._early[:filled]
        while filled < len(view):
            self._wait(self._readable, limit)
            try:
                received = os.readv(self._reader, [view[filled:]])
            except BlockingIOError:
                continue
            except ConnectionResetError:
                received = 0
            if received == 0:
                raise self._gone()
            filled += received

    def receive_with_descriptors_into(self, view: memoryview) -> list[int]:
        """Fills `view`, and gives the descriptors that come with it: only over a socket."""
        self.check_open()
        if self._early:
            # Not what is asked for, and without descriptors.
            self.receive_into(view)
            return []
        stream = socket.socket(fileno=self._reader)
        descriptors: list[int] = []
        filled = 0
        try:
            while filled < len(view):
                self._wait(self._readable, self.answer_timeout)
                try:
                    received, came, _, _ = socket.recv_fds(stream, len(view) - filled, 2)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    received, came = b"", []
                descriptors += came
                if not received:
                    raise self._gone()
                view[filled : filled + len(received)] = received
                filled += len(received)
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        finally:
            stream.detach()
        return descriptors

    def close(self) -> None:
        """Closes the stream, and waits for a server of ours to end; kills it if it does not."""
        self._end()

    def _wait_while_reading(self) -> None:
        """Waits until more can be written, or something was read."""
        if len(self._early) >= _MAX_EARLY_BYTES:
            self._wait(self._writable, self.answer_timeout)
            return
        self._wait(self._either, self.answer_timeout)
        try:
            came = os.read(self._reader, 1 << 16)
        except (BlockingIOError, ConnectionResetError):
            return
        if not came:
            # Its end is seen by whoever reads or writes next; until then there is nothing to wait for here.
            self._wait(self._writable, self.answer_timeout)
        self._early += came

    def _is_readable(self) -> bool:
        return bool(self._readable.poll(0))

    def _wait(self, poll: select.poll, seconds: float) -> None:
        if not poll.poll(math.ceil(seconds * 1000)):
            raise ServerTimeout(
                f"{self.peer} has not answered for {seconds:g} s; is it stopped, or the machine overloaded?"
            )

    def _gone(self) -> ServerGone:
        self.close()
        status = self.process.returncode if self.process else None
        if status is None:
            return ServerGone(f"{self.peer} went away")
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return ServerGone(f"{self.peer} went away ({how}); its own message, if any, stands above")


def _of_its_own_group() -> dict[str, Any]:
    """What has `Popen` put a process into a group of its own: a Ctrl-C is for this program, which may catch it and go
    on, and the server ends with its input. In the same session where `Popen` can, for most Linux systems schedule
    sessions as groups (`man 7 sched`, autogroup): between two of them `sched_yield` gives nothing away, and a client that
    waits awake on the server's core would keep it."""
    return {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


def _end(descriptors: set[int], process: subprocess.Popen[bytes] | None, limit_seconds: float) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if process is None:
        return
    try:
        process.wait(limit_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _widen(pipe: int) -> None:
    """Asks for a pipe that holds a whole exchange; only Linux has the call, and it may say no."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
