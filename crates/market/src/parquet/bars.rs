//! Bars out of a Parquet or Arrow IPC file with a time column and prices, whoever wrote it.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use bytes::Bytes;

use crate::Provenance;
use crate::csv::header::Columns;
use crate::error::{Error, Result};
use crate::load::{BadRows, LoadOptions};
use crate::parquet::{FILE_INFO_KEY, PROVENANCE_KEY};
use crate::rows::{Clock, FileRows, Row, SymbolRows};
use crate::timestamp::{self, Stamp};

/// Reads the bars in `bytes`, which are the Parquet file `path`. `symbol` is what they are called where neither the
/// options nor the file say so.
pub fn read(path: &Path, bytes: Bytes, symbol: &str, options: &LoadOptions) -> Result<FileRows> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(path, &error))?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let find = |key: &str| pairs?.iter().find(|pair| pair.key == key)?.value.clone();
    let provenance = provenance_of(find).map_err(|message| Error::content(path, message))?;
    let schema = builder.schema().clone();
    let reader = builder.build().map_err(|error| damaged(path, &error))?;
    read_batches(path, symbol, options, provenance, &schema, reader)
}

/// Reads the bars in `bytes`, which are Arrow IPC, as a file or as a stream.
pub fn read_ipc(path: &Path, bytes: &[u8], symbol: &str, options: &LoadOptions) -> Result<FileRows> {
    let start = |schema: &Schema| {
        provenance_of(|key| schema.metadata().get(key).cloned())
            .map_err(|message| Error::content(path, message))
    };
    if bytes.starts_with(b"ARROW1") {
        let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(|error| damaged(path, &error))?;
        let schema = reader.schema();
        read_batches(path, symbol, options, start(&schema)?, &schema, reader)
    } else {
        let reader = StreamReader::try_new(bytes, None).map_err(|error| damaged(path, &error))?;
        let schema = reader.schema();
        read_batches(path, symbol, options, start(&schema)?, &schema, reader)
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::content(path, format!("is damaged: {error}"))
}

fn read_batches(
    path: &Path,
    symbol: &str,
    options: &LoadOptions,
    provenance: Provenance,
    schema: &Schema,
    batches: impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>>,
) -> Result<FileRows> {
    let fail = |message: String| Error::content(path, message);
    let columns =
        Columns::recognise(schema.fields().iter().map(|field| field.name().as_str()), &options.columns)
            .map_err(fail)?;
    let mut file = Reader {
        columns,
        clock: Clock::new(options.timezone.as_deref()).map_err(Error::Batch)?,
        symbols: vec![SymbolRows {
            symbol: options.symbol.clone().unwrap_or_else(|| symbol.to_owned()),
            rows: Vec::new(),
        }],
        places: HashMap::new(),
        n_rows: 0,
        skipped: None,
    };
    if options.symbol.is_some() {
        file.columns.symbol = None;
    }
    for batch in batches {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        file.batch(&batch, options.bad_rows).map_err(fail)?;
    }
    file.symbols.retain(|symbol| !symbol.rows.is_empty());
    if file.symbols.is_empty() {
        return Err(fail("has no bars".to_owned()));
    }
    let (timezone, timezone_assumed) = file.clock.zone();
    Ok(FileRows {
        symbols: file.symbols,
        provenance,
        timezone,
        timezone_assumed,
        has_volume: file.columns.volume.is_some(),
        skipped: file.skipped,
    })
}

/// A feature file may be read for its bars again; what it says about their origin must not get lost.
fn provenance_of(find: impl Fn(&str) -> Option<String>) -> std::result::Result<Provenance, String> {
    if let Some(json) = find(FILE_INFO_KEY) {
        let info: crate::FileInfo =
            serde_json::from_str(&json).map_err(|error| format!("its metadata is damaged: {error}"))?;
        return Ok(info.provenance);
    }
    let label = find(PROVENANCE_KEY).map(|label| Provenance::from_label(&label)).transpose()?.flatten();
    Ok(label.unwrap_or(Provenance::Unlabelled))
}

struct Reader {
    columns: Columns,
    clock: Clock,
    symbols: Vec<SymbolRows>,
    places: HashMap<String, usize>,
    n_rows: u64,
    skipped: Option<(usize, String)>,
}

impl Reader {
    fn batch(&mut self, batch: &RecordBatch, bad_rows: BadRows) -> std::result::Result<(), String> {
        let columns = self.columns.clone();
        let number = |name: &str, at: usize| numbers(name, batch.column(at));
        let open = number("open", columns.open)?;
        let high = number("high", columns.high)?;
        let low = number("low", columns.low)?;
        let close = number("close", columns.close)?;
        let volume = columns.volume.map(|at| number("volume", at)).transpose()?;
        let times = Times::new(batch.column(columns.time))?;
        let names = columns.symbol.map(|at| strings("symbol", batch.column(at))).transpose()?;
        for at in 0..batch.num_rows() {
            let line = self.n_rows + at as u64 + 1;
            let value = |array: &Float64Array| if array.is_null(at) { f64::NAN } else { array.value(at) };
            let row = times.stamp(at).and_then(|stamp| self.clock.place(stamp)).map(|(stamp, day)| Row {
                stamp,
                day,
                line,
                open: value(&open),
                high: value(&high),
                low: value(&low),
                close: value(&close),
                volume: volume.as_ref().map_or(0.0, value),
            });
            match row.and_then(|row| row.problem().map_or(Ok(row), Err)) {
                Ok(row) => {
                    let place = self.place(names.as_ref().map(|names| names.value(at)));
                    self.symbols[place].rows.push(row);
                }
                Err(problem) => {
                    let message = format!("row {line}: {problem}");
                    match bad_rows {
                        BadRows::Error => {
                            return Err(format!("{message} (skip bad rows with --bad-rows skip)"));
                        }
                        BadRows::Skip => self.skipped.get_or_insert((0, message)).0 += 1,
                    }
                }
            }
        }
        self.n_rows += batch.num_rows() as u64;
        Ok(())
    }

    fn place(&mut self, name: Option<&str>) -> usize {
        let Some(name) = name else { return 0 };
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.symbols.push(SymbolRows { symbol: name.to_owned(), rows: Vec::new() });
        self.places.insert(name.to_owned(), self.symbols.len() - 1);
        self.symbols.len() - 1
    }
}

/// The time column, whatever its type.
enum Times {
    /// An instant in UTC, or a local time where the type has no zone.
    Micros { values: arrow::array::TimestampMicrosecondArray, has_zone: bool },
    /// Text or whole numbers, read like the text of a CSV file.
    Text(StringArray),
}

impl Times {
    fn new(array: &ArrayRef) -> std::result::Result<Self, String> {
        let has_zone = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
        match array.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))
                    .map_err(|error| format!("time column: {error}"))?;
                Ok(Self::Micros {
                    values: micros.as_primitive::<TimestampMicrosecondType>().clone(),
                    has_zone,
                })
            }
            _ => strings("time", array).map(Self::Text),
        }
    }

    fn stamp(&self, row: usize) -> std::result::Result<Stamp, String> {
        match self {
            Self::Micros { values, .. } if values.is_null(row) => Err("time is missing".to_owned()),
            Self::Micros { values, has_zone: true } => Ok(Stamp::Instant(values.value(row))),
            Self::Micros { values, has_zone: false } => {
                timestamp::micros_to_civil(values.value(row), &jiff::tz::TimeZone::UTC)
                    .map(Stamp::Civil)
                    .ok_or_else(|| "time is out of range".to_owned())
            }
            Self::Text(values) => {
                let text = if values.is_null(row) { "" } else { values.value(row) };
                timestamp::parse(text).ok_or_else(|| {
                    format!("time \"{text}\" is not understood (write it as 2023-07-03 09:15:00+05:30)")
                })
            }
        }
    }
}

fn numbers(name: &str, array: &ArrayRef) -> std::result::Result<Float64Array, String> {
    let wrong = || format!("column {name} holds {}, not numbers", array.data_type());
    if !array.data_type().is_numeric() {
        return Err(wrong());
    }
    Ok(cast(array, &DataType::Float64).map_err(|_| wrong())?.as_primitive::<Float64Type>().clone())
}

fn strings(name: &str, array: &ArrayRef) -> std::result::Result<StringArray, String> {
    let text = cast(array, &DataType::Utf8);
    let text = text.map_err(|_| format!("column {name} holds {}, not text", array.data_type()))?;
    Ok(text.as_string::<i32>().clone())
}
