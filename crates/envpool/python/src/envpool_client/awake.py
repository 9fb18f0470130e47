"""Waiting awake, as `spin.rs` of the `wire` crate does: to wake a sleeping core takes as long as stepping hundreds of
environments, and to look again and again takes a core. So who waits looks for about as long as the last waits took,
and not at all where those were long or where there is one core only."""

from __future__ import annotations

import os
import select
import time

_MAX_MEAN_SECONDS = 150e-6
"""Waits that take longer on average are slept through."""
_MAX_MEAN_SECONDS_A_CORE = 50e-6
"""The same where the server steps on all cores, for each beyond the first: whoever looks takes one of them away."""
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

    def __init__(self) -> None:
        self._mean = self._begun = 0.0
        self._n_slept = 0
        self.beside(1)

    def beside(self, n_threads: int) -> None:
        """The side that is waited for works on so many threads."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._max_mean = _MAX_MEAN_SECONDS if cores > 1 else 0.0
        if n_threads >= cores:
            self._max_mean = min(_MAX_MEAN_SECONDS_A_CORE * (cores - 1), _MAX_MEAN_SECONDS)

    def look(self, readable: select.poll) -> bool:
        """Looks for a while whether something has come, and says whether it has. If it has not, the caller sleeps.
        In any case it calls `ready` then."""
        self._begun = begun = _clock()
        if readable.poll(0):
            return True
        is_trial = self._mean > self._max_mean
        if is_trial:
            self._n_slept += 1
            if self._n_slept < _TRIAL:
                return False
            self._n_slept = 0
        end = begun + (self._max_mean if is_trial else max(2.0 * self._mean, self._max_mean / 4.0))
        while _clock() < end:
            if readable.poll(0):
                if is_trial:
                    self._mean = _clock() - begun
                return True
            _yield_core()
        return False

    def ready(self) -> None:
        """What was waited for is there."""
        # A pause of seconds, while a learner learns, says little about the waits between two steps.
        waited = min(_clock() - self._begun, 4.0 * self._max_mean)
        self._mean += _WEIGHT * (waited - self._mean)
