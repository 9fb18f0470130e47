//! Feature files back into a [`FeatureTable`].

use std::fs::File;
use std::path::Path;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::metadata::KeyValue;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType};

use crate::error::{Error, Result};
use crate::features::SCHEMA_VERSION;
use crate::parquet::{FILE_INFO_KEY, LEADING_COLUMNS};
use crate::{Bars, FeatureColumn, FeatureTable, FileInfo, SymbolFeatures};

/// Reads a whole feature file.
pub fn read_features(path: &Path) -> Result<FeatureTable> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let not_ours = || Error::content(path, "is not a feature file (make one with featgen)");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| not_ours())?;
    let metadata = builder.metadata().file_metadata().key_value_metadata();
    let json =
        metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == FILE_INFO_KEY)).and_then(value_of);
    let info = parse_info(path, json.ok_or_else(not_ours)?)?;

    let reader = builder.with_batch_size(1 << 16).build().map_err(|error| damaged(path, &error))?;
    let mut symbols: Vec<SymbolFeatures> = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        append(&mut symbols, &batch, &info).ok_or_else(|| {
            Error::content(
                path,
                "its columns are not those that its metadata names (make it anew with featgen)",
            )
        })?;
    }
    if symbols.is_empty() {
        return Err(Error::content(path, "has no rows (make it anew with featgen)"));
    }
    Ok(FeatureTable { info, symbols })
}

fn value_of(pair: &KeyValue) -> Option<&str> {
    pair.value.as_deref()
}

fn parse_info(path: &Path, json: &str) -> Result<FileInfo> {
    // The version is looked at first: a newer schema may not parse as this one.
    let version = serde_json::from_str::<serde_json::Value>(json)
        .ok()
        .and_then(|value| value.get("schema_version")?.as_u64())
        .ok_or_else(|| {
            Error::content(path, "its metadata has no schema version (make it anew with featgen)")
        })?;
    if version != u64::from(SCHEMA_VERSION) {
        return Err(Error::content(
            path,
            format!(
                "has schema version {version}, this program reads {SCHEMA_VERSION} (make it anew with featgen)"
            ),
        ));
    }
    serde_json::from_str(json)
        .map_err(|error| Error::content(path, format!("its metadata is damaged: {error}")))
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::content(path, format!("is damaged: {error} (make it anew with featgen)"))
}

/// Appends a batch's rows to their symbols; `None` where a column is missing or of another type.
fn append(symbols: &mut Vec<SymbolFeatures>, batch: &RecordBatch, info: &FileInfo) -> Option<()> {
    if batch.num_columns() != LEADING_COLUMNS.len() + info.features.len() {
        return None;
    }
    let schema = batch.schema();
    let names =
        LEADING_COLUMNS.iter().copied().chain(info.features.iter().map(|feature| feature.name.as_str()));
    if !schema.fields().iter().map(|field| field.name().as_str()).eq(names) {
        return None;
    }
    let names = cast(batch.column(1), &DataType::Utf8).ok()?;
    let names = names.as_string_opt::<i32>()?;
    let ts = cast(batch.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
    let ts = ts.as_primitive_opt::<TimestampMicrosecondType>()?.values();
    let sessions = batch.column(2).as_primitive_opt::<Int32Type>()?.values();

    let mut start = 0;
    while start < batch.num_rows() {
        let name = names.value(start);
        let end = (start..batch.num_rows()).find(|&row| names.value(row) != name).unwrap_or(batch.num_rows());
        if symbols.last().is_none_or(|symbol| symbol.bars.symbol != name) {
            symbols.push(empty_symbol(name, batch, info)?);
        }
        let symbol = symbols.last_mut()?;
        symbol.bars.ts.extend_from_slice(&ts[start..end]);
        symbol.bars.session.extend_from_slice(&sessions[start..end]);
        let bars = &mut symbol.bars;
        let columns = [&mut bars.open, &mut bars.high, &mut bars.low, &mut bars.close, &mut bars.volume];
        for (column, at) in columns.into_iter().zip(3..) {
            column
                .extend_from_slice(&batch.column(at).as_primitive_opt::<Float64Type>()?.values()[start..end]);
        }
        for (column, at) in symbol.columns.iter_mut().zip(LEADING_COLUMNS.len()..) {
            let array = batch.column(at);
            let nulls = array.nulls();
            let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
            match column {
                FeatureColumn::F32(column) => {
                    let values = array.as_primitive_opt::<Float32Type>()?.values();
                    column.extend((start..end).map(|row| if is_null(row) { f32::NAN } else { values[row] }));
                }
                FeatureColumn::F64(column) => {
                    let values = array.as_primitive_opt::<Float64Type>()?.values();
                    column.extend((start..end).map(|row| if is_null(row) { f64::NAN } else { values[row] }));
                }
            }
        }
        start = end;
    }
    Some(())
}

fn empty_symbol(name: &str, batch: &RecordBatch, info: &FileInfo) -> Option<SymbolFeatures> {
    let columns =
        (0..info.features.len()).map(|at| match batch.column(LEADING_COLUMNS.len() + at).data_type() {
            DataType::Float32 => Some(FeatureColumn::F32(Vec::new())),
            DataType::Float64 => Some(FeatureColumn::F64(Vec::new())),
            _ => None,
        });
    let columns = columns.collect::<Option<_>>()?;
    Some(SymbolFeatures { bars: Bars { symbol: name.to_owned(), ..Bars::default() }, columns })
}
