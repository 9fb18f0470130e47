#!/usr/bin/env python3
"""Fetches real bars of one symbol from Yahoo's public chart interface into data/real/SYMBOL.csv.

The file begins with a label that marks it as real, so that every later step knows. It is written under a
temporary name and renamed when it is whole. Needs Python's standard library and a network, nothing else.
"""

import argparse
import datetime
import http.client
import json
import math
import os
import re
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

BASE_URL = "https://query1.finance.yahoo.com"
INTERVAL_SECONDS = {"1m": 60, "2m": 120, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "90m": 5400, "1h": 3600}
DAILY_INTERVALS = ("1d", "5d", "1wk", "1mo", "3mo")
MOST_BYTES = 64 * 1024 * 1024
# The exchange's time does not change with the seasons.
INDIA_SECONDS = 19800


class Failure(Exception):
    """Something that the user is told in one line."""


def main():
    arguments = parse_arguments()
    try:
        answer = fetch(arguments)
        bars, left_out, offset_seconds = bars_of(answer, arguments.interval, time.time())
        if not bars:
            raise Failure(f"{ticker(arguments.symbol)}: the answer holds no bars (try another --range or --interval)")
        path = write(arguments, bars, offset_seconds)
    except Failure as failure:
        print(f"fetch-bars: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    first, last = (stamp(bar[0], arguments.interval, offset_seconds) for bar in (bars[0], bars[-1]))
    parts = [f"{count} {why}" for why, count in left_out.items() if count]
    dropped = f"; left out: {', '.join(parts)}" if parts else ""
    print(f"fetch-bars: {path}: {len(bars)} bars of {ticker(arguments.symbol)}, {first} to {last}{dropped}", file=sys.stderr)
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="fetch-bars", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--symbol", required=True, type=symbol, help="NSE symbol, such as BPCL; another market's with its suffix, such as BPCL.BO")
    parser.add_argument("--interval", default="5m", choices=[*INTERVAL_SECONDS, *DAILY_INTERVALS], help="length of a bar (default: 5m)")
    parser.add_argument("--range", default="60d", type=span, help="how far back, such as 60d, 2y or max (default: 60d, the most for 5m)")
    parser.add_argument("--out", default=os.path.join("data", "real"), help="folder for SYMBOL.csv (default: data/real)")
    parser.add_argument("--timeout", default=30.0, type=seconds, help="give up after so many seconds (default: 30)")
    parser.add_argument("--base-url", default=BASE_URL, help="where the interface is (default: %(default)s)")
    return parser.parse_args()


def symbol(text):
    if not re.fullmatch(r"[A-Za-z0-9^][A-Za-z0-9&^=._-]{0,31}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a symbol")
    return text


def span(text):
    if not re.fullmatch(r"[1-9][0-9]*(d|mo|y)|ytd|max", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range such as 60d, 6mo, 2y or max")
    return text


def seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 3600")
    return value


def ticker(name):
    """Yahoo's name: NSE symbols get their suffix; indices and names with a suffix stay as they are."""
    return name if "." in name or name.startswith("^") or "=" in name else name + ".NS"


def fetch(arguments):
    """The answer as parsed JSON. Every wait has an end, that for a name server too, which no socket limits."""
    outcome = []

    def work():
        try:
            outcome.append(request(arguments))
        except Failure as failure:
            outcome.append(failure)
        except Exception as error:  # A thread's exception would otherwise be printed as a stack.
            outcome.append(Failure(f"{host(arguments)}: {error}"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(arguments.timeout)
    if not outcome:
        raise late(arguments)
    if isinstance(outcome[0], Failure):
        raise outcome[0]
    return outcome[0]


def host(arguments):
    return urllib.parse.urlsplit(arguments.base_url).netloc or arguments.base_url


def late(arguments):
    """The failure of an answer that did not come in time, whoever noticed it first."""
    return Failure(f"{host(arguments)}: no answer within {arguments.timeout:g} s (wait longer with --timeout)")


def request(arguments):
    name = ticker(arguments.symbol)
    query = urllib.parse.urlencode({"interval": arguments.interval, "range": arguments.range})
    url = f"{arguments.base_url}/v8/finance/chart/{urllib.parse.quote(name, safe='')}?{query}"
    # The interface turns away the name that Python gives itself.
    asked = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0", "Accept": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=arguments.timeout) as response:
            body = response.read(MOST_BYTES + 1)
            if response.length and len(body) <= MOST_BYTES:
                raise http.client.IncompleteRead(body, response.length)
    except urllib.error.HTTPError as error:
        raise Failure(refusal(name, error)) from error
    except TimeoutError as error:
        raise late(arguments) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise late(arguments) from error
        hint = "is there a network? the sample bars need none"
        raise Failure(f"{host(arguments)} cannot be reached: {error.reason} ({hint})") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{host(arguments)}: the answer broke off: {error or type(error).__name__}") from error
    if len(body) > MOST_BYTES:
        raise Failure(f"{host(arguments)}: the answer is larger than {MOST_BYTES >> 20} MB")
    try:
        return json.loads(body)
    except ValueError as error:
        raise Failure(f"{host(arguments)}: the answer is not JSON ({error})") from error


def refusal(name, error):
    """An HTTP error in words, with the reason that the interface gives, if it gives one."""
    try:
        reason = json.loads(error.read(65536))["chart"]["error"]["description"]
    except Exception:  # Whatever is wrong with the reason, the status is still worth telling.
        reason = error.reason
    reason = " ".join(str(reason).split())
    if error.code == 404:
        return f"{name}: unknown symbol: {reason} (--symbol)"
    if error.code == 429:
        return f"{name}: HTTP 429: too many requests; try again later"
    return f"{name}: HTTP {error.code}: {reason}"


def bars_of(answer, interval, now):
    """Bars in order of time, how many rows were left out and why, and the exchange's distance from UTC."""
    try:
        if answer["chart"].get("error"):
            raise Failure(f"the answer is an error: {answer['chart']['error'].get('description')}")
        result = answer["chart"]["result"][0]
        stamps = result.get("timestamp") or []
        quote = result["indicators"]["quote"][0]
        columns = [quote[name] for name in ("open", "high", "low", "close", "volume")] if stamps else [[]] * 5
        offset_seconds = int(result["meta"].get("gmtoffset", INDIA_SECONDS))
        if any(len(column) != len(stamps) for column in columns):
            raise ValueError("columns of different lengths")
        rows = sorted(zip((int(at) for at in stamps), *columns), key=lambda row: row[0])
        return (*select(rows, interval, now), offset_seconds)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"the answer has an unexpected shape ({type(error).__name__}: {error})") from error


def select(rows, interval, now):
    left_out = {"without prices": 0, "at a repeated time": 0, "not finished yet": 0}
    length = INTERVAL_SECONDS.get(interval, 0)
    bars = []
    for row in rows:
        numbers = [None if value is None else float(value) for value in row[1:]]
        if any(number is None or not math.isfinite(number) for number in numbers) or min(numbers[:4]) <= 0:
            left_out["without prices"] += 1
        elif bars and bars[-1][0] == row[0]:
            left_out["at a repeated time"] += 1
        # The last row of a running session is the price of this moment, stamped with this moment.
        elif length and (row[0] + length > now or row[0] % 60):
            left_out["not finished yet"] += 1
        else:
            bars.append((row[0], *numbers))
    return bars, left_out


def stamp(at, interval, offset_seconds):
    """The opening time with its distance from UTC; of a bar of a day or more the date alone."""
    zone = datetime.timezone(datetime.timedelta(seconds=offset_seconds))
    local = datetime.datetime.fromtimestamp(at, zone)
    return local.strftime("%Y-%m-%d") if interval in DAILY_INTERVALS else local.isoformat(sep=" ")


def number(value):
    """Prices come with the noise of single precision; four places are more than any exchange quotes."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def write(arguments, bars, offset_seconds):
    path = os.path.join(arguments.out, arguments.symbol + ".csv")
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    temporary = None
    try:
        os.makedirs(arguments.out, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=arguments.out, prefix=".", suffix=".part", delete=False) as out:
            temporary = out.name
            out.write(f"# real: Yahoo chart interface, {ticker(arguments.symbol)}, {arguments.interval}, fetched {today}\n")
            out.write("datetime,open,high,low,close,volume\n")
            for at, *numbers in bars:
                out.write(",".join([stamp(at, arguments.interval, offset_seconds), *map(number, numbers)]) + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise Failure(f"{path}: cannot be written: {error.strerror or error} (--out)") from error
        raise
    return path


if __name__ == "__main__":
    sys.exit(main())
