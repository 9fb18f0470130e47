"""What `VectorEnv` and `AsyncEnv` share: a connection of their own, and the session on it that they play in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .arrays import AUTORESET
from .connection import Connection
from .errors import EnvpoolError
from .protocol import Episode, Open, Range, Start, snapshot_seed
from .session import Session
from .slab import Slab
from .specification import Specification

Command = Sequence[str | os.PathLike[str]]
Step = tuple[
    npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
]


class Opened:
    """A connection, and the session on it, of which another takes the place where the seed becomes another."""

    connection: Connection
    _open: Open
    _session: Session
    _copy: bool

    @property
    def specification(self) -> Specification:
        """What the server says that it serves."""
        return self.connection.specification

    @property
    def seed(self) -> int:
        """What every draw of this session is keyed with."""
        return self._open.seed

    def _open_session(self, asked: Open, copy: bool) -> None:
        self._session = self.connection.open(asked, copy=copy)
        self._open, self._copy = asked, copy

    def _reopen(self, seed: int) -> None:
        """A new session that differs in its seed alone, so that what was allowed before is allowed again."""
        self._session.close()
        self._open = dataclasses.replace(self._open, seed=seed)
        self._session = self.connection.open(self._open, copy=self._copy)

    def _go_back(self, snapshot: bytes) -> Slab:
        """Goes on where `snapshot` was taken, in a session of its seed, and gives what the last exchange had brought
        then. An error leaves the session as it was."""
        seed = snapshot_seed(snapshot)
        if seed is None or seed == self._open.seed:
            return self._session.restore(snapshot)
        asked = dataclasses.replace(self._open, seed=seed)
        other = self.connection.open(asked, copy=self._copy)
        try:
            slab = other.restore(snapshot)
        except (EnvpoolError, ValueError):
            with contextlib.suppress(EnvpoolError):
                other.close()
            raise
        self._session.close()
        self._session, self._open = other, asked
        return slab


@contextlib.contextmanager
def connected(
    command: Command | None,
    address: str | None,
    num_envs: int | None,
    *,
    connect_timeout: float,
    answer_timeout: float,
    shared_memory: bool,
) -> Iterator[Connection]:
    """A connection to a server that allows `num_envs`, for an environment to be made with it. It outlives the `with`,
    unless the making fails."""
    connection = Connection(_with_envs(command, num_envs), address, connect_timeout=connect_timeout,
                            answer_timeout=answer_timeout, shared_memory=shared_memory)
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


_ANY_DAYS = ("train", "random", "default", False)


def asked_of(
    specification: Specification,
    *,
    num_envs: int | None,
    seed: int | None,
    range: Range,
    start: Start,
    episode: Episode,
    mode: AutoresetMode,
    trace: bool,
    liquidate_at_end: bool,
) -> Open:
    """The session of these arguments; what is left out is as the server has it."""
    if specification.market is None and (range, start, episode, liquidate_at_end) != _ANY_DAYS:
        raise ValueError(
            f"{specification.environment} has no days and one kind of episode: "
            "leave out range=, start=, episode= and liquidate_at_end="
        )
    return Open(
        n_envs=specification.max_envs if num_envs is None else num_envs,
        seed=specification.seed if seed is None else seed,
        range=range,
        start=start,
        episode=episode,
        autoreset=AUTORESET[mode],
        trace=trace,
        liquidate_at_end=liquidate_at_end,
    )


def _with_envs(command: Command | None, num_envs: int | None) -> Command | None:
    """A command that allows `num_envs`, unless it says itself how many are allowed."""
    if num_envs is not None and (not isinstance(num_envs, (int, np.integer)) or num_envs < 1):
        raise ValueError(f"num_envs={num_envs!r}: say a whole number from 1 on")
    if not command or num_envs is None or isinstance(command, (str, bytes)):
        return command
    says_so = any(os.fspath(part).split("=")[0] == "--envs" for part in command)
    return command if says_so else [*command, "--envs", str(num_envs)]
