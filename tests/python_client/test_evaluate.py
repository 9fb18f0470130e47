"""A Python policy is judged as `train` judges its own."""

import json

import numpy as np
from common import BIN, CARTPOLE, ENVPOOL, ROOT, Place, run

import envpool_client


class Judgement(Place):
    def test_long_and_short_are_judged_as_train_judges_them(self):
        run(BIN / "train", "ppo", "--timesteps", "2048", "--envs", "16", "--out", self.folder / "run", "--",
            *self.server)
        report = json.loads((self.folder / "run" / "latest" / "report.json").read_text())
        env = self.env(num_envs=4)
        action_for = env.specification.action_for
        for key, action, held in (("long_every_day", action_for(1.0), False), ("always_short", action_for(-1.0), False),
                                  ("buy_and_hold", 1, True), ("flat", 0, True), ("flat", action_for(0.0), False)):
            found = envpool_client.evaluate(
                lambda rows, action=action: np.full(len(rows), action), connection=env.connection, hold_account=held
            )
            expected = report["baselines"][key]
            for name, ours in found.statistics.items():
                value = expected[name]
                with self.subTest(baseline=key, figure=name):
                    if isinstance(ours, dict):
                        self.assertEqual(list(ours), [key for key, _ in value])
                        np.testing.assert_allclose(list(ours.values()), [each for _, each in value], rtol=0, atol=1e-9)
                    elif value is None or isinstance(value, int):
                        self.assertEqual(ours, value)
                    else:
                        self.assertAlmostEqual(ours, value, delta=1e-9)
            self.assertEqual(found.trace["equity"][-1], found.statistics["final_equity"])
            self.assertEqual((len(found.trace), len(found.trades)), (expected["bars"], expected["trades"]))
            self.assertIn("simulated", str(found))
            # The bar that closes a trade is not one of its bars, as in trades.csv.
            self.assertEqual(found.trades["bars"].sum(), (found.trace["shares"] != 0).sum())

    def test_several_symbols_and_a_policy_that_sees(self):
        both = self.folder / "both.parquet"
        bars = [ROOT / "data" / "sample" / f"{symbol}.csv" for symbol in ("BPCL", "RELIANCE")]
        run(BIN / "featgen", "-o", both, *bars)
        server = [ENVPOOL, "--market", "nse", "--test-days", "5", str(both)]
        seen = []

        def policy(rows):
            seen.append(rows)
            return np.where(rows[:, 0] > 0, 2, 0)

        found = envpool_client.evaluate(policy, command=server)
        self.assertEqual({rows.shape[0] for rows in seen}, {2})
        self.assertEqual(found.statistics["days"], 5)
        self.assertEqual(set(found.trades["symbol"]), {"BPCL", "RELIANCE"})
        last = [found.trace[found.trace["symbol"] == symbol]["equity"][-1] for symbol in (0, 1)]
        self.assertAlmostEqual(sum(last), found.statistics["final_equity"], delta=1e-9)
        # Cash in and out of all fills, and nothing held: what is left is the profit of the trades.
        self.assertAlmostEqual(found.trades["net"].sum(), sum(last) - 200_000, delta=1e-6)
        self.assertEqual(found.trace["shares"][found.trace["symbol"] == 0][-1], 0.0)
        opposite = envpool_client.evaluate(lambda rows: [2, 0], command=server)
        self.assertTrue(0.9 < opposite.statistics["exposure"] < 1.1, "long and short do not cancel")

    def test_a_policy_that_answers_wrongly_is_told(self):
        connection = self.env(num_envs=1).connection
        for answer, words in (([2, 2], "shape"), ([0.5], "whole numbers"), ([7], "environment 0: action 7")):
            with self.assertRaisesRegex((ValueError, envpool_client.Refused), words):
                envpool_client.evaluate(lambda rows, answer=answer: np.array(answer), connection=connection)
        # A policy that fails leaves no session behind, of which a connection has only so many.
        for _ in range(connection.specification.document["max_sessions"] + 1):
            with self.assertRaises(ZeroDivisionError):
                envpool_client.evaluate(lambda rows: 1 / 0, connection=connection)
        with self.assertRaisesRegex(ValueError, "needs a server of features"):
            envpool_client.evaluate(lambda rows: [0], command=CARTPOLE)
        unheld = self.env([ENVPOOL, str(self.features)]).connection
        with self.assertRaisesRegex(envpool_client.Refused, "--test-days"):
            envpool_client.evaluate(lambda rows: [0], connection=unheld)
