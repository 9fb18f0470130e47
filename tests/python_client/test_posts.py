"""Requests that are posted in shared memory: what each side writes, and what a side that sleeps is told."""

import unittest
from unittest import mock

import common  # noqa: F401  (puts the package on the path)
from envpool_client import barrier
from envpool_client.posts import Posts

# The words of PROTOCOL.md, by their bytes.
POSTED, PAUSE, CLIENT_SLEEPS, ANSWERED, TOOK, KIND, SERVER_SLEEPS = (
    at // 4 for at in (0, 4, 64, 128, 132, 192, 256)
)


class PostsTest(unittest.TestCase):
    def setUp(self):
        self.words = memoryview(bytearray(512)).cast("I")
        self.at_barrier = []
        self.posts = Posts(self.words, lambda: self.at_barrier.append(self.words.tolist()))

    def answer(self, kind=0):
        self.words[KIND], self.words[TOOK] = kind, 1000
        self.words[ANSWERED] = self.words[POSTED]

    def test_a_request_is_posted_after_its_actions_and_before_the_look_whether_the_server_sleeps(self):
        self.assertFalse(self.posts.post(), "it is awake")
        before, after = self.at_barrier
        self.assertEqual((before[POSTED], after[POSTED]), (0, 1))
        self.answer()
        self.assertTrue(self.posts.look())
        self.assertTrue(self.posts.receive())
        self.words[SERVER_SLEEPS] = 1
        self.assertTrue(self.posts.post(), "it is to be woken")
        self.assertEqual((self.words[POSTED], self.words[SERVER_SLEEPS]), (2, 0))

    def test_the_pause_is_told_once_there_is_one(self):
        self.posts.post()
        self.assertEqual(self.words[PAUSE], 0)
        self.answer()
        self.posts.receive()
        self.posts.post()
        self.assertGreater(self.words[PAUSE], 0)

    def test_who_falls_asleep_says_so_and_then_looks_once_more(self):
        self.posts.post()
        self.at_barrier.clear()
        self.assertTrue(self.posts.fall_asleep())
        self.assertEqual(self.at_barrier[0][CLIENT_SLEEPS], 1)
        self.answer()
        self.assertFalse(self.posts.fall_asleep(), "the answer is there")
        self.assertTrue(self.posts.receive())
        self.posts.post()
        self.assertEqual(self.words[CLIENT_SLEEPS], 0)

    def test_a_refusal_is_in_a_frame(self):
        self.posts.post()
        self.answer(kind=1)
        self.assertTrue(self.posts.look())
        self.assertFalse(self.posts.receive())

    def test_numbers_begin_again_after_the_last(self):
        self.posts._number = (1 << 32) - 1
        self.posts.post()
        self.assertEqual(self.words[POSTED], 0)
        self.answer()
        self.assertTrue(self.posts.look())


class BarrierTest(unittest.TestCase):
    def test_there_is_one_where_it_is_known_what_it_is(self):
        for machine, system, lock, function, expected in (
            ("x86_64", "linux", "semaphore", None, True),
            ("x86_64", "linux", "mutex+cond", None, False),
            ("aarch64", "linux", "semaphore", None, False),
            ("x86_64", "darwin", "mutex+cond", mock.Mock(), True),
            ("arm64", "darwin", "mutex+cond", mock.Mock(), True),
            ("arm64", "darwin", "mutex+cond", None, False),
        ):
            library = mock.Mock(spec=["OSMemoryBarrier"] if function else [])
            with mock.patch("platform.machine", lambda: machine), mock.patch("sys.platform", system), \
                    mock.patch("sys.thread_info", mock.Mock(lock=lock)), mock.patch("ctypes.PyDLL", lambda _: library):
                made = barrier.barrier()
            self.assertEqual(made is not None, expected, (machine, system))
            if made:
                made()
            if function:
                library.OSMemoryBarrier.assert_called_once_with()
