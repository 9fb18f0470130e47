"""A session's shared memory: actions go where the server reads them, and slabs are read where it writes them."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ACTIONS_AT = 512
"""Where the actions begin."""
POSTED, PAUSE, CLIENT_SLEEPS, ANSWERED, TOOK, ANSWER_KIND, SERVER_SLEEPS = (
    at // 4 for at in (0, 4, 64, 128, 132, 192, 256)
)
"""The words before them, by PROTOCOL.md."""
_LINE = 64


@dataclass(frozen=True)
class Slots:
    """How large requests and slabs are, and of how many the memory has room."""

    request_bytes: int
    """What a request takes: the actions, and before them the numbers of their environments where it names some."""
    slab_bytes: int
    n_slots: int
    is_partial: bool

    @property
    def stride(self) -> int:
        """From one request to the next."""
        return _LINE + -(-self.request_bytes // _LINE) * _LINE

    @property
    def exchange_bytes(self) -> int:
        """All that a client may write."""
        if self.is_partial:
            return ACTIONS_AT + self.n_slots * self.stride
        return ACTIONS_AT + -(-self.request_bytes // 8) * 8

    def request_at(self, slot: int) -> int:
        """Where a request begins."""
        return ACTIONS_AT + slot * self.stride + _LINE if self.is_partial else ACTIONS_AT


class SharedMemory:
    """The two pieces of memory that a server offered, mapped."""

    def __init__(self, exchange: int, slab: int, slots: Slots) -> None:
        written = mmap.mmap(exchange, slots.exchange_bytes, access=mmap.ACCESS_WRITE)
        read = mmap.mmap(slab, slots.n_slots * slots.slab_bytes, access=mmap.ACCESS_READ)
        self._written = memoryview(written)
        self._read: npt.NDArray[np.uint8] = np.frombuffer(read, np.uint8)
        self.words = self._written[:ACTIONS_AT].cast("I")
        """What stands before the actions."""
        self._slots = slots

    @property
    def took(self) -> int:
        """Nanoseconds that the last answer took."""
        return self.words[TOOK]

    def slab(self, slot: int) -> npt.NDArray[np.uint8]:
        """What the server writes; read-only."""
        size = self._slots.slab_bytes
        return self._read[slot * size : (slot + 1) * size]

    def write_request(self, slot: int, *parts: memoryview) -> bool:
        """Puts a request where the server reads it, if it has as many bytes as there must be."""
        if sum(map(len, parts)) != self._slots.request_bytes:
            return False
        at = self._slots.request_at(slot)
        for part in parts:
            self._written[at : at + len(part)] = part
            at += len(part)
        return True


def map_files(exchange: str, slab: str, slots: Slots) -> SharedMemory | None:
    """Maps files of this user's own; nothing if they are not to be had here, as in another container."""
    with contextlib.suppress(OSError, ValueError), _opened(exchange, os.O_RDWR) as first, \
            _opened(slab, os.O_RDONLY) as second:
        return SharedMemory(first, second, slots)
    return None


def map_descriptors(descriptors: list[int], slots: Slots) -> SharedMemory | None:
    """Maps what came over the socket; nothing if it is not what it should be."""
    with contextlib.suppress(OSError, ValueError):
        if len(descriptors) == 2 and all(map(_keeps_its_size, descriptors)):
            exchange, slab = descriptors
            return SharedMemory(exchange, slab, slots)
    return None


@contextlib.contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(f"{path} is not a file of this user's own")
        yield descriptor
    finally:
        os.close(descriptor)


def _keeps_its_size(descriptor: int) -> bool:
    """Whether nobody can make the memory shorter while it is mapped, which would kill whoever reads it."""
    if sys.platform != "linux":
        return True
    return bool(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
