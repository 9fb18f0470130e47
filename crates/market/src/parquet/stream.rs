//! The feature table as Arrow IPC or CSV, for pipes: symbol by symbol, as it comes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use jiff::tz::TimeZone;

use crate::parquet::{LEADING_COLUMNS, Layout, PROVENANCE_KEY, Width, schema, writer};
use crate::{FeatureColumn, Provenance, SymbolFeatures, timestamp};

/// An Arrow IPC stream of the table, with the symbol as plain text and the label in the schema's metadata.
pub struct IpcWriter<W: Write> {
    stream: StreamWriter<W>,
    schema: SchemaRef,
}

impl<W: Write> IpcWriter<W> {
    /// Begins a stream with these feature columns.
    pub fn new(out: W, features: &[(&str, Width)], provenance: &Provenance) -> io::Result<Self> {
        let table = schema(features.iter().copied(), Layout::Whole);
        let mut fields: Vec<Field> = table.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields[1] = Field::new("symbol", DataType::Utf8, false);
        let label = provenance.label().map(|label| (PROVENANCE_KEY.to_owned(), label));
        let schema: SchemaRef = Arc::new(
            Schema::new(fields).with_metadata(label.into_iter().collect::<HashMap<String, String>>()),
        );
        let stream = StreamWriter::try_new(out, &schema).map_err(plain)?;
        Ok(Self { stream, schema })
    }

    /// Appends a symbol.
    pub fn append(&mut self, symbol: &SymbolFeatures) -> io::Result<()> {
        let n = symbol.bars.len();
        let columns = (0..self.schema.fields().len()).map(|at| -> ArrayRef {
            match at {
                1 => Arc::new(StringArray::from(vec![symbol.bars.symbol.as_str(); n])),
                _ => writer::column(symbol, at, 0, n),
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect()).map_err(plain)?;
        self.stream.write(&batch).map_err(plain)
    }

    /// Ends the stream, and sends on what is still held back.
    pub fn finish(mut self) -> io::Result<()> {
        self.stream.finish().map_err(plain)?;
        self.stream.get_mut().flush()
    }
}

/// The operating system's word where there is one, so that a closed pipe is seen for what it is.
fn plain(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

/// The label as a comment line, and the header row.
pub fn csv_header(features: &[(&str, Width)], provenance: &Provenance) -> String {
    let mut text = provenance.label().map_or_else(String::new, |label| format!("# {label}\n"));
    let names: Vec<&str> =
        LEADING_COLUMNS.iter().copied().chain(features.iter().map(|(name, _)| *name)).collect();
    text.push_str(&names.join(","));
    text.push('\n');
    text
}

/// A symbol's rows; times in UTC with their offset, nothing where a value is null, numbers in the fewest digits
/// that give them back.
pub fn csv_rows(symbol: &SymbolFeatures) -> String {
    let bars = &symbol.bars;
    let mut text = String::with_capacity(bars.len() * 12 * (LEADING_COLUMNS.len() + symbol.columns.len()));
    for row in 0..bars.len() {
        match timestamp::micros_to_civil(bars.ts[row], &TimeZone::UTC) {
            Some(civil) => text.push_str(&civil.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            None => text.push_str(&bars.ts[row].to_string()),
        }
        // Writing into a String cannot fail.
        let _ = write!(text, ",{},{}", bars.symbol, bars.session[row]);
        for column in [&bars.open, &bars.high, &bars.low, &bars.close, &bars.volume] {
            let _ = write!(text, ",{}", column[row]);
        }
        for column in &symbol.columns {
            let _ = match column {
                FeatureColumn::F32(values) if !values[row].is_nan() => write!(text, ",{}", values[row]),
                FeatureColumn::F64(values) if !values[row].is_nan() => write!(text, ",{}", values[row]),
                _ => write!(text, ","),
            };
        }
        text.push('\n');
    }
    text
}
