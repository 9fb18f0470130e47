//! Feature files back into a [`FeatureTable`].

use std::fs::File;
use std::path::Path;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::metadata::KeyValue;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType};

use crate::error::{Error, Result};
use crate::features::SCHEMA_VERSION;
use crate::parquet::{FILE_INFO_KEY, LEADING_COLUMNS, Layout, hive};
use crate::{Bars, FeatureColumn, FeatureTable, FileInfo, SymbolFeatures};

/// Reads a whole feature file, a part of a partition, or a whole partition where `path` is a folder.
pub fn read_features(path: &Path) -> Result<FeatureTable> {
    if path.is_dir() {
        return super::read_partition(path);
    }
    let (builder, footer) = open(path)?;
    let symbols = read_columns(path, builder.with_batch_size(1 << 16), &footer.info)?;
    Ok(FeatureTable { info: footer.info, symbols })
}

/// What a feature file says about itself, without its rows.
#[derive(Debug, Clone)]
pub struct Footer {
    /// What every feature file says.
    pub info: FileInfo,
    /// What else stands in its key-value metadata.
    pub notes: Vec<(String, String)>,
    /// Rows.
    pub n_rows: usize,
}

/// Reads what a feature file says about itself.
pub fn read_footer(path: &Path) -> Result<Footer> {
    open(path).map(|(_, footer)| footer)
}

/// Reads the bars of a feature file alone, with what it says about itself.
pub fn read_bars(path: &Path) -> Result<(FileInfo, Vec<Bars>)> {
    let (builder, Footer { mut info, .. }) = open(path)?;
    let features = std::mem::take(&mut info.features);
    let n_leading = builder.schema().fields().len().saturating_sub(features.len());
    let leading = ProjectionMask::roots(builder.parquet_schema(), 0..n_leading);
    let symbols = read_columns(path, builder.with_projection(leading), &info)?;
    info.features = features;
    Ok((info, symbols.into_iter().map(|symbol| symbol.bars).collect()))
}

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn open(path: &Path) -> Result<(Builder, Footer)> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let not_ours = || Error::content(path, "is not a feature file (make one with featgen)");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| not_ours())?;
    let metadata = builder.metadata().file_metadata();
    let n_rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
    let pairs = metadata.key_value_metadata().map_or(&[][..], Vec::as_slice);
    let json = pairs.iter().find(|pair| pair.key == FILE_INFO_KEY).and_then(value_of);
    let info = parse_info(path, json.ok_or_else(not_ours)?)?;
    let notes = pairs.iter().filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
    Ok((builder, Footer { info, notes, n_rows }))
}

fn read_columns(path: &Path, builder: Builder, info: &FileInfo) -> Result<Vec<SymbolFeatures>> {
    let is_part = builder.schema().fields().get(1).is_none_or(|field| field.name() != "symbol");
    let symbol = if is_part {
        Some(hive::symbol_of(path).ok_or_else(|| {
            Error::content(
                path,
                "has no symbol column, and its folder is not named symbol=NAME (put it back there)",
            )
        })?)
    } else {
        None
    };
    let reader = builder.build().map_err(|error| damaged(path, &error))?;
    let mut symbols: Vec<SymbolFeatures> = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        append(&mut symbols, &batch, info, symbol.as_deref()).ok_or_else(|| {
            Error::content(
                path,
                "its columns are not those that its metadata names (make it anew with featgen)",
            )
        })?;
    }
    if symbols.is_empty() {
        return Err(Error::content(path, "has no rows (make it anew with featgen)"));
    }
    Ok(symbols)
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

/// Appends a batch's rows to their symbols, or to the one that the path says; `None` where a column is missing or
/// of another type.
fn append(
    symbols: &mut Vec<SymbolFeatures>,
    batch: &RecordBatch,
    info: &FileInfo,
    symbol: Option<&str>,
) -> Option<()> {
    let layout = if symbol.is_some() { Layout::Part } else { Layout::Whole };
    let schema = batch.schema();
    let names =
        LEADING_COLUMNS.iter().copied().chain(info.features.iter().map(|feature| feature.name.as_str()));
    let names = names.filter(|&name| layout == Layout::Whole || name != "symbol");
    if !schema.fields().iter().map(|field| field.name().as_str()).eq(names) {
        return None;
    }
    let first = LEADING_COLUMNS.len() - usize::from(layout == Layout::Part);
    let names = match symbol {
        Some(symbol) => StringArray::from(vec![symbol; batch.num_rows()]),
        None => cast(batch.column(1), &DataType::Utf8).ok()?.as_string_opt::<i32>()?.clone(),
    };
    let ts = cast(batch.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
    let ts = ts.as_primitive_opt::<TimestampMicrosecondType>()?.values();
    let sessions = batch.column(first - 6).as_primitive_opt::<Int32Type>()?.values();

    let mut start = 0;
    while start < batch.num_rows() {
        let name = names.value(start);
        let end = (start..batch.num_rows()).find(|&row| names.value(row) != name).unwrap_or(batch.num_rows());
        if symbols.last().is_none_or(|symbol| symbol.bars.symbol != name) {
            symbols.push(empty_symbol(name, batch, info, first)?);
        }
        let symbol = symbols.last_mut()?;
        symbol.bars.ts.extend_from_slice(&ts[start..end]);
        symbol.bars.session.extend_from_slice(&sessions[start..end]);
        let bars = &mut symbol.bars;
        let columns = [&mut bars.open, &mut bars.high, &mut bars.low, &mut bars.close, &mut bars.volume];
        for (column, at) in columns.into_iter().zip(first - 5..) {
            column
                .extend_from_slice(&batch.column(at).as_primitive_opt::<Float64Type>()?.values()[start..end]);
        }
        for (column, at) in symbol.columns.iter_mut().zip(first..) {
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

fn empty_symbol(name: &str, batch: &RecordBatch, info: &FileInfo, first: usize) -> Option<SymbolFeatures> {
    let columns = (0..info.features.len()).map(|at| match batch.column(first + at).data_type() {
        DataType::Float32 => Some(FeatureColumn::F32(Vec::new())),
        DataType::Float64 => Some(FeatureColumn::F64(Vec::new())),
        _ => None,
    });
    let columns = columns.collect::<Option<_>>()?;
    Some(SymbolFeatures { bars: Bars { symbol: name.to_owned(), ..Bars::default() }, columns })
}
