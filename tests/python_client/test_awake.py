"""Waiting awake: how long is decided by how long the last waits took."""

import unittest

import common  # noqa: F401  (puts the package on the path)
from envpool_client.awake import Spinner


class Thing:
    """Ready at a given look, counted from 1; never if 0."""

    def __init__(self, ready_at):
        self.ready_at, self.looks = ready_at, 0

    def __call__(self):
        self.looks += 1
        return self.looks == self.ready_at


def spinner(mean, max_mean):
    """One that has waited so long on average."""
    made = Spinner()
    made._mean, made._max_mean = mean, max_mean
    return made


class Awake(unittest.TestCase):
    def test_a_short_wait_is_looked_through_and_a_long_one_slept_through(self):
        short, long = Thing(5), Thing(0)
        self.assertTrue(spinner(0.5, 1.0).look(short))
        self.assertEqual(short.looks, 5)
        self.assertFalse(spinner(2.0, 1.0).look(long))
        self.assertEqual(long.looks, 1)

    def test_looking_has_an_end(self):
        never = Thing(0)
        self.assertFalse(spinner(0.0, 0.01).look(never))
        self.assertGreater(never.looks, 1)

    def test_a_sleeper_finds_out_that_the_other_side_is_fast_again(self):
        sleeper = spinner(2.0, 1.0)
        found = [sleeper.look(Thing(3)) for _ in range(16)]
        self.assertEqual(found, [False] * 15 + [True])
        sleeper.ready()
        self.assertLess(sleeper._mean, 1.0)
        self.assertTrue(sleeper.look(Thing(3)), "it looks from now on")

    def test_on_one_core_nobody_looks_twice(self):
        alone, never = spinner(0.0, 0.0), Thing(0)
        for looks in range(1, 50):
            self.assertFalse(alone.look(never))
            self.assertEqual(never.looks, looks)

    def test_who_is_told_that_the_server_is_fast_looks_however_long_it_waited(self):
        for told, looks_on in ((20_000, True), (9_000_000, False), (20_000, True)):
            told_spinner = spinner(0.0, 1.0)
            told_spinner._share = 1.0
            for _ in range(50):
                told_spinner.tell(told)
                # Both slept, so that the wait was long.
                told_spinner._begun = -1.0
                told_spinner.ready()
            never = Thing(0)
            self.assertFalse(told_spinner.look(never))
            self.assertEqual(never.looks > 1, looks_on, told)
