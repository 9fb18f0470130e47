"""`VectorEnv`: the environments of one session as Gymnasium sees many environments at once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from .arrays import AsSent, infos
from .opened import Command, Opened, Step, asked_of, connected
from .protocol import Episode, Range, Start
from .slab import TRACE_COLUMNS, Slab


class VectorEnv(Opened, gym.vector.VectorEnv[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[Any]]):
    """Environments that an envpool server steps.

    `command` starts a server and ends it with this value; `address` (`unix:PATH`) shares one that listens.
    `num_envs` defaults to the server's; a command that does not say `--envs` is told it. `seed` keys every draw
    (default: the server's), and `reset(seed=…)` begins anew with another.

    `autoreset_mode` is Gymnasium's. SAME_STEP: an ended episode's last observation is in `infos["final_obs"]` and
    its statistics in `infos["final_info"]`. NEXT_STEP: the step after the end resets, whatever its action. DISABLED: an
    ended environment stays as it ended, with reward 0, until `reset(options={"reset_mask": mask})`. In the last two the
    statistics are in `infos` itself. They are `episode_length`, `episode_return`, `final_equity`, `turnover`,
    `max_drawdown`, `trades` and `costs` by kind.

    With `copy=False` the arrays that `reset` and `step` return are views, to be read alone, that the next of them
    overwrites: of the memory that the server writes, where that is shared.
    `trace=True` fills `trace` with each step's fills, position, equity and costs.
    """

    def __init__(
        self,
        command: Command | None = None,
        address: str | None = None,
        *,
        num_envs: int | None = None,
        seed: int | None = None,
        range: Range = "train",
        start: Start = "random",
        episode: Episode = "default",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        copy: bool = True,
        trace: bool = False,
        liquidate_at_end: bool = False,
        connect_timeout: float = 20.0,
        answer_timeout: float = 60.0,
        shared_memory: bool = True,
    ) -> None:
        # Before anything can fail, so that an instance which never came to be is not closed again.
        self.closed = True
        self._mode = AutoresetMode(autoreset_mode)
        with connected(command, address, num_envs, connect_timeout=connect_timeout, answer_timeout=answer_timeout,
                       shared_memory=shared_memory) as self.connection:
            specification = self.specification
            asked = asked_of(specification, num_envs=num_envs, seed=seed, range=range, start=start, episode=episode,
                             mode=self._mode, trace=trace, liquidate_at_end=liquidate_at_end)
            self._open_session(asked, copy)
            self.single_observation_space = specification.observation_space
            self.single_action_space = specification.action_space
        self.num_envs = self._open.n_envs
        self._as_sent = AsSent(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = {"autoreset_mode": self._mode, "render_modes": []}
        self._is_new = True
        self._is_pending = False
        self._slab: Slab | None = None
        self.closed = False

    @property
    def finished(self) -> npt.NDArray[np.void] | None:
        """The episodes that ended in the last step, dense: a structured array with `env`, `length`,
        `episode_return`, `final_equity`, `turnover`, `max_drawdown`, `trades`, `costs` and `final_obs`."""
        return self._slab.finished if self._slab else None

    @property
    def trace(self) -> dict[str, npt.NDArray[np.float64]] | None:
        """What the last step did, column by column, and `costs` by environment and kind; with `trace=True`."""
        if self._slab is None or self._slab.trace is None or self._slab.trace_costs is None:
            return None
        return {**dict(zip(TRACE_COLUMNS, self._slab.trace)), "costs": self._slab.trace_costs}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Starts new episodes: everywhere, or where `options["reset_mask"]` is true. With `seed` the whole session
        begins anew, keyed with it: equal seeds give equal bits."""
        self._check_not_pending("reset")
        mask = self._reset_mask(seed, options)
        if seed is not None:
            if isinstance(seed, (list, tuple)):
                raise ValueError("seed is one number for all environments, each of which draws numbers of its own")
            super().reset(seed=seed)
            if not (self._is_new and seed == self._open.seed):
                self._reopen(int(seed))
        self._is_new = False
        self._slab = self._session.reset(mask)
        return self._slab.observations, {}

    def step(self, actions: npt.NDArray[Any]) -> Step:
        """One step of all environments. An action that the server refuses is raised with the environment's number,
        and nothing has changed."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Sends actions, so that this program can do other work while the server steps."""
        self._check_not_pending("step_async")
        self._session.send(self._as_sent(actions))
        self._is_pending = True

    def step_wait(self) -> Step:
        """What the actions of `step_async` have brought."""
        if not self._is_pending:
            raise gym.error.NoAsyncCallError("step_wait without a step_async before it", "step_wait")
        self._is_pending = False
        slab = self._slab = self._session.receive()
        ended = infos(slab.finished, slab.finished["env"], self.num_envs, self._mode) if len(slab.finished) else {}
        return slab.observations, slab.rewards, slab.terminated, slab.truncated, ended

    def _check_not_pending(self, name: str) -> None:
        if self._is_pending:
            raise gym.error.AlreadyPendingCallError(f"{name} after a step_async: take its answer with step_wait", name)

    def snapshot(self) -> bytes:
        """The whole state of all environments, for `restore` here or in another `VectorEnv` that was made in the same
        way but for its seed, of a server that serves the same."""
        return self._session.snapshot()

    def restore(self, snapshot: bytes) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Goes back to where `snapshot` was taken, and gives the observations of that moment. Where that was with
        another seed (given to `reset`, or at the making), it is this one's from now on."""
        self._slab = self._go_back(snapshot)
        self._is_new = False
        return self._slab.observations, {}

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the session, and the server if it was started for it."""
        self.connection.close()

    def _reset_mask(self, seed: int | None, options: dict[str, Any] | None) -> npt.NDArray[np.bool_] | None:
        unknown = sorted(set(options or ()) - {"reset_mask"})
        if unknown:
            raise ValueError(f"options {unknown}: only 'reset_mask' is known")
        if not options or options.get("reset_mask") is None:
            return None
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"options['reset_mask'] must be a numpy array of {self.num_envs} booleans")
        if not mask.any():
            raise ValueError("options['reset_mask'] resets nothing: make at least one entry true")
        if seed is not None:
            raise ValueError("a seed keys all environments: reset(seed=…) without options['reset_mask']")
        return mask
