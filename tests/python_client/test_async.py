"""Some environments at a time: the same bits whatever the batch, in EnvPool's manner."""

import numpy as np
from common import CARTPOLE, Place
from gymnasium.vector import AutoresetMode

import envpool_client
from envpool_client import AsyncEnv, VectorEnv

N_ENVS, N_STEPS = 12, 40


def choices(ids, steps):
    """The actions of environments at steps of theirs."""
    return (ids * 7 + steps * 5) // 3 % 2


class Async(Place):
    def some(self, command=None, **keywords):
        env = AsyncEnv(None if "address" in keywords else command or self.server, **keywords)
        self.addCleanup(env.close)
        return env

    def whole(self, command, **keywords):
        """What each environment sees and is told of the ends of its episodes, all of them stepped at once."""
        env = self.env(command, num_envs=N_ENVS, seed=4, **keywords)
        rows = [[(observation, np.float32(0), False, False, None)] for observation in env.reset()[0]]
        for step in range(N_STEPS):
            brought = env.step(choices(np.arange(N_ENVS), np.full(N_ENVS, step)))
            for at in range(N_ENVS):
                rows[at].append(self.row(brought, at))
        return rows

    @staticmethod
    def row(brought, at):
        observations, rewards, terminated, truncated, infos = brought
        final = infos["final_obs"][at] if "final_obs" in infos else None
        ended = None if final is None else (infos["final_info"]["episode_return"][at], final.copy())
        return observations[at].copy(), rewards[at], terminated[at], truncated[at], ended

    def play(self, env, steps, until, seen, rng=None):
        """Steps until every environment has made its steps; some are sent late, where there is somebody to choose."""
        held = []
        while steps.min() < until:
            brought = env.recv()
            ids = brought[-1]["env_id"]
            self.assertTrue((np.diff(ids) > 0).all())
            for at, env_id in enumerate(ids):
                seen[env_id].append(self.row(brought, at))
            steps[ids] += 1
            held.append(ids)
            while held and (rng is None or env.in_flight == 0 or rng.random() < 0.7):
                ids = held.pop(0)
                order = np.arange(len(ids)) if rng is None else rng.permutation(len(ids))
                env.send(choices(ids, steps[ids] - 1)[order], ids[order])

    def assert_same(self, seen, expected, what):
        for env, (ours, theirs) in enumerate(zip(seen, expected)):
            for step, (mine, yours) in enumerate(zip(ours, theirs)):
                for one, other in zip(mine[:4], yours[:4]):
                    np.testing.assert_array_equal(one, other, f"{what}: environment {env}, step {step}")
                self.assertEqual(mine[4] is None, yours[4] is None)
                if mine[4] is not None:
                    self.assertEqual(mine[4][0], yours[4][0])
                    np.testing.assert_array_equal(mine[4][1], yours[4][1])

    def test_any_batch_and_order_gives_the_same_bits(self):
        _, address = self.listen(*self.server[1:], "--envs", str(N_ENVS))
        expected = self.whole(None, episode=11)
        for batch_size in (N_ENVS, N_ENVS // 2, N_ENVS // 4, 5, 7, 1):
            for where, shared_memory, copy in (({}, False, False), ({}, True, True), ({"address": address}, False, True),
                                               ({"address": address}, True, False)):
                env = self.some(**where, num_envs=N_ENVS, batch_size=batch_size, seed=4, episode=11,
                                shared_memory=shared_memory, copy=copy)
                env.async_reset()
                seen, steps = [[] for _ in range(N_ENVS)], np.zeros(N_ENVS, int)
                self.play(env, steps, N_STEPS, seen, np.random.default_rng(batch_size))
                self.assert_same(seen, expected, f"{batch_size} at a time, {shared_memory=}, {copy=}")
                self.assertTrue(all(len(rows) >= N_STEPS for rows in seen))
                env.close()

    def test_envpools_loop_keeps_as_many_batches_on_their_way_as_there_can_be(self):
        env = self.some([*CARTPOLE, "--batch", "4"], num_envs=N_ENVS)
        self.assertEqual((env.batch_size, env.num_envs, env.specification.batch), (4, N_ENVS, 4))
        env.async_reset()
        self.assertEqual(env.in_flight, 3)
        for turn in range(9):
            observations, rewards, terminated, truncated, info = env.recv()
            np.testing.assert_array_equal(info["env_id"], np.arange(4) + 4 * (turn % 3))
            self.assertEqual((observations.shape, rewards.shape, terminated.dtype), ((4, 4), (4,), np.bool_))
            env.send(np.array([env.action_space.sample() for _ in range(4)]), info["env_id"])
        # Forgotten, with what was on its way.
        env.async_reset()
        _, rewards, *_ = env.recv()
        np.testing.assert_array_equal(rewards, 0)
        env.step(np.zeros(4, int))
        self.assertEqual(self.some(CARTPOLE, num_envs=6).batch_size, 6)

    def test_mistakes_name_the_environment_and_change_nothing(self):
        for shared_memory in (False, True):
            env, twin = (self.some(num_envs=6, batch_size=2, seed=1, shared_memory=shared_memory) for _ in range(2))
            for one in (env, twin):
                one.async_reset()
                for _ in range(3):
                    one.recv()
            zeros = np.zeros(2, int)
            for ids, actions, words in (
                ([0, 6], zeros, "environment 6 is not one of the 6"),
                ([-1, 0], zeros, "environment -1"),
                ([3, 3], zeros, "environment 3 is named twice"),
                ([0], zeros, r"shape \(1,\)"),
                ([0.0, 1.0], zeros, "float64"),
                ([0, 1], np.zeros(3, int), r"shape \(3,\)"),
                ([0, 1], np.zeros(2), "whole numbers"),
            ):
                with self.assertRaisesRegex(ValueError, words):
                    env.send(actions, np.array(ids))
            env.send(np.array([0, 1]), np.array([2, 0])), twin.send(np.array([1, 0]), np.array([0, 2]))
            with self.assertRaisesRegex(ValueError, "environment 2 is on its way"):
                env.send(zeros, np.array([1, 2]))
            with self.assertRaisesRegex(ValueError, "recv them before a snapshot"):
                env.snapshot()
            env.send(np.array([0, 7]), np.array([5, 3]))
            env.send(np.array([1, 2]), np.array([1, 4])), twin.send(np.array([1, 2]), np.array([1, 4]))
            np.testing.assert_array_equal(env.recv()[0], twin.recv()[0])
            with self.assertRaisesRegex(envpool_client.Refused, "environment 3: action 7"):
                env.recv()
            np.testing.assert_array_equal(env.recv()[0], twin.recv()[0])
            with self.assertRaisesRegex(ValueError, "nothing is on its way"):
                env.recv()
            for one in (env, twin):
                one.send(np.array([0, 2]), np.array([5, 3]))
            np.testing.assert_array_equal(env.recv()[0], twin.recv()[0])

    def test_a_raw_request_that_is_none_is_refused_by_the_server(self):
        env = self.some(CARTPOLE, num_envs=6, batch_size=2)
        env.async_reset()
        for _ in range(3):
            env.recv()
        for ids, words in (([1, 0], "environment 0"), ([2, 2], "environment 2"), ([0, 6], "environment 6"),
                           ([0], "bytes of actions"), ([0, 1, 2], "bytes of actions")):
            env._session.send(np.zeros(len(ids), "<i4"), np.array(ids, np.uint32))
            with self.assertRaisesRegex(envpool_client.Refused, words):
                env._session.receive()
        env.step(np.zeros(2, int), [0, 1])
        for batch_size, error, words in ((7, ValueError, "from 1 to num_envs"), (0, ValueError, "from 1 to num_envs"),
                                         (1.5, ValueError, "whole number")):
            with self.assertRaisesRegex(error, words):
                AsyncEnv(CARTPOLE, num_envs=6, batch_size=batch_size)

    def test_environments_that_stay_as_they_ended_are_reset_by_name(self):
        env = self.some(num_envs=6, batch_size=3, episode=2, autoreset_mode="Disabled")
        env.async_reset()
        env.recv(), env.recv()
        for _ in range(2):
            brought = env.step(np.ones(3, int), np.array([0, 2, 4]))
        self.assertTrue(brought[3].all())
        env.async_reset(np.array([4, 0, 2]), np.array([True, False, False]))
        _, rewards, _, truncated, info = env.recv()
        np.testing.assert_array_equal(info["env_id"], [0, 2, 4])
        np.testing.assert_array_equal(truncated, [True, True, False])
        np.testing.assert_array_equal(rewards, 0)
        with self.assertRaisesRegex(ValueError, "a mask needs the environments"):
            env.async_reset(mask=np.ones(3, bool))

    def test_a_restored_environment_goes_on_with_the_same_bits(self):
        for batch_size in (N_ENVS, 4, 5):
            made = {"num_envs": N_ENVS, "batch_size": batch_size, "episode": 11}
            env = self.some(**made, seed=4)
            env.async_reset()
            steps = np.zeros(N_ENVS, int)
            self.play(env, steps, 20, [[] for _ in range(N_ENVS)])
            if env.in_flight:
                with self.assertRaisesRegex(ValueError, "on their way"):
                    env.snapshot()
            while env.in_flight:
                ids = env.recv()[-1]["env_id"]
                steps[ids] += 1
            snapshot = env.snapshot()
            played = []
            for other in (env, env, self.some(**made, seed=9)):
                other.restore(snapshot)
                self.assertEqual(other.seed, 4)
                seen, counted = [[] for _ in range(N_ENVS)], steps.copy()
                self.play(other, counted, 60, seen)
                played.append(seen)
            self.assert_same(played[1], played[0], "again")
            self.assert_same(played[2], played[0], "elsewhere")

    def test_a_trace_comes_with_each_batch(self):
        env = self.some(num_envs=5, batch_size=2, seed=1, trace=True)
        env.async_reset()
        _, _, _, _, info = env.recv()
        env.send(np.array([2, 0]), info["env_id"])
        for _ in range(2):
            _, _, _, _, info = env.recv()
        trace = env.trace
        self.assertEqual((trace["open_fill_shares"].shape, trace["costs"].shape[0]), ((2,), 2))
        self.assertEqual(info["env_id"].tolist(), [0, 4])
        self.assertTrue(trace["open_fill_shares"][0] > 0 and trace["open_fill_shares"][1] == 0)
        self.assertTrue(trace["costs"][0].sum() > 0 and trace["costs"][1].sum() == 0)

    def test_more_in_flight_than_sockets_hold_does_not_hang(self):
        n = 1 << 16
        _, address = self.listen("--env", "cartpole", "--envs", str(n))
        for where in ({"address": address}, {}):
            env = self.some(CARTPOLE, **where, num_envs=n, batch_size=n // 8, shared_memory=False)
            env.async_reset()
            for _ in range(16):
                brought = [env.recv() for _ in range(8)]
                for *_, info in brought:
                    env.send(np.zeros(n // 8, np.int32), info["env_id"])


class Seeds(Place):
    def test_a_snapshot_brings_its_seed(self):
        made = {"num_envs": 6, "episode": 11}
        env = self.env(**made, seed=4)
        env.reset()
        play = lambda env: [env.step((np.arange(6) + step) % 3)[0] for step in range(30)]  # noqa: E731
        play(env)
        snapshot = env.snapshot()
        then = play(env)
        env.reset(seed=5)
        for other in (env, self.env(**made, seed=6)):
            other.restore(snapshot)
            self.assertEqual(other.seed, 4)
            np.testing.assert_array_equal(play(other), then)
        # What is refused leaves the session, with its seed, as it was.
        env.reset(seed=7)
        foreign = VectorEnv(self.server, num_envs=6, seed=4, autoreset_mode=AutoresetMode.NEXT_STEP)
        self.addCleanup(foreign.close)
        foreign.reset()
        before = env.snapshot()
        with self.assertRaisesRegex(envpool_client.Refused, "autoreset|episode"):
            env.restore(foreign.snapshot())
        self.assertEqual((env.seed, env.snapshot()), (7, before))
