#!/usr/bin/env python3
"""Runs scripts/fetch-bars.py against a server on the loopback that answers as the chart interface does.

The answer in fixtures/yahoo-chart.json has the interface's shape and invented prices: eleven rows of which one
has no prices and one is the price of a running session.
"""

import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parent / "scripts" / "fetch-bars.py"
ANSWER = (HERE / "fixtures" / "yahoo-chart.json").read_bytes()
UNKNOWN = b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("User-Agent")))
        status, body, length = self.server.answer
        if status is None:
            self.server.release.wait(20)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(length if length is not None else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class FetchBars(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.asked = []
        self.server.release = threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name) / "data" / "real"

    def tearDown(self):
        self.server.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()

    def fetch(self, status=200, body=ANSWER, length=None, symbol="BPCL", url=None, more=()):
        self.server.answer = (status, body, length)
        url = url or f"http://127.0.0.1:{self.server.server_address[1]}"
        words = [sys.executable, str(SCRIPT), "--symbol", symbol, "--out", str(self.out), "--base-url", url, *more]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return subprocess.run(words, capture_output=True, text=True, timeout=30, env=environment, check=False)

    def fails(self, *says, code=1, **how):
        done = self.fetch(**how)
        self.assertEqual(done.returncode, code, done.stderr)
        for words in says:
            self.assertIn(words, done.stderr)
        if code == 1:
            self.assertTrue(done.stderr.startswith("fetch-bars: "), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual(list(self.out.glob("*")) + list(self.out.glob(".*")), [], "nothing half-written stays")

    def edited(self, change):
        answer = json.loads(ANSWER)
        change(answer["chart"]["result"][0])
        return json.dumps(answer).encode()

    def test_bars_are_labelled_and_stamped(self):
        done = self.fetch()
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = (self.out / "BPCL.csv").read_text().splitlines()
        self.assertRegex(lines[0], r"^# real: Yahoo chart interface, BPCL\.NS, 5m, fetched \d{4}-\d\d-\d\d$")
        self.assertEqual(lines[1], "datetime,open,high,low,close,volume")
        self.assertEqual(lines[2], "2024-05-17 09:15:00+05:30,612,613.3,611.15,612.25,0")
        self.assertEqual(lines[3], "2024-05-17 09:20:00+05:30,613.15,614.45,612.3,613.4,184223")
        self.assertEqual(lines[-1], "2024-05-20 09:30:00+05:30,604.05,605.35,603.2,604.3,90455")
        self.assertEqual(len(lines), 2 + 9)
        self.assertEqual(done.stdout, "")
        self.assertIn("9 bars of BPCL.NS", done.stderr)
        self.assertIn("left out: 1 without prices, 1 not finished yet", done.stderr)
        self.assertEqual([path.name for path in self.out.iterdir()], ["BPCL.csv"], "no temporary file stays")
        self.assertEqual((self.out / "BPCL.csv").stat().st_mode & 0o777, 0o644)

    def test_the_question_names_symbol_interval_and_range(self):
        self.fetch(symbol="M&M", more=["--interval", "15m", "--range", "1mo"])
        self.fetch(symbol="^NSEI")
        self.fetch(symbol="BPCL.BO")
        paths, agents = zip(*self.server.asked)
        self.assertEqual(paths[0], "/v8/finance/chart/M%26M.NS?interval=15m&range=1mo")
        self.assertEqual([path.split("?")[0].rsplit("/")[-1] for path in paths[1:]], ["%5ENSEI", "BPCL.BO"])
        self.assertTrue(all("urllib" not in agent for agent in agents))

    def test_days_are_dates(self):
        self.fetch(more=["--interval", "1d"])
        self.assertTrue((self.out / "BPCL.csv").read_text().splitlines()[2].startswith("2024-05-17,612,"))

    def test_rows_come_in_order_and_once(self):
        def shuffle(result):
            quote = result["indicators"]["quote"][0]
            for column in [result["timestamp"], *quote.values()]:
                column[1], column[2] = column[2], column[1]
                column.insert(5, column[4])

        done = self.fetch(body=self.edited(shuffle))
        stamps = [line.split(",")[0] for line in (self.out / "BPCL.csv").read_text().splitlines()[2:]]
        self.assertEqual(stamps, sorted(set(stamps)))
        self.assertEqual(len(stamps), 9)
        self.assertIn("1 at a repeated time", done.stderr)

    def test_a_bar_that_is_not_over_is_left_out(self):
        now = int(time.time()) // 300 * 300

        def move(result):
            result["timestamp"] = [now - 300 * (9 - position) for position in range(11)]

        done = self.fetch(body=self.edited(move))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 not finished yet", done.stderr)

    def test_an_older_file_survives_a_failure_and_gives_way_to_success(self):
        self.out.mkdir(parents=True)
        path = self.out / "BPCL.csv"
        path.write_text("older\n")
        self.assertEqual(self.fetch(status=500, body=b"no").returncode, 1)
        self.assertEqual(path.read_text(), "older\n")
        self.assertEqual(self.fetch().returncode, 0)
        self.assertTrue(path.read_text().startswith("# real: "))

    def test_an_unknown_symbol(self):
        self.fails("NOSUCH.NS: unknown symbol: No data found", "--symbol", status=404, body=UNKNOWN, symbol="NOSUCH")

    def test_http_errors(self):
        self.fails("HTTP 500", status=500, body=b"<html>")
        self.fails("too many requests", status=429, body=b"")
        body = b'{"chart":{"result":null,"error":{"description":"5m data not available\\nfor range"}}}'
        self.fails("HTTP 422: 5m data not available for range", status=422, body=body)

    def test_answers_of_another_shape(self):
        self.fails("not JSON", body=b"<html>consent</html>")
        self.fails("unexpected shape", body=b"[]")
        self.fails("unexpected shape", body=b'{"chart":{"result":null,"error":null}}')
        self.fails("unexpected shape", body=self.edited(lambda result: result["timestamp"].pop()))
        self.fails("unexpected shape", body=self.edited(lambda result: result["indicators"]["quote"][0].pop("close")))
        words = self.edited(lambda result: result["indicators"]["quote"][0]["close"].__setitem__(0, "n/a"))
        self.fails("unexpected shape", body=words)
        self.fails("broke off", length=len(ANSWER) + 10)

    def test_no_bars(self):
        def empty(result):
            result.pop("timestamp")
            result["indicators"] = {"quote": [{}]}

        self.fails("holds no bars", "--range", body=self.edited(empty))

    def test_nobody_there(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.fails(f"127.0.0.1:{port} cannot be reached", "is there a network?", url=f"http://127.0.0.1:{port}")

    def test_silence_has_an_end(self):
        start = time.monotonic()
        self.fails("no answer within 1 s", status=None, more=["--timeout", "1"])
        self.assertLess(time.monotonic() - start, 10)

    def test_a_symbol_cannot_leave_the_folder(self):
        for wrong in ["../BPCL", "a/b", "", ".hidden", "a b"]:
            self.fails("is not a symbol", code=2, symbol=wrong)
        self.assertEqual(self.server.asked, [])

    def test_a_folder_that_cannot_be_written(self):
        self.out.parent.mkdir(parents=True)
        self.out.write_text("a file where the folder should be")
        done = self.fetch()
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be written", done.stderr)
        self.assertIn("--out", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
