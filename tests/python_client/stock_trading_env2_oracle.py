"""The rules `stock-trading-env2` once more: plain Python lists, statement by statement as they are described."""

import math
import statistics


def squash(x, s):
    return 0.0 if abs(x) <= 1e-8 else math.tanh(s * x)


class StockTradingEnv2:
    """One episode over `prices` and `days`, one entry a row."""

    def __init__(self, prices, days, *, K=100_000.0, S=None, c=0.0, buy=0.3, sell=-0.3, L=5, limit=20_000):
        self.prices, self.days = prices, days
        self.K, self.S, self.c, self.buy, self.sell = K, K if S is None else S, c, buy, sell
        self.end = min(limit, len(prices) - 1)
        self.B = self.W = self.D = K
        self.n, self.h, self.t = 0, 0, L
        self.day = days[L]
        self.daily, self.step_returns = [], []
        self.actions = [0.4, -0.4, 0, 0.4, -0.4, 0] * 3
        self.fees, self.fills = 0.0, []

    def step(self, a, m):
        """Returns reward, terminated and truncated."""
        K, c, t = self.K, self.c, self.t
        p = self.prices[t]
        self.fills = []
        liquidation = self.new_day(p) if self.days[t] != self.day else 0.0
        self.day = self.days[t]

        m = min(1.0, max(0.1, m))
        previous = self.W
        if a >= self.buy:
            shares = math.trunc(self.B / p * m)
            if shares > 0 and shares * p * (1 + c) <= self.B:
                self.trade(shares, p)
        if a <= self.sell:
            shares = math.trunc((self.n + self.S / p) * m)
            if shares > 0:
                self.trade(-shares, p)
        self.W = self.B + self.n * p
        self.actions = (self.actions + [abs(a)])[-20:]

        v = p / self.prices[t - 1] - 1
        u = p / self.prices[t - 10] - 1 if t >= 10 else 0.0
        total = (
            0.30 * squash(100 * (self.W - K) / K, 0.2)
            + 0.10 * squash(1000 * (self.W - previous) / K, 0.1)
            + 0.10 * squash(self.action_part(a, v, u), 0.1)
            + 0.05 * squash(self.position_part(p, u), 0.15)
            + 0.05 * squash(-max(0.0, 10 * (abs(self.n) * p / K - 2)), 0.05)
            + 0.05 * squash(min(0.0, self.activity_part()), 0.15)
            + 0.25 * squash(self.sharpe_part((self.W - previous) / K), 0.15)
            + 0.05 * squash(self.balance_part(), 0.05)
            + 0.05 * squash(liquidation, 0.05)
        )
        self.t += 1
        return max(-0.1, min(0.1, 0.1 * total)), self.W <= K / 2, self.t >= self.end

    def trade(self, shares, p):
        fee = self.c * abs(shares) * p
        self.B -= shares * p + fee
        self.n += shares
        self.fees += fee
        self.fills.append((shares, p))

    def new_day(self, p):
        q = 0.0
        if self.n != 0:
            q = -self.c * abs(self.n) * p
            self.trade(-self.n, p)
            self.W = self.B
            x = self.W - self.D
            self.D = self.W
        else:
            x = self.W - self.D
        r = x / self.K
        self.daily = (self.daily + [r])[-5:]
        part = r * 500 if r > 0 else r * 200
        part += 100 * q / self.K
        if len(self.daily) >= 3:
            part += 25 * statistics.fmean(self.daily)
        return part

    def action_part(self, a, v, u):
        if a > 0.3:
            return 5 if v > 0 else 3 if u > 0.002 else -1
        if a < -0.3:
            return 5 if v < 0 else 3 if u < -0.002 else -1
        return 2 if abs(v) < 0.002 else 0

    def position_part(self, p, u):
        if (self.n < 0 and u < -0.002) or (self.n > 0 and u > 0.002):
            self.h += 1
            return 15 * abs(self.n) * p * abs(u) + (1 if self.h > 5 else 0)
        self.h = 0
        return 0.0

    def activity_part(self):
        mean = statistics.fmean(abs(a) for a in self.actions[-10:])
        part = -60 * (mean - 0.25) if mean > 0.25 else 0.0
        count = 0
        for a in reversed(self.actions[-5:]):
            if abs(a) <= 0.3:
                break
            count += 1
        return part - (10 * count if count >= 2 else 0)

    def sharpe_part(self, step_return):
        self.step_returns = (self.step_returns + [step_return])[-20:]
        if len(self.step_returns) < 10:
            return 0.0
        return 10 * statistics.fmean(self.step_returns) / (statistics.pstdev(self.step_returns) + 1e-8)

    def balance_part(self):
        if len(self.actions) < 20:
            return 0.0
        k = (
            any(a > 0.3 for a in self.actions)
            + any(a < -0.3 for a in self.actions)
            + any(abs(a) <= 0.3 for a in self.actions)
        )
        return 1.5 * (k - 1)
