"""The rules `portfolio` once more: plain Python, one account, one step at a time, from the description alone.

Nothing is clever here. Where the server finds an order's size in a few steps of a fixed point, this bisects; where it
keeps running moments, this does too, for they are the definition.
"""

import math

FLOOR = 1e-3
"""Equity never counts as less than this part of the capital."""
YEAR_SECONDS = 365 * 86_400


def bps(rate):
    """So many basis points on each side."""
    return lambda side, value, sells_held_shares: {"brokerage": value * rate / 1e4}


def nse_intraday(side, value, sells_held_shares):
    """Charges since 1 October 2024 on positions that are closed on the same day, from a discount broker's price list."""
    brokerage = min(20.0, 0.0003 * value)
    exchange = 0.0000307 * value + 0.000001 * value
    taxes = 0.00025 * value if side == "sell" else 0.00003 * value
    return {"brokerage": brokerage, "exchange": exchange, "taxes": taxes + 0.18 * (brokerage + exchange)}


def nse_delivery(side, value, sells_held_shares):
    """Charges since 1 October 2024 on positions that are held overnight."""
    exchange = 0.0000307 * value + 0.000001 * value
    taxes = 0.001 * value + (0.00015 * value if side == "buy" else 0.0)
    return {
        "exchange": exchange,
        "taxes": taxes + 0.18 * exchange,
        "depository": 15.34 if sells_held_shares else 0.0,
    }


class Bars:
    """One symbol's bars, as columns of numbers; `seconds` is when each closes."""

    def __init__(self, seconds, session, open_, close):
        self.seconds, self.session, self.open, self.close = seconds, session, open_, close

    def ends_session(self, row):
        return row + 1 == len(self.session) or self.session[row + 1] != self.session[row]


class Portfolio:
    """One episode."""

    def __init__(self, bars, first_row, last_row, *, charge, capital=100_000.0, slippage=0.0, square_off=False,
                 whole_shares=False, ruin=0.1, fill="next-open", leverage=1.0, borrow_bps_per_year=0.0,
                 liquidate_at_end=False, reward="log-return", bar_deviation=None):
        self.bars, self.row, self.last_row = bars, first_row, last_row
        self.charge, self.capital, self.slippage = charge, capital, slippage
        self.square_off, self.whole_shares, self.ruin = square_off, whole_shares, ruin
        self.fill, self.leverage, self.borrow_bps_per_year = fill, leverage, borrow_bps_per_year
        self.liquidate_at_end, self.reward_kind, self.bar_deviation = liquidate_at_end, reward, bar_deviation
        self.cash, self.shares, self.entry_price = capital, 0.0, 0.0
        self.equity = self.peak = capital
        self.target, self.bars_held, self.max_drawdown = 0.0, 0, 0.0
        self.costs, self.n_trades, self.traded_value = {}, 0, 0.0
        self.depository_session = None
        self.mean, self.mean_square = 0.0, (bar_deviation or 0.0) ** 2

    # What an order does.

    def costs_of(self, bought, price, session):
        side = "buy" if bought > 0 else "sell"
        fill_price = price * (1 + self.slippage if bought > 0 else 1 - self.slippage)
        sells_held_shares = side == "sell" and self.shares > 0 and session != self.depository_session
        costs = dict(self.charge(side, abs(bought) * fill_price, sells_held_shares))
        costs["slippage"] = abs(bought) * price * self.slippage
        return costs, fill_price

    def shares_for(self, level, price, session):
        """As many shares as are worth `level` times the equity that this very order leaves."""
        if level == 0:
            return 0.0
        worth = self.cash + self.shares * price

        def left(equity):
            costs, _ = self.costs_of(level * equity / price - self.shares, price, session)
            return worth - sum(costs.values())

        low, high = 0.0, worth
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            if left(middle) >= middle:
                low = middle
            else:
                high = middle
        shares = level * low / price
        if not self.whole_shares:
            return shares
        # As many as can be paid for: one more than a hair below the exact size, where that is whole.
        whole = float(math.trunc(shares * (1 - 1e-12)))
        more = whole + math.copysign(1, level)
        costs, _ = self.costs_of(more - self.shares, price, session)
        return more if abs(more) * price <= abs(level) * (worth - sum(costs.values())) else whole

    def order(self, target, price, session):
        """Brings the position to `target`; returns what was bought and at which price."""
        if target == self.target:
            return 0.0, 0.0
        self.target = target
        wanted = self.shares_for(target * self.leverage, price, session)
        bought = wanted - self.shares
        if bought == 0:
            return 0.0, 0.0
        costs, fill_price = self.costs_of(bought, price, session)
        if costs.get("depository"):
            self.depository_session = session
        if wanted == 0:
            self.entry_price = 0.0
        elif self.shares * wanted <= 0:
            self.entry_price = fill_price
        elif abs(wanted) > abs(self.shares):
            self.entry_price = (self.shares * self.entry_price + bought * fill_price) / wanted
        self.cash -= bought * fill_price + sum(amount for kind, amount in costs.items() if kind != "slippage")
        self.shares = wanted
        self.pay(costs)
        self.n_trades += 1
        self.traded_value += abs(bought) * price
        return bought, fill_price

    def pay(self, costs):
        for kind, amount in costs.items():
            self.costs[kind] = self.costs.get(kind, 0.0) + amount

    def worth(self, price):
        return self.cash + self.shares * price

    # One step.

    def step(self, target):
        """Returns reward, terminated, truncated, and the fills at the open and at the close."""
        bars, before, held_before = self.bars, self.equity, self.shares
        seen = self.row
        self.row = row = self.row + 1
        open_, close, session = bars.open[row], bars.close[row], bars.session[row]
        ruin = self.ruin * self.capital
        nothing = (0.0, 0.0)
        at_open, at_close, ruined_at_open = nothing, nothing, False
        if self.fill == "same-close":
            stays_flat = self.square_off and bars.ends_session(seen)
            at_open = self.order(0.0 if stays_flat else target, bars.close[seen], bars.session[seen])
        owed = -self.shares * bars.close[seen] if self.shares < 0 else max(0.0, -self.cash)
        fee = owed * self.borrow_bps_per_year / 1e4 * (bars.seconds[row] - bars.seconds[seen]) / YEAR_SECONDS
        self.cash -= fee
        self.pay({"borrowing": fee})
        if self.worth(open_) <= ruin:
            closing = self.order(0.0, open_, session)
            at_open, at_close = (closing, at_close) if at_open == nothing else (at_open, closing)
            equity, ruined_at_open = self.worth(open_), True
        else:
            if self.fill == "next-open":
                at_open = self.order(target, open_, session)
            if (row == self.last_row and self.liquidate_at_end) or (self.square_off and bars.ends_session(row)):
                at_close = self.order(0.0, close, session)
            elif self.fill == "next-close" and self.worth(close) > ruin:
                at_close = self.order(target, close, session)
            equity = self.worth(close)
        equity = max(equity, FLOOR * self.capital)
        reward = self.reward(before, equity)
        self.equity, self.peak = equity, max(self.peak, equity)
        self.max_drawdown = max(self.max_drawdown, 1 - equity / self.peak)
        if self.shares == 0:
            self.bars_held = 0
        elif self.shares * held_before > 0:
            self.bars_held += 1
        else:
            self.bars_held = 1
        return reward, ruined_at_open or equity <= ruin, row == self.last_row, at_open, at_close

    def reward(self, before, after):
        gained = math.log(after / before)
        if self.reward_kind == "log-return":
            return gained
        if self.reward_kind == "drawdown-penalised":
            fallen_before = math.log(self.peak / before)
            fallen = math.log(max(self.peak, after) / after)
            return gained - max(0.0, fallen - fallen_before)
        assert self.reward_kind == "differential-sharpe"
        a, b, eta = self.mean, self.mean_square, 0.01
        reward = (b * (gained - a) - a * (gained * gained - b) / 2) / (b - a * a) ** 1.5
        self.mean = a + eta * (gained - a)
        self.mean_square = max(b + eta * (gained * gained - b), self.mean ** 2 + 0.01 * self.bar_deviation ** 2)
        return reward

    def account_numbers(self, session_left):
        """What an observation says of the account."""
        price, unit = self.bars.close[self.row], self.bar_deviation * 8

        def clip(value):
            return min(5.0, max(-5.0, value))

        return (
            clip(self.shares * price / self.equity),
            clip(self.shares * (price - self.entry_price) / self.equity / unit),
            self.bars_held / (self.bars_held + 16),
            clip((1 - self.equity / self.peak) / unit),
            session_left,
        )
