"""Waiting awake, as `spin.rs` of the `wire` crate does: to wake a sleeping core takes as long as stepping hundreds of
environments, and to look again and again takes a core. So who waits looks for as long as what it waits for usually
takes and a wake-up more, and not at all where that is long or where there is one core only. How long it takes is best
told by the server: whoever waits counts wake-ups too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_MAX_MEAN_SECONDS = 150e-6
"""Waits that take longer on average are slept through."""
_MAX_TOLD_SECONDS = 1e-3
"""The same where the server tells how long it takes."""
_TRIAL = 16
"""One in so many waits that would be slept through is looked through nevertheless: a sleeper cannot tell a short wait
from its own wake-up."""
_WEIGHT = 0.125
"""Of the latest wait in the mean."""

_clock = time.perf_counter
# Whoever else wants this core gets it. Not every system that has poll has this.
_yield_core = getattr(os, "sched_yield", lambda: None)


class Spinner:
    """How long one side has waited of late."""

    def __init__(self, looks: int = 1) -> None:
        """`looks` between two glances at the clock: few where to look is to ask the system."""
        self._looks = looks
        self._mean = self._begun = 0.0
        self._n_slept = 0
        self._is_told = False
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # On one core the other side could not go on while this one looks.
        self._share = 1.0 if cores > 1 else 0.0
        self._max_mean = self._share * _MAX_MEAN_SECONDS

    def tell(self, nanoseconds: int) -> None:
        """The server says how long it took over what it was last waited for; 0 if it does not say."""
        self._is_told = nanoseconds > 0
        self._max_mean = self._share * (_MAX_TOLD_SECONDS if self._is_told else _MAX_MEAN_SECONDS)
        if self._is_told:
            self._learn(nanoseconds * 1e-9)

    def look(self, is_ready: Callable[[], bool]) -> bool:
        """Looks for a while whether something has come, and says whether it has. If it has not, the caller sleeps.
        In any case it calls `ready` then."""
        self._begun = begun = _clock()
        if is_ready():
            return True
        is_trial = self._mean > self._max_mean
        if is_trial and self._is_told:
            return False
        if is_trial:
            self._n_slept += 1
            if self._n_slept < _TRIAL:
                return False
            self._n_slept = 0
        # What is told leaves out that the server may have to wake up.
        is_all = is_trial or self._is_told
        end = begun + (self._max_mean if is_all else max(2.0 * self._mean, self._max_mean / 4.0))
        while _clock() < end:
            for _ in range(self._looks):
                if is_ready():
                    if is_trial:
                        self._mean = _clock() - begun
                    return True
            _yield_core()
        return False

    def ready(self) -> None:
        """What was waited for is there."""
        if not self._is_told:
            self._learn(_clock() - self._begun)

    def _learn(self, seconds: float) -> None:
        # A pause of seconds, while a learner learns, says little about the waits between two steps.
        self._mean += _WEIGHT * (min(seconds, 4.0 * self._max_mean) - self._mean)
