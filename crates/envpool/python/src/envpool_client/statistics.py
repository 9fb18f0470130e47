"""Trades and figures out of a trace. Pure arithmetic, with the conventions of `train`:

- The equity before the first bar is the starting capital.
- Sharpe and Sortino come from the returns of trading days, annualised by the data's own number of days a year,
  with a risk-free rate of 0.
- A drawdown is measured from close to close of every bar.
- Several symbols are accounts side by side, each with its own capital.
"""

from __future__ import annotations

import datetime
import math
import zoneinfo
from typing import Any

import numpy as np
import numpy.typing as npt

TRADE = np.dtype([
    ("symbol", "U32"), ("short", "?"), ("entry_ts", "<i8"), ("exit_ts", "<i8"), ("shares", "<f8"),
    ("entry_price", "<f8"), ("exit_price", "<f8"), ("gross", "<f8"), ("costs", "<f8"), ("net", "<f8"),
    ("bars", "<i8"),
])  # fmt: skip
"""A position that was opened and closed again."""

_NO_SHARES = 1e-9
"""Smaller positions are rounding, not shares."""


def trades_of(trace: npt.NDArray[np.void], symbol: str) -> list[tuple[Any, ...]]:
    """The trades in one symbol's trace, in the order in which they were closed; fields as in `TRADE`."""
    trades: list[tuple[Any, ...]] = []
    held = cash_in = cash_out = opened = closed = costs = 0.0
    short, entry_ts, bars, is_open = False, 0, 0, False
    for row in trace:
        fills = [(float(row[f"{at}_fill_shares"]), float(row[f"{at}_fill_price"])) for at in ("open", "close")]
        # The price of no order means nothing.
        fills = [(shares, price if shares else 0.0) for shares, price in fills]
        traded = sum(abs(shares * price) for shares, price in fills)
        rate = float(row["costs"].sum()) / traded if traded > 0.0 else 0.0
        for left, price in fills:
            # Against the position first; what is left opens or adds.
            if held * left < 0.0 and is_open:
                part = math.copysign(min(abs(left), abs(held)), left)
                cash_out += abs(part) * price
                closed += abs(part)
                costs += rate * abs(part) * price
                held += part
                left -= part
            if abs(held) < _NO_SHARES and is_open and closed > _NO_SHARES:
                gross = (-1.0 if short else 1.0) * (cash_out - cash_in)
                trades.append((symbol, short, entry_ts, int(row["ts"]), opened, cash_in / opened, cash_out / closed,
                               gross, costs, gross - costs, bars))
                held = cash_in = cash_out = opened = closed = costs = 0.0
                is_open = False
            if abs(left) > _NO_SHARES:
                if not is_open:
                    short, entry_ts, bars, is_open = left < 0.0, int(row["ts"]), 0, True
                cash_in += abs(left) * price
                opened += abs(left)
                costs += rate * abs(left) * price
                held += left
        bars += is_open
    return trades


def judge(traces: list[npt.NDArray[np.void]], trades: npt.NDArray[np.void], market: dict[str, Any],
          cost_kinds: tuple[str, ...]) -> dict[str, Any]:
    """The figures of a report, under the names that `train` gives them. What cannot be computed is None."""
    capital = float(market["rules"]["capital"])
    initial = capital * len(traces)
    times = np.unique(np.concatenate([trace["ts"] for trace in traces]))
    equity, held, traded = np.zeros(len(times)), np.zeros(len(times)), np.zeros(len(times))
    by_kind = np.zeros(len(cost_kinds))
    for trace in traces:
        # Between a symbol's bars its account stands where it stood.
        at = np.searchsorted(trace["ts"], times, side="right")
        equity += np.concatenate([[capital], trace["equity"]])[at]
        held += np.concatenate([[0.0], np.abs(trace["shares"] * trace["close"])])[at]
        by_kind += trace["costs"].sum(axis=0)
        for side in ("open", "close"):
            shares = trace[f"{side}_fill_shares"]
            value = np.abs(np.where(shares == 0.0, 0.0, shares * trace[f"{side}_fill_price"]))
            np.add.at(traded, np.searchsorted(times, trace["ts"]), value)
    bars, per_year = len(times), float(market["bars_per_year"])
    last = float(equity[-1]) if bars else initial
    days = _days(times, market["timezone"])
    daily = _returns(initial, equity, days)
    months = np.array([datetime.date.fromordinal(day).strftime("%Y-%m") for day in days.tolist()])
    days_per_year = per_year * len(daily) / bars if bars else 0.0
    peaks = np.maximum.accumulate(np.concatenate([[initial], equity]))[1:]
    drawdown = float(np.max(1.0 - equity / peaks, initial=0.0))
    cagr = (last / initial) ** (per_year / bars) - 1.0 if bars and last > 0.0 else None
    downside = math.sqrt(float(np.mean(np.minimum(daily, 0.0) ** 2))) if len(daily) > 1 else None
    deviation = float(np.std(daily, ddof=1)) if len(daily) > 1 else None
    exposure = np.abs(held[equity != 0.0] / equity[equity != 0.0])
    costs = float(by_kind.sum())
    return {
        "total_return": last / initial - 1.0,
        "cagr": cagr,
        "sharpe": _ratio(daily, deviation, days_per_year),
        "sortino": _ratio(daily, downside, days_per_year),
        "calmar": cagr / drawdown if cagr is not None and drawdown > 0.0 else None,
        "max_drawdown": drawdown,
        "win_rate": float((trades["net"] > 0.0).mean()) if len(trades) else None,
        "trades": len(trades),
        "turnover": float(traded.sum()) / initial,
        "exposure": float(exposure.sum()) / bars if bars else 0.0,
        "costs": costs,
        "costs_fraction": costs / initial,
        "costs_by_kind": dict(zip(cost_kinds, by_kind.tolist())),
        "monthly_returns": dict(zip(months[_is_last(months)].tolist(), _returns(initial, equity, months).tolist())),
        "final_equity": last,
        "bars": bars,
        "days": len(daily),
    }


def _is_last(periods: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where a day, a month or the like ends."""
    return np.append(periods[1:] != periods[:-1], True)[: len(periods)]


def _returns(initial: float, equity: npt.NDArray[np.float64], periods: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The return of each period, from the last close before it to its own last."""
    closes = equity[_is_last(periods)]
    returns: npt.NDArray[np.float64] = closes / np.concatenate([[initial], closes[:-1]]) - 1.0
    return returns


def _ratio(returns: npt.NDArray[np.float64], deviation: float | None, per_year: float) -> float | None:
    # Rounding leaves a crumb of deviation in equal returns.
    if deviation is None or deviation <= 1e-12:
        return None
    return float(returns.mean()) / deviation * math.sqrt(per_year)


def _days(times: npt.NDArray[np.int64], zone_name: str) -> npt.NDArray[np.int64]:
    """The local dates of times in microseconds, as ordinals."""
    zone = _zone(zone_name)
    return np.array(
        [datetime.datetime.fromtimestamp(int(ts) // 1_000_000, zone).toordinal() for ts in times], dtype=np.int64
    )


def _zone(name: str) -> datetime.tzinfo:
    """A zone by its IANA name or fixed offset such as `+05:30`; UTC if this machine does not know it."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    try:
        offset = datetime.datetime.strptime(name, "%z").tzinfo
    except ValueError:
        offset = None
    return offset or datetime.timezone.utc
