"""The rules of the server beside a second, naive implementation of them, step by step over random actions.

Money and shares must agree to 1e-9 relative, rewards to 1e-6. The second implementation shares nothing with the first but
the description: `portfolio_oracle.py`, `stock_trading_env2_oracle.py`. Features come from featgen's CSV, so that what an
observation shows is checked too, and so is the scaler.
"""

import csv
import datetime
import math

import numpy as np
from common import BIN, ENVPOOL, ROOT, Place, run
from portfolio_oracle import Bars, Portfolio, bps, nse_delivery, nse_intraday
from stock_trading_env2_oracle import StockTradingEnv2

N_ENVS = 10
N_STEPS = 100_000
"""Of the two rule sets themselves; each variant of them takes a tenth."""
TEST_DAYS = 30


def close_to(one, other, relative=1e-9):
    return abs(one - other) <= relative * max(1.0, abs(one), abs(other))


class Table(Place):
    """The features as columns of numbers, read from text."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        path = cls.folder / "features.csv"
        run(BIN / "featgen", "--format", "csv", "-o", path, ROOT / "data" / "sample" / "BPCL.csv")
        with open(path) as lines:
            rows = list(csv.reader(line for line in lines if not line.startswith("#")))
        header, rows = rows[0], rows[1:]
        column = {name: [row[at] for row in rows] for at, name in enumerate(header)}
        cls.ts = [round(datetime.datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp() * 1e6)
                  for ts in column["ts"]]
        cls.row_at = {ts: row for row, ts in enumerate(cls.ts)}
        cls.session = [int(session) for session in column["session"]]
        open_, close = ([float(price) for price in column[name]] for name in ("open", "close"))
        cls.bars = Bars([ts / 1e6 for ts in cls.ts], cls.session, open_, close)
        cls.values = np.array([[np.float32(text or "nan") for text in row[header.index("volume") + 1:]]
                               for row in rows], np.float32)
        complete = np.isfinite(cls.values).all(axis=1)
        cls.first_complete = int(np.argmax(complete))
        assert complete[cls.first_complete:].all(), "the sample has nulls at its start alone"
        n_sessions = cls.session[-1] + 1
        cls.n_train = sum(session < n_sessions - TEST_DAYS for session in cls.session)
        train = range(cls.first_complete, cls.n_train)
        seen = cls.values[train.start:train.stop].astype(np.float64)
        cls.mean, cls.deviation = seen.mean(axis=0), seen.std(axis=0)
        cls.shown = np.clip((cls.values - cls.mean) / cls.deviation, -5, 5)
        bars_seen = [1]
        for row in range(1, len(cls.session)):
            bars_seen.append(bars_seen[-1] + 1 if cls.session[row - 1] == cls.session[row] else 1)
        cls.session_left = [max(0.0, 1 - seen / 75) for seen in bars_seen]
        returns = [math.log(close[row] / close[row - 1]) for row in train if row > 0]
        cls.bar_deviation = float(np.std(returns))


class PortfolioRules(Table):
    def compare(self, flags, n_steps, *, targets=None, oracle_class=Portfolio, episode=512, **rules):
        """Steps the server with `flags` beside the oracle with `rules`. `targets(rng, held)` draws the actions and says
        which target each means; by default they are the levels −1, 0 and 1. Returns how episodes ended."""
        rules.setdefault("charge", bps(10))
        command = [ENVPOOL, str(self.features), "--test-days", str(TEST_DAYS), *flags]
        env = self.env(command, num_envs=N_ENVS, seed=5, trace=True)
        market = env.specification.market
        np.testing.assert_allclose(market["scaler"]["mean"], self.mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(market["scaler"]["deviation"], self.deviation, rtol=1e-9)
        rng = np.random.default_rng(7)
        observations, _ = env.reset()
        oracles = [None] * N_ENVS
        ends, n_fills = [], 0
        for _ in range(n_steps // N_ENVS):
            held = [oracle.target if oracle else 0.0 for oracle in oracles]
            actions, wanted = (targets or self.levels)(rng, held)
            observations, rewards, terminated, truncated, infos = env.step(actions)
            finished = {int(record["env"]): record for record in env.finished}
            trace = env.trace
            seen, expected_seen = observations.copy(), []
            for i in range(N_ENVS):
                if oracles[i] is None:
                    first = self.row_at[round(trace["ts"][i])] - 1
                    self.assertGreaterEqual(first, self.first_complete)
                    last = min(first + episode, self.n_train - 1)
                    oracles[i] = oracle_class(self.bars, first, last, bar_deviation=self.bar_deviation, **rules)
                oracle = oracles[i]
                costs_before = dict(oracle.costs)
                reward, is_terminated, is_truncated, at_open, at_close = oracle.step(wanted[i])
                self.assertEqual(self.ts[oracle.row], round(trace["ts"][i]))
                self.assertEqual((terminated[i], truncated[i]), (is_terminated, is_truncated))
                self.assertLessEqual(abs(reward - rewards[i]), 1e-6 * max(1.0, abs(reward)))
                expected = {"shares": oracle.shares, "equity": oracle.equity, "close": self.bars.close[oracle.row],
                            "open_fill_shares": at_open[0], "open_fill_price": at_open[1],
                            "close_fill_shares": at_close[0], "close_fill_price": at_close[1]}
                for name, value in expected.items():
                    self.assertTrue(close_to(value, trace[name][i]), f"{name}: {value} {trace[name][i]}")
                for kind, paid in zip(env.specification.cost_kinds, trace["costs"][i]):
                    due = oracle.costs.get(kind, 0.0) - costs_before.get(kind, 0.0)
                    self.assertTrue(abs(due - paid) < 1e-6, f"{kind}: {due} {paid}")
                n_fills += (at_open[0] != 0) + (at_close[0] != 0)
                ended = bool(is_terminated or is_truncated)
                self.assertEqual(ended, i in finished)
                if ended:
                    self.check_end(finished[i], oracle, env.specification.cost_kinds)
                    oracles[i] = None
                    ends.append((is_terminated, is_truncated))
                    seen[i] = finished[i]["final_obs"]
                expected_seen.append((*self.shown[oracle.row], *oracle.account_numbers(self.session_left[oracle.row])))
            np.testing.assert_allclose(seen, expected_seen, rtol=2e-6, atol=2e-6)
        self.assertGreater(n_fills, n_steps // 20)
        return ends

    def levels(self, rng, held):
        # Half of the time what was chosen before is chosen again.
        actions = np.where(rng.random(N_ENVS) < 0.5, rng.integers(0, 3, N_ENVS), np.array(held, int) + 1)
        return actions, [(-1.0, 0.0, 1.0)[action] for action in actions]

    def check_end(self, record, oracle, kinds):
        self.assertTrue(close_to(record["final_equity"], oracle.equity))
        self.assertTrue(close_to(record["max_drawdown"], oracle.max_drawdown))
        self.assertTrue(close_to(record["turnover"], oracle.traded_value / oracle.capital))
        self.assertEqual(record["trades"], oracle.n_trades)
        for kind, paid in zip(kinds, record["costs"]):
            self.assertTrue(abs(paid - oracle.costs.get(kind, 0.0)) < 1e-6, kind)
        if oracle.reward_kind == "log-return":
            self.assertTrue(abs(record["episode_return"] - math.log(record["final_equity"] / oracle.capital)) < 1e-9)

    def test_default_rules(self):
        self.assertGreater(len(self.compare([], N_STEPS)), 100)

    def test_nse_rules(self):
        ends = self.compare(["--market", "nse"], N_STEPS, charge=nse_intraday, square_off=True)
        self.assertGreater(len(ends), 100)

    def test_every_fill_with_and_without_square_off(self):
        for fill in ("next-close", "same-close"):
            for flags, square_off in ([], False), (["--square-off"], True):
                with self.subTest(fill=fill, square_off=square_off):
                    self.compare([*flags, "--fill", fill], N_STEPS // 10, fill=fill, square_off=square_off)

    def test_delivery_in_whole_shares_with_slippage(self):
        flags = ["--costs", "nse-delivery", "--whole-shares", "--slippage-bps", "3", "--capital", "25000"]
        self.compare(flags, N_STEPS // 10, charge=nse_delivery, whole_shares=True, slippage=3e-4, capital=25_000.0)

    def test_leverage_and_borrowing(self):
        flags = ["--leverage", "4", "--borrow-bps-per-year", "5000", "--costs", "bps:30", "--ruin", "0.5"]
        rules = {"leverage": 4.0, "borrow_bps_per_year": 5000.0, "charge": bps(30), "ruin": 0.5}
        self.assertIn((True, False), self.compare(flags, N_STEPS // 10, **rules))

    def test_rewards(self):
        for reward in ("differential-sharpe", "drawdown-penalised"):
            with self.subTest(reward=reward):
                self.compare(["--reward", reward, "--market", "nse"], N_STEPS // 10, reward=reward, charge=nse_intraday,
                             square_off=True)

    def test_actions_that_are_positions(self):
        def targets(rng, held):
            actions = rng.uniform(-1, 1, (N_ENVS, 1)).astype(np.float32)
            return actions, [float(action) for action in actions[:, 0]]

        self.compare(["--actions", "position"], N_STEPS // 10, targets=targets)

    def test_actions_that_are_directions_and_sizes(self):
        def draw(rng):
            return np.stack([rng.uniform(-1, 1, N_ENVS), rng.uniform(0, 1, N_ENVS)], axis=1).astype(np.float32)

        def means(action, held, below):
            direction, size = float(action[0]), float(action[1])
            return size if direction > 1 / 3 else held if direction >= -1 / 3 else below(size)

        for flags, below in ([], lambda size: -size), (["--short", "forbid"], lambda size: 0.0):
            def targets(rng, held, below=below):
                actions = draw(rng)
                return actions, [means(action, was, below) for action, was in zip(actions, held)]

            with self.subTest(flags=flags):
                self.compare(["--actions", "direction-size", *flags], N_STEPS // 10, targets=targets)

    def test_a_rate_card_of_ones_own(self):
        path = self.folder / "broker.toml"
        middle = "2024-06-03"
        rates = "\n".join(f"{name} = 0.0" for name in (
            "stt_buy_fraction", "stt_sell_fraction", "exchange_fraction", "sebi_fraction", "stamp_buy_fraction",
            "gst_fraction", "depository_rupees"))
        path.write_text("".join(
            f'[[rates]]\nin_force_since = "{date}"\n[rates.delivery]\nbrokerage_fraction = {fraction}\n'
            f"brokerage_cap_rupees = 50.0\n{rates}\n" for date, fraction in (("2024-01-01", 0.002), (middle, 0.0001))
        ))
        calendar = self.env([ENVPOOL, str(self.features)], num_envs=1).specification.market["calendar"]
        since = next(at for at, date in enumerate(calendar) if date >= middle)
        seen = set()

        class Dated(Portfolio):
            def order(self, target, price, session):
                fraction = 0.0001 if session >= since else 0.002
                seen.add(fraction)
                self.charge = lambda side, value, _: {"brokerage": min(50.0, value * fraction)}
                return super().order(target, price, session)

        self.compare(["--costs", str(path)], N_STEPS // 10, oracle_class=Dated)
        self.assertEqual(seen, {0.0001, 0.002})

    def test_episodes_start_where_sessions_do(self):
        starts_session = {row - 1 for row in range(1, len(self.session))
                          if self.session[row] != self.session[row - 1]}
        command = [ENVPOOL, str(self.features), "--start", "every-session", "--episode-len", "40"]
        env = self.env(command, num_envs=64, trace=True)
        env.reset()
        firsts = set()
        for step in range(200):
            env.step(np.zeros(64, int))
            if step % 40 == 0:
                firsts |= {self.row_at[round(ts)] - 1 for ts in env.trace["ts"]}
        self.assertLessEqual(firsts, starts_session)
        self.assertGreater(len(firsts), 100)


class StockTradingEnv2Rules(Table):
    def compare(self, flags, n_steps, **constants):
        command = [ENVPOOL, str(self.features), "--rules", "stock-trading-env2", *flags]
        env = self.env(command, num_envs=N_ENVS, seed=5, trace=True)
        first = self.first_complete
        lags = constants.get("L", 5)
        prices, days = self.bars.close[first:], self.session[first:]
        rng = np.random.default_rng(11)
        observations, _ = env.reset()
        oracles = [StockTradingEnv2(prices, days, **constants) for _ in range(N_ENVS)]
        ends = []
        for _ in range(n_steps // N_ENVS):
            actions = np.stack([rng.uniform(-1, 1, N_ENVS), rng.uniform(0, 1, N_ENVS)], axis=1).astype(np.float32)
            observations, rewards, terminated, truncated, _ = env.step(actions)
            finished = {int(record["env"]): record for record in env.finished}
            trace = env.trace
            for i, oracle in enumerate(oracles):
                row = first + oracle.t
                reward, is_terminated, is_truncated = oracle.step(float(actions[i, 0]), float(actions[i, 1]))
                self.assertLessEqual(abs(reward - rewards[i]), 1e-6)
                self.assertEqual((terminated[i], truncated[i]), (is_terminated, is_truncated))
                self.assertEqual(round(trace["ts"][i]), self.ts[row])
                self.assertTrue(close_to(trace["equity"][i], oracle.W), f"{trace['equity'][i]} {oracle.W}")
                self.assertEqual(trace["shares"][i], oracle.n)
                fills = [(trace[f"{side}_fill_shares"][i], trace[f"{side}_fill_price"][i]) for side in ("open", "close")]
                self.assertEqual([fill for fill in fills if fill[0] != 0], oracle.fills)
                ended = is_terminated or is_truncated
                self.assertEqual(ended, i in finished)
                if ended:
                    ends.append((is_terminated, is_truncated))
                    self.assertTrue(close_to(finished[i]["final_equity"], oracle.W))
                    self.assertTrue(close_to(finished[i]["costs"].sum(), oracle.fees))
                now = first + oracle.t
                shown = finished[i]["final_obs"] if ended else observations[i]
                self.assertTrue((shown.reshape(-1, lags + 1) == self.values[now - lags:now + 1].T).all())
                if ended:
                    oracles[i] = StockTradingEnv2(prices, days, **constants)
        return ends

    def test_the_rules_with_their_own_constants(self):
        self.compare([], N_STEPS)

    def test_other_constants(self):
        flags = ["--capital", "50000", "--short-limit", "80000", "--costs", "bps:25", "--buy-threshold", "0.5",
                 "--sell-threshold", "-0.1", "--lags", "3"]
        constants = {"K": 50_000.0, "S": 80_000.0, "c": 0.0025, "buy": 0.5, "sell": -0.1, "L": 3}
        # So short that most reach the limit, and so long that most are ruined by what trading costs.
        for limit, end in (60, (False, True)), (777, (True, False)):
            with self.subTest(limit=limit):
                ends = self.compare([*flags, "--episode-len", str(limit)], N_STEPS // 10, limit=limit, **constants)
                self.assertIn(end, ends)
