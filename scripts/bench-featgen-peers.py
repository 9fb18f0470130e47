#!/usr/bin/env python3
"""The columns of featgen's preset `core`, from CSV into Parquet, as users of pandas or polars write them.

usage: bench-featgen-peers.py pandas|polars BARS.csv OUT.parquet
"""

import math
import sys

LAGS = (1, 2, 3, 6, 12, 24)


def with_pandas(source, target):
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import talib as t

    d = pd.read_csv(source, comment="#")
    ts = pd.to_datetime(d.iloc[:, 0], format="ISO8601", utc=True)
    d[["open", "high", "low", "close", "volume"]] = d[["open", "high", "low", "close", "volume"]].astype(float)
    o, h, l, c, v = (d[k] for k in ("open", "high", "low", "close", "volume"))
    O, H, L, C, V = (x.to_numpy() for x in (o, h, l, c, v))
    day = (ts + pd.Timedelta("5h30min")).dt.normalize()
    f = {f"log_return_{k}": np.log(c / c.shift(k)) for k in LAGS}
    f |= {f"rsi_{n}": t.RSI(C, n) for n in (6, 14)}
    f["stochf"], f["stoch"] = t.STOCHF(H, L, C, 14, 3, 0)[0], t.STOCH(H, L, C, 14, 3, 0, 3, 0)[1]
    f["cci"], f["mfi"] = t.CCI(H, L, C, 20), t.MFI(H, L, C, V, 14)
    f["aroonosc"], f["bop"] = t.AROONOSC(H, L, 25), t.BOP(O, H, L, C)
    f |= {name: values / C for name, values in zip(("macd", "signal", "hist"), t.MACD(C, 12, 26, 9))}
    f["slope"], f["trix"] = t.LINEARREG_SLOPE(C, 14) / C, t.TRIX(C, 9)
    f["adx"], f["plus"], f["minus"] = t.ADX(H, L, C, 14), t.PLUS_DI(H, L, C, 14), t.MINUS_DI(H, L, C, 14)
    f["er"] = (c - c.shift(10)).abs() / c.diff().abs().rolling(10).sum()
    f |= {f"sma_{n}": t.SMA(C, n) / C - 1 for n in (5, 10, 20)}
    f["ema"] = t.EMA(C, 50) / C - 1
    f["position"] = (C - t.SMA(C, 20)) / (2 * t.STDDEV(C, 20, 1.0))
    f["natr"] = t.NATR(H, L, C, 14)
    square = np.log(c / c.shift(1)) ** 2
    f |= {f"rv_{n}": np.sqrt(square.rolling(n).mean()) for n in (12, 36)}
    f["parkinson"] = np.sqrt((np.log(h / l) ** 2 / (4 * math.log(2))).rolling(12).mean())
    top, bottom = np.maximum(O, C), np.minimum(O, C)
    f["kmid"], f["klen"], f["kup"] = (C - O) / O, (H - L) / O, (H - top) / O
    f["klow"], f["ksft"] = (bottom - L) / O, (2 * C - H - L) / O
    f["volume_ratio"] = np.log((v + 1) / (v.rolling(20).mean() + 1))
    by_day = d.groupby(day, sort=False)
    first = by_day["open"].transform("first")
    is_first = ~day.duplicated()
    f["gap"] = np.log(o / c.shift(1)).where(is_first).ffill()
    f["session_return"] = np.log(c / first)
    typical = (h + l + c) / 3
    f["vwap"] = c / ((typical * v).groupby(day).cumsum() / v.groupby(day).cumsum()) - 1
    minutes = (ts - ts.groupby(day).transform("first")).dt.total_seconds() / 60 + 5
    opening = minutes <= 30
    high = h.where(opening).groupby(day).cummax().groupby(day).ffill()
    low = l.where(opening).groupby(day).cummin().groupby(day).ffill()
    f["opening"] = ((2 * c - high - low) / (high - low)).clip(-10, 10)
    f["sin"], f["cos"] = np.sin(np.pi * minutes / 375), np.cos(np.pi * minutes / 375)
    out = {"ts": ts, "session": pd.factorize(day)[0].astype(np.int32), "open": o, "high": h, "low": l, "close": c, "volume": v}
    out |= {name: np.asarray(values).astype(np.float32) for name, values in f.items()}
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(out), preserve_index=False), target, compression="zstd")


def with_polars(source, target):
    import polars as pl
    import polars_talib as plta

    col = pl.col
    o, h, l, c, v = (col(k) for k in ("open", "high", "low", "close", "volume"))
    d = pl.read_csv(source, comment_prefix="#", schema_overrides={k: pl.Float64 for k in ("open", "high", "low", "close", "volume")})
    time = d.columns[0]
    d = d.with_columns(ts=col(time).str.to_datetime(time_zone="UTC")).with_columns(day=(col("ts") + pl.duration(minutes=330)).dt.date())
    typical = (h + l + c) / 3
    d = d.with_columns(
        minutes=(col("ts") - col("ts").first().over("day")).dt.total_minutes() + 5,
        _macd=c.ta.macd(12, 26, 9),
        square=(c / c.shift(1)).log() ** 2,
    )
    in_opening = col("minutes") <= 30
    d = d.with_columns(
        top=pl.when(in_opening).then(h).cum_max().over("day").forward_fill().over("day"),
        bottom=pl.when(in_opening).then(l).cum_min().over("day").forward_fill().over("day"),
    )
    f = {f"log_return_{k}": (c / c.shift(k)).log() for k in LAGS}
    f |= {f"rsi_{n}": c.ta.rsi(n) for n in (6, 14)}
    f["stochf"] = plta.stochf(h, l, c, 14, 3, 0).struct.field("fastk")
    f["stoch"] = plta.stoch(h, l, c, 14, 3, 0, 3, 0).struct.field("slowd")
    f["cci"], f["mfi"] = plta.cci(h, l, c, 20), plta.mfi(h, l, c, v, 14)
    f["aroonosc"], f["bop"] = plta.aroonosc(h, l, 25), plta.bop(o, h, l, c)
    f |= {name: col("_macd").struct.field(name) / c for name in ("macd", "macdsignal", "macdhist")}
    f["slope"], f["trix"] = c.ta.linearreg_slope(14) / c, c.ta.trix(9)
    f["adx"], f["plus"], f["minus"] = plta.adx(h, l, c, 14), plta.plus_di(h, l, c, 14), plta.minus_di(h, l, c, 14)
    f["er"] = (c - c.shift(10)).abs() / c.diff().abs().rolling_sum(10)
    f |= {f"sma_{n}": c.ta.sma(n) / c - 1 for n in (5, 10, 20)}
    f["ema"] = c.ta.ema(50) / c - 1
    f["position"] = (c - c.ta.sma(20)) / (2 * c.ta.stddev(20, 1.0))
    f["natr"] = plta.natr(h, l, c, 14)
    f |= {f"rv_{n}": col("square").rolling_mean(n).sqrt() for n in (12, 36)}
    f["parkinson"] = ((h / l).log() ** 2 / (4 * math.log(2))).rolling_mean(12).sqrt()
    f["kmid"], f["klen"] = (c - o) / o, (h - l) / o
    f["kup"], f["klow"] = (h - pl.max_horizontal(o, c)) / o, (pl.min_horizontal(o, c) - l) / o
    f["ksft"] = (2 * c - h - l) / o
    f["volume_ratio"] = ((v + 1) / (v.rolling_mean(20) + 1)).log()
    f["gap"] = pl.when(col("day") != col("day").shift(1)).then((o / c.shift(1)).log()).forward_fill()
    f["session_return"] = (c / o.first().over("day")).log()
    f["vwap"] = c / ((typical * v).cum_sum().over("day") / v.cum_sum().over("day")) - 1
    f["opening"] = ((2 * c - col("top") - col("bottom")) / (col("top") - col("bottom"))).clip(-10, 10)
    f["sin"], f["cos"] = (math.pi * col("minutes") / 375).sin(), (math.pi * col("minutes") / 375).cos()
    features = [values.cast(pl.Float32).alias(name) for name, values in f.items()]
    session = col("day").rank("dense").cast(pl.Int32).alias("session")
    d.select("ts", session, o, h, l, c, v, *features).write_parquet(target, compression="zstd", compression_level=1)


{"pandas": with_pandas, "polars": with_polars}[sys.argv[1]](sys.argv[2], sys.argv[3])
