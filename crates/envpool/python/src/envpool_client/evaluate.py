"""`evaluate`: somebody's own policy over the held-out days, by the rules and costs that `train` judges its own by."""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from .connection import Connection
from .errors import EnvpoolError, ProtocolError
from .protocol import Open, Range
from .slab import TRACE_COLUMNS
from .specification import Specification
from .statistics import TRADE, judge, trades_of

Policy = Callable[[npt.NDArray[np.float32]], Any]
"""Observations, one row a symbol, to actions, one a symbol."""


@dataclass(frozen=True)
class Evaluation:
    """What came of a policy."""

    statistics: dict[str, Any]
    """The figures of `train`'s report.json, by the same names: `total_return`, `sharpe`, `max_drawdown`, `trades`,
    `turnover`, `costs`, `costs_by_kind`, `final_equity` and more."""
    trace: npt.NDArray[np.void]
    """Bar by bar, symbol after symbol: `ts` (microseconds since 1970, UTC), `symbol` (its number), `close`,
    `open_fill_price`, `open_fill_shares`, `close_fill_price`, `close_fill_shares`, `shares`, `equity`, `costs`."""
    trades: npt.NDArray[np.void]
    """Positions opened and closed again, by time of entry."""
    specification: Specification
    """What they were judged on, provenance included."""

    def __str__(self) -> str:
        figures, market = self.statistics, self.specification.market or {}
        label = market.get("provenance", {}).get("kind", "unlabelled")
        return (
            f"{figures['total_return']:+.2%} on {figures['days']} {label} days: {figures['trades']} trades, "
            f"drawdown {figures['max_drawdown']:.2%}, turnover {figures['turnover']:.1f}x, "
            f"costs {figures['costs_fraction']:.2%}, final equity {figures['final_equity']:.2f}"
        )


def evaluate(
    policy_function: Policy,
    *,
    command: Sequence[str | os.PathLike[str]] | None = None,
    address: str | None = None,
    connection: Connection | None = None,
    range: Range = "test",
    hold_account: bool = False,
) -> Evaluation:
    """Plays one continuous episode a symbol over the held-out days, from the first bar to the last, whose position
    is closed at its cost, and says what came of it.

    `policy_function` gets a float32 array of one row a symbol (each call its own) and returns one action a row.
    `connection` (such as `VectorEnv.connection`) spares starting a server for this. `hold_account` gives the account
    of buy and hold: no square-off, the market's delivery costs, and two actions, 0 (nothing) and 1 (all of it).
    """
    if connection is not None:
        if command is not None or address is not None:
            raise ValueError("say one of command, address and connection")
        return _play(policy_function, connection, range, hold_account)
    with Connection(command, address) as own:
        return _play(policy_function, own, range, hold_account)


def _play(policy_function: Policy, connection: Connection, days: Range, hold_account: bool) -> Evaluation:
    specification = connection.specification
    market = specification.market
    if market is None:
        raise ValueError(f"{specification.environment} has no days to hold out: evaluate needs a server of features")
    names = [symbol["name"] for symbol in market["symbols"]]
    n, kinds = len(names), specification.cost_kinds
    space = gym.spaces.Discrete(2) if hold_account else specification.action_space
    due = (n, *(space.shape or ()))
    is_discrete = isinstance(space, gym.spaces.Discrete)
    session = connection.open(Open(n, 0, days, "first", "full", autoreset="disabled", trace=True,
                                   liquidate_at_end=True, hold_account=hold_account))
    columns: list[list[npt.NDArray[np.float64]]] = [[] for _ in names]
    costs: list[list[npt.NDArray[np.float64]]] = [[] for _ in names]
    try:
        slab = session.reset()
        playing = np.ones(n, np.bool_)
        # An episode cannot have more steps than its symbol has rows; a server for which it has is broken.
        for _ in builtins.range(max(symbol["rows"] for symbol in market["symbols"]) + 1):
            # A symbol that has ended before the others is asked about still, and what is answered does nothing.
            actions = np.asarray(policy_function(slab.observations))
            if actions.shape != due:
                raise ValueError(f"the policy returned actions of shape {actions.shape} for {n} observations, "
                                 f"where {due} are due")
            if is_discrete and actions.dtype.kind not in "iub":
                raise ValueError(f"the policy returned actions of type {actions.dtype}, where whole numbers are due")
            session.send(np.ascontiguousarray(actions, "<i4" if is_discrete else "<f4"))
            slab = session.receive()
            assert slab.trace is not None and slab.trace_costs is not None
            # Copied, so that the trace does not keep every slab.
            trace, paid = slab.trace.T.copy(), slab.trace_costs.copy()
            for env in np.flatnonzero(playing).tolist():
                columns[env].append(trace[env])
                costs[env].append(paid[env])
            playing &= ~(slab.terminated | slab.truncated)
            if not playing.any():
                break
        else:
            raise ProtocolError(f"an episode of {connection.peer} has no end")
    finally:
        # Whatever the policy did, the connection goes on; if that is gone too, its own error is the one to tell.
        with contextlib.suppress(EnvpoolError):
            session.close()
    traces = [_as_trace(rows, paid, kinds) for rows, paid in zip(columns, costs)]
    trades = [trade for name, trace in zip(names, traces) for trade in trades_of(trace, name)]
    by_entry = np.array(sorted(trades, key=lambda trade: trade[2]), dtype=TRADE)
    return Evaluation(judge(traces, by_entry, market, kinds), np.concatenate(traces), by_entry, specification)


def _as_trace(rows: list[npt.NDArray[np.float64]], costs: list[npt.NDArray[np.float64]],
              kinds: tuple[str, ...]) -> npt.NDArray[np.void]:
    whole = ("ts", "symbol")
    fields = [(name, "<i8" if name in whole else "<f8") for name in TRACE_COLUMNS]
    trace = np.zeros(len(rows), np.dtype([*fields, ("costs", "<f8", (len(kinds),))]))
    for name, column in zip(TRACE_COLUMNS, np.array(rows).T):
        trace[name] = column
    trace["costs"] = costs
    return trace
