"""Steps that are posted in shared memory, as `shared/client_end.rs` of the `wire` crate posts them: no frame is sent
unless the other side sleeps.

Both sides store a counter, then look whether the other sleeps; or store that they sleep, then look at the other's counter
once more. With a barrier between the two, at least one of them sees the other. Python cannot exchange a word in one piece,
so a side may be woken although it is awake; whoever is ignores it."""

from __future__ import annotations

import time

from .awake import Spinner
from .barrier import Barrier
from .memory import ANSWER_KIND, ANSWERED, CLIENT_SLEEPS, PAUSE, POSTED, SERVER_SLEEPS, TOOK

_LOOKS = 8
"""Looks at memory between two glances at the clock."""
_MAX_WORD = (1 << 32) - 1

_clock = time.perf_counter_ns


class Posts:
    """One session's, of which one is in flight at a time."""

    def __init__(self, words: memoryview, barrier: Barrier) -> None:
        """`words` are the exchange's, before the actions."""
        self._words, self._barrier = words, barrier
        self._number = 0
        self._received_at: int | None = None
        self._spinner = Spinner(_LOOKS)

    def post(self) -> bool:
        """Posts the actions that stand in the exchange. Whether the server sleeps, and is now to be woken by a frame."""
        words, self._number = self._words, (self._number + 1) & _MAX_WORD
        # It is up where the answer was there after all, or was a refusal.
        words[CLIENT_SLEEPS] = 0
        words[PAUSE] = 0 if self._received_at is None else min(max(_clock() - self._received_at, 1), _MAX_WORD)
        # The actions are there, and the last slab is read, before the server may see the number.
        self._barrier()
        words[POSTED] = self._number
        # The number is there before the look whether the server sleeps, which looks at the number after it has said so.
        self._barrier()
        if words[SERVER_SLEEPS] == 0:
            return False
        words[SERVER_SLEEPS] = 0
        return True

    def look(self) -> bool:
        """Looks for a while whether the answer is there. If it is not, the caller says `fall_asleep`."""
        return self._spinner.look(self._is_answered)

    def fall_asleep(self) -> bool:
        """Says that this side sleeps until a frame comes. `False` if it must not, since the answer is there."""
        self._words[CLIENT_SLEEPS] = 1
        # As the server does: said before the last look.
        self._barrier()
        return not self._is_answered()

    def receive(self) -> bool:
        """The answer is there: whether it is the slab, and not a refusal in a frame."""
        # The number was seen before anything of the slab is.
        self._barrier()
        self._spinner.ready()
        self._spinner.tell(self._words[TOOK])
        self._received_at = _clock()
        return self._words[ANSWER_KIND] == 0

    def _is_answered(self) -> bool:
        return self._words[ANSWERED] == self._number
