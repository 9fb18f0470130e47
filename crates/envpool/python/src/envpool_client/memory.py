"""A session's shared memory: actions go where the server reads them, and slabs are read where it writes them.

Python has no ordered loads and stores, so every step still sends a frame and waits for one; they are empty."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

ACTIONS_AT = 512
"""Where the actions begin; what stands before them is for clients with atomics."""


class SharedMemory:
    """The two pieces of memory that a server offered, mapped."""

    def __init__(self, exchange: int, slab: int, n_action_values: int, slab_bytes: int) -> None:
        written = mmap.mmap(exchange, ACTIONS_AT + -(-4 * n_action_values // 8) * 8, access=mmap.ACCESS_WRITE)
        read = mmap.mmap(slab, slab_bytes, access=mmap.ACCESS_READ)
        self._actions = np.frombuffer(written, np.uint8, 4 * n_action_values, ACTIONS_AT)
        self.slab: npt.NDArray[np.uint8] = np.frombuffer(read, np.uint8)
        """What the server writes; read-only."""

    def write_actions(self, actions: memoryview) -> bool:
        """Puts actions where the server reads them, if they are as many as there must be."""
        if len(actions) != len(self._actions):
            return False
        self._actions[:] = np.frombuffer(actions, np.uint8)
        return True


def map_files(exchange: str, slab: str, n_action_values: int, slab_bytes: int) -> SharedMemory | None:
    """Maps files of this user's own; nothing if they are not to be had here, as in another container."""
    with contextlib.suppress(OSError, ValueError), _opened(exchange, os.O_RDWR) as first, \
            _opened(slab, os.O_RDONLY) as second:
        return SharedMemory(first, second, n_action_values, slab_bytes)
    return None


def map_descriptors(descriptors: list[int], n_action_values: int, slab_bytes: int) -> SharedMemory | None:
    """Maps what came over the socket, and closes it; nothing if it is not what it should be."""
    try:
        if len(descriptors) != 2 or not all(map(_keeps_its_size, descriptors)):
            return None
        return SharedMemory(*descriptors, n_action_values, slab_bytes)
    except (OSError, ValueError):
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


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
