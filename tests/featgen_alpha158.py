"""Holds featgen's preset alpha158 to the formulas that Qlib publishes, written out once more with numpy and pandas.

usage: featgen_alpha158.py FEATGEN FOLDER

Over random walks, tick-sized prices with ties, flat prices and bars without volume. Qlib divides by x + 1e-12 where x
may be nothing, which gives 0 there; correlations and regressions without variation are 0 here and missing there.
Windows are whole: rows in which Qlib would make do with fewer bars are null here. Prints the size of the table and
the worst error, and every column that disagrees.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.stride_tricks import sliding_window_view

N = 400
LIMIT = 1e-8
WINDOWS = (5, 10, 20, 30, 60)


def series():
    tables = {}
    for seed, kind in enumerate(("walk", "another walk", "ticks", "flat", "without volume", "some without volume")):
        rng = np.random.default_rng(seed)
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N)))
        step = 0.3
        if kind == "ticks":
            close, step = np.round(100 + 0.05 * np.cumsum(rng.integers(-1, 2, N)), 2), 0.05
        opened = np.concatenate([close[:1], close[:-1]])
        high = np.maximum(opened, close) + step * rng.integers(0, 3, N)
        low = np.minimum(opened, close) - step * rng.integers(0, 3, N)
        volume = rng.integers(1, 100_000, N).astype(float)
        if kind == "flat":
            opened = high = low = close = np.full(N, 250.0)
        if kind == "without volume":
            volume = np.zeros(N)
        if kind == "some without volume":
            volume[rng.random(N) < 0.2] = 0.0
        tables[kind] = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return tables


def over(a, b):
    """The quotient, and 0 where there is nothing to divide by."""
    return np.divide(a, b, out=np.zeros_like(np.asarray(a, dtype=float)), where=np.asarray(b) != 0)


def ref(x, bars):
    return pd.Series(x).shift(bars).to_numpy()


def windows(x, bars):
    """The window that ends at each row, NaN before the first whole one."""
    padded = np.concatenate([np.full(bars - 1, np.nan), x])
    return sliding_window_view(padded, bars)


def std(x, bars):
    w = windows(x, bars)
    is_flat = np.all(w == w[:, :1], axis=1)
    return np.where(is_flat, 0.0, np.std(w, axis=1, ddof=1))


def mean(x, bars):
    return np.mean(windows(x, bars), axis=1)


def total(x, bars):
    return np.sum(windows(x, bars), axis=1)


def correlation(x, y, bars):
    a, b = windows(x, bars), windows(y, bars)
    da, db = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.sum(da * da, axis=1) * np.sum(db * db, axis=1))
    result = over(np.sum(da * db, axis=1), scale)
    still = np.all(a == a[:, :1], axis=1) | np.all(b == b[:, :1], axis=1)
    return np.where(np.isnan(scale), np.nan, np.where(still, 0.0, result))


def lines(x, bars):
    """Slope, R squared and last residual of the line through each window, by numpy's own least squares."""
    slope, rsquare, residual = (np.full(N, np.nan) for _ in range(3))
    time = np.arange(1, bars + 1)
    for row in range(bars - 1, N):
        w = x[row - bars + 1 : row + 1]
        if np.all(w == w[0]):
            slope[row] = rsquare[row] = residual[row] = 0.0
            continue
        b, a = np.polyfit(time, w, 1)
        slope[row], residual[row] = b, w[-1] - (a + b * bars)
        rsquare[row] = 1 - np.sum((w - a - b * time) ** 2) / np.sum((w - w.mean()) ** 2)
    return slope, rsquare, residual


def expected(t):
    """Qlib's Alpha158 by its own names (qlib/contrib/data/loader.py)."""
    o, h, l, c, v = (np.asarray(t[k], dtype=float) for k in ("open", "high", "low", "close", "volume"))
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    f = {
        "KMID": (c - o) / o, "KLEN": (h - l) / o, "KMID2": over(c - o, h - l), "KUP": (h - top) / o,
        "KUP2": over(h - top, h - l), "KLOW": (bottom - l) / o, "KLOW2": over(bottom - l, h - l),
        "KSFT": (2 * c - h - l) / o, "KSFT2": over(2 * c - h - l, h - l),
        "OPEN": o / c, "HIGH": h / c, "LOW": l / c, "VWAP": (h + l + c) / 3 / c,
    }
    before, volume_before = ref(c, 1), ref(v, 1)
    change, volume_change = c - before, v - volume_before
    ratio = np.log(np.where(np.isnan(volume_before), np.nan, over(v, volume_before)) + 1)
    weighted = np.abs(c / before - 1) * v
    # What is not known of the first row must not count as neither risen nor fallen.
    rose = np.where(np.isnan(before), np.nan, c > before)
    fell = np.where(np.isnan(before), np.nan, c < before)
    for d in WINDOWS:
        slope, rsquare, residual = lines(c, d)
        highest, lowest = windows(h, d), windows(l, d)
        imax = np.array([np.nan if np.isnan(w[0]) else np.argmax(w) + 1 for w in highest])
        imin = np.array([np.nan if np.isnan(w[0]) else np.argmin(w) + 1 for w in lowest])
        gains, losses = (total(np.maximum(x, 0), d) for x in (change, -change))
        more, less = (total(np.maximum(x, 0), d) for x in (volume_change, -volume_change))
        moves, volume_moves = total(np.abs(change), d), total(np.abs(volume_change), d)
        high, low = highest.max(axis=1), lowest.min(axis=1)
        f |= {
            f"ROC{d}": ref(c, d) / c, f"MA{d}": mean(c, d) / c, f"STD{d}": std(c, d) / c,
            f"BETA{d}": slope / c, f"RSQR{d}": rsquare, f"RESI{d}": residual / c,
            f"MAX{d}": high / c, f"MIN{d}": low / c,
            f"QTLU{d}": pd.Series(c).rolling(d).quantile(0.8).to_numpy() / c,
            f"QTLD{d}": pd.Series(c).rolling(d).quantile(0.2).to_numpy() / c,
            f"RANK{d}": pd.Series(c).rolling(d).rank(pct=True).to_numpy(),
            f"RSV{d}": np.where(np.isnan(high), np.nan, over(c - low, high - low)),
            f"IMAX{d}": imax / d, f"IMIN{d}": imin / d, f"IMXD{d}": (imax - imin) / d,
            f"CORR{d}": correlation(c, np.log(v + 1), d), f"CORD{d}": correlation(c / before, ratio, d),
            f"CNTP{d}": mean(rose, d), f"CNTN{d}": mean(fell, d), f"CNTD{d}": mean(rose, d) - mean(fell, d),
            f"SUMP{d}": np.where(np.isnan(moves), np.nan, over(gains, moves)),
            f"SUMN{d}": np.where(np.isnan(moves), np.nan, over(losses, moves)),
            f"SUMD{d}": np.where(np.isnan(moves), np.nan, over(gains - losses, moves)),
            f"VMA{d}": np.where(np.isnan(mean(v, d)), np.nan, over(mean(v, d), v)),
            f"VSTD{d}": np.where(np.isnan(mean(v, d)), np.nan, over(std(v, d), v)),
            f"WVMA{d}": np.where(np.isnan(mean(weighted, d)), np.nan, over(std(weighted, d), mean(weighted, d))),
            f"VSUMP{d}": np.where(np.isnan(volume_moves), np.nan, over(more, volume_moves)),
            f"VSUMN{d}": np.where(np.isnan(volume_moves), np.nan, over(less, volume_moves)),
            f"VSUMD{d}": np.where(np.isnan(volume_moves), np.nan, over(more - less, volume_moves)),
        }
    return f


def column_of(name):
    """Qlib's name as featgen has it."""
    letters = name.rstrip("0123456789")
    if letters[0] == "K":
        return name.lower()
    return f"qlib_{letters.lower()}" + (f"_{name[len(letters):]}" if letters != name else "")


def main():
    featgen, folder = sys.argv[1], Path(sys.argv[2])
    cells, worst, bad = 0, (0.0, ""), []
    for kind, table in series().items():
        path, out = folder / "bars.parquet", folder / "features.parquet"
        days = np.datetime64("2000-01-01", "us") + np.arange(N) * np.timedelta64(86_400_000_000, "us")
        pq.write_table(pa.table({"ts": pa.array(days), **table}), path)
        subprocess.run([featgen, "--quiet", "--double", "-f", "alpha158", str(path), "-o", str(out)], check=True)
        found = pq.read_table(out)
        formulas = expected(table)
        assert found.num_columns == 8 + len(formulas) == 8 + 158, (found.num_columns, len(formulas))
        for name, theirs in formulas.items():
            mine = found[column_of(name)].to_numpy().astype(float)
            cells += 1
            if not np.array_equal(np.isnan(mine), np.isnan(theirs)):
                row = int(np.flatnonzero(np.isnan(mine) != np.isnan(theirs))[0])
                bad.append(f"{name} on {kind}: row {row}: ours {mine[row]}, Qlib's {theirs[row]}")
                continue
            error = np.abs(mine - theirs) / np.maximum(np.abs(theirs), 1.0)
            row = int(np.nanargmax(error))
            if error[row] > LIMIT:
                bad.append(f"{name} on {kind}: row {row}: ours {mine[row]!r}, Qlib's {theirs[row]!r}")
            worst = max(worst, (float(error[row]), f"{name} on {kind}"))
    for line in bad[:40]:
        print(line)
    print(f"{cells} columns of {N} rows, {len(bad)} beyond {LIMIT}; worst of all {worst[0]:.1e} ({worst[1]})")


with np.errstate(invalid="ignore", divide="ignore"):
    main()
