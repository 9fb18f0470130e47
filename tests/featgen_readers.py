"""Reads what featgen writes with the programs that people have: pyarrow, pandas, polars and DuckDB.

usage: featgen_readers.py FEATGEN FOLDER

Each format is read by each of them, by what a newcomer would type: the one file, the partition with its symbols in the
path, the Arrow IPC stream and the CSV. Types, time zone, nulls and symbols must be right, and all values the same.
"""

import subprocess
import sys
import warnings
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.ipc
import pyarrow.parquet as pq

# DuckDB uses what pandas is about to drop.
warnings.filterwarnings("ignore", category=DeprecationWarning)

SYMBOLS = ["BPCL", "L&T FH", "M&M", "USD/INR=X"]
FEATURES = "rsi:14,macd,obv,overnight_gap,sma:20@from_close@lag:1"
F32 = ["rsi_14", "macd_12_26_9", "macd_signal_12_26_9", "macd_hist_12_26_9", "overnight_gap", "sma_20__from_close__lag_1"]
F64 = ["obv"]
BARS = ["open", "high", "low", "close", "volume"]
NUMBERS = BARS + F32 + F64
N_ROWS = 300


def main() -> None:
    featgen, folder = sys.argv[1], Path(sys.argv[2])
    make(featgen, folder)
    reference = of_arrow(pq.read_table(folder / "one.parquet"), "pyarrow, one file")
    n = 0
    for name, table in tables(folder):
        compare(name, table, reference)
        n += 1
    print(f"{n} readings agree in {len(reference)} rows of {len(reference.columns)} columns")


def make(featgen: str, folder: Path) -> None:
    def run(*arguments: str, **more) -> subprocess.CompletedProcess:
        return subprocess.run([featgen, *map(str, arguments)], check=True, **more)

    bars = folder / "in"
    bars.mkdir()
    text = ""
    for at, symbol in enumerate(SYMBOLS):
        made = run("simulate", "--symbol", symbol, "--sessions", "4", "--seed", "3", capture_output=True, text=True).stdout
        lines = [line for line in made.splitlines() if not line.startswith("#")]
        if at == 0:
            text = "# simulated by market::simulate 1, seed 3\nsymbol," + lines[0] + "\n"
        text += "".join(f"{symbol},{line}\n" for line in lines[1:])
    (bars / "all.csv").write_text(text)
    arguments = ["-q", bars, "-f", FEATURES]
    run(*arguments, "-o", folder / "one.parquet")
    run(*arguments, "-o", folder / "parts", "--partition")
    run(*arguments, "-o", folder / "stream.arrow", "--format", "ipc")
    run(*arguments, "-o", folder / "table.csv", "--format", "csv")


def tables(folder: Path):
    """Each reading as a pandas table with the same columns and types."""
    one, parts = folder / "one.parquet", folder / "parts"
    every_part = str(parts / "*" / "*.parquet")

    yield "pyarrow, partition", of_arrow(
        pa.dataset.dataset(parts, partitioning="hive").to_table(), "pyarrow, partition"
    )
    yield "pyarrow, partition by read_table", of_arrow(pq.read_table(parts), "pyarrow, read_table")
    with pa.ipc.open_stream(folder / "stream.arrow") as stream:
        yield "pyarrow, stream", of_arrow(stream.read_all(), "pyarrow, stream")
    yield "pyarrow, CSV", of_arrow(
        pa.csv.read_csv(
            folder / "table.csv",
            read_options=pa.csv.ReadOptions(skip_rows=1),
            convert_options=pa.csv.ConvertOptions(
                column_types={name: pa.float32() for name in F32} | {name: pa.float64() for name in BARS + F64}
            ),
        ),
        "pyarrow, CSV",
        is_text=True,
    )

    yield "pandas, one file", of_pandas(pd.read_parquet(one), "pandas, one file")
    yield "pandas, partition", of_pandas(pd.read_parquet(parts), "pandas, partition")
    types = {name: "float32" for name in F32} | {name: "float64" for name in BARS + F64}
    yield "pandas, CSV", of_pandas(
        pd.read_csv(folder / "table.csv", comment="#", parse_dates=["ts"], dtype=types), "pandas, CSV", is_text=True
    )

    yield "polars, one file", of_polars(pl.read_parquet(one), "polars, one file")
    yield "polars, partition", of_polars(pl.read_parquet(parts, hive_partitioning=True), "polars, partition")
    yield "polars, partition, lazily", of_polars(
        pl.scan_parquet(every_part, hive_partitioning=True).collect(), "polars, lazily"
    )
    yield "polars, stream", of_polars(pl.read_ipc_stream(folder / "stream.arrow"), "polars, stream")
    yield "polars, CSV", of_polars(
        pl.read_csv(
            folder / "table.csv",
            comment_prefix="#",
            try_parse_dates=True,
            schema_overrides={name: pl.Float32 for name in F32} | {name: pl.Float64 for name in BARS + F64},
        ),
        "polars, CSV",
        is_text=True,
    )

    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    yield "duckdb, one file", of_duckdb(db, f"from '{one}'", "duckdb, one file")
    yield "duckdb, partition", of_duckdb(
        db, f"from read_parquet('{every_part}', hive_partitioning = true)", "duckdb, partition"
    )
    kinds = ", ".join(f"'{name}': 'FLOAT'" for name in F32) + ", " + ", ".join(f"'{name}': 'DOUBLE'" for name in BARS + F64)
    yield "duckdb, CSV", of_duckdb(
        db, f"from read_csv('{folder / 'table.csv'}', comment = '#', types = {{{kinds}}})", "duckdb, CSV", is_text=True
    )


def of_arrow(table: pa.Table, name: str, is_text: bool = False) -> pd.DataFrame:
    schema = table.schema
    ts = schema.field("ts").type
    hold(pa.types.is_timestamp(ts) and ts.tz == "UTC", name, f"ts is {ts}")
    hold(is_text or ts.unit == "us", name, f"ts is {ts}")
    symbol = schema.field("symbol").type
    symbol = symbol.value_type if pa.types.is_dictionary(symbol) else symbol
    hold(pa.types.is_string(symbol) or pa.types.is_large_string(symbol), name, f"symbol is {symbol}")
    hold(is_text or schema.field("session").type == pa.int32(), name, "session is no int32")
    for column in F32:
        hold(schema.field(column).type == pa.float32(), name, f"{column} is {schema.field(column).type}")
    for column in F64 + BARS:
        hold(schema.field(column).type == pa.float64(), name, f"{column} is {schema.field(column).type}")
    hold(table.column("macd_hist_12_26_9").null_count == 33 * len(SYMBOLS), name, "rows before a lookback are not null")
    return of_pandas(table.to_pandas(), name, is_text)


def of_polars(table: pl.DataFrame, name: str, is_text: bool = False) -> pd.DataFrame:
    hold(table.schema["ts"] == pl.Datetime("us", "UTC"), name, f"ts is {table.schema['ts']}")
    hold(table.schema["symbol"] in (pl.String, pl.Categorical), name, f"symbol is {table.schema['symbol']}")
    hold(is_text or table.schema["session"] == pl.Int32, name, "session is no int32")
    hold(all(table.schema[column] == pl.Float32 for column in F32), name, "a feature is no float32")
    hold(all(table.schema[column] == pl.Float64 for column in F64 + BARS), name, "a column is no float64")
    hold(table["macd_hist_12_26_9"].null_count() == 33 * len(SYMBOLS), name, "rows before a lookback are not null")
    return of_pandas(table.with_columns(pl.col("symbol").cast(pl.String)).to_pandas(), name, is_text)


def of_duckdb(db: duckdb.DuckDBPyConnection, source: str, name: str, is_text: bool = False) -> pd.DataFrame:
    types = {column: kind for column, kind, *_ in db.execute(f"describe {source}").fetchall()}
    hold(types["ts"] == "TIMESTAMP WITH TIME ZONE", name, f"ts is {types['ts']}")
    hold(types["symbol"] == "VARCHAR", name, f"symbol is {types['symbol']}")
    hold(is_text or types["session"] == "INTEGER", name, "session is no int32")
    hold(all(types[column] == "FLOAT" for column in F32), name, "a feature is no float32")
    hold(all(types[column] == "DOUBLE" for column in F64 + BARS), name, "a column is no float64")
    (n_null,) = db.execute(f"select count(*) - count(macd_hist_12_26_9) {source}").fetchone()
    hold(n_null == 33 * len(SYMBOLS), name, "rows before a lookback are not null")
    return of_pandas(db.execute(f"select * {source} order by symbol, ts").df(), name, is_text)


def of_pandas(table: pd.DataFrame, name: str, is_text: bool = False) -> pd.DataFrame:
    hold(isinstance(table["ts"].dtype, pd.DatetimeTZDtype), name, f"ts is {table['ts'].dtype}")
    hold(str(table["ts"].dt.tz) in ("UTC", "Etc/UTC"), name, f"ts is in {table['ts'].dt.tz}")
    for column in F32:
        hold(table[column].dtype == np.float32, name, f"{column} is {table[column].dtype}")
    for column in F64 + BARS:
        hold(is_text or table[column].dtype == np.float64, name, f"{column} is {table[column].dtype}")
    table = table.assign(
        ts=table["ts"].dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64"),
        symbol=table["symbol"].astype(str).astype(object),
        session=table["session"].astype("int64"),
    )
    for column in F64 + BARS:
        table[column] = table[column].astype("float64")
    return table.sort_values(["symbol", "ts"]).reset_index(drop=True)


def compare(name: str, table: pd.DataFrame, reference: pd.DataFrame) -> None:
    hold(set(table.columns) == set(reference.columns), name, f"columns {sorted(table.columns)}")
    hold(sorted(table["symbol"].unique()) == sorted(SYMBOLS), name, f"symbols {table['symbol'].unique()}")
    hold(len(table) == N_ROWS * len(SYMBOLS), name, f"{len(table)} rows")
    for column in ["ts", "symbol", "session"]:
        hold((table[column].to_numpy() == reference[column].to_numpy()).all(), name, f"{column} differs")
    for column in NUMBERS:
        # Bit for bit, with every null where a null is.
        ours, theirs = table[column].to_numpy(), reference[column].to_numpy()
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        hold(bool(same.all()), name, f"{column} differs in {np.count_nonzero(~same)} rows")


def hold(condition: bool, name: str, what: str) -> None:
    if not condition:
        sys.exit(f"{name}: {what}")


main()
