"""A memory barrier: what stands before it in the program is done for other processes too before what stands after it.

Python has none of its own. What it has depends on the machine, and is all here."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable

Barrier = Callable[[], None]


def barrier() -> Barrier | None:
    """One for a single thread's use; none where nothing is known to be one."""
    # Elsewhere it is not known that a word is stored in one piece.
    if sys.implementation.name != "cpython":
        return None
    if sys.platform == "darwin":
        return _of_darwin()
    # Semaphores, and the locks that have taken their place, are taken by a compare-exchange; mutexes need not be, in a
    # process of one thread.
    if platform.machine() in ("x86_64", "AMD64") and sys.thread_info.lock != "mutex+cond":
        return _by_lock()
    return None


def _by_lock() -> Barrier:
    """On x86-64 loads and stores keep their order but for a store before a load, and any locked instruction, as is a
    compare-exchange, keeps that too (Intel's Software Developer's Manual, volume 3, "Memory Ordering")."""
    lock = threading.Lock()

    def take_and_leave() -> None:
        lock.acquire()
        lock.release()

    return take_and_leave


def _of_darwin() -> Barrier | None:
    """`man 3 OSMemoryBarrier`."""
    try:
        function = ctypes.PyDLL(None).OSMemoryBarrier
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [], None
    return lambda: function()
