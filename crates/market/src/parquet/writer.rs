//! Columns encoded in parallel, appended in order, under a temporary name until all is well.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::{ColumnDescPtr, ColumnPath};
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, PrimitiveArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, Schema, SchemaRef};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::parquet::pages::{self, Number, ZSTD_LEVEL};
use crate::parquet::{FILE_INFO_KEY, LEADING_COLUMNS, Width, schema};
use crate::temporary::Temporary;
use crate::{Bars, FeatureColumn, FileInfo, SymbolFeatures};

/// Rows in a row group, at most: large enough to compress well, small enough to be read in parts.
const ROWS_PER_GROUP: usize = 1 << 18;

/// Open, high, low, close and volume.
const N_PRICES: usize = 5;
/// What is gathered before it is written.
const BUFFER_BYTES: usize = 1 << 18;

/// Whether a file holds all symbols, or one that its folder names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All symbols, in a column.
    Whole,
    /// One symbol, which the path alone says.
    Part,
}

/// Writes one feature file. Dropped before [`FeatureWriter::finish`], it removes what it has written.
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    temporary: Temporary,
    encoder: Arc<Encoder>,
    file: SerializedFileWriter<BufWriter<File>>,
}

/// Turns a symbol's rows into the bytes of row groups; shared by threads that encode different symbols.
#[derive(Debug)]
pub struct Encoder {
    path: PathBuf,
    layout: Layout,
    /// The columns that are no numbers, and what makes their writers.
    others: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    /// All columns as the file has them.
    columns: Vec<ColumnDescPtr>,
    /// Columns before the first feature.
    n_leading: usize,
}

/// A symbol's columns, ready to be appended.
#[derive(Debug)]
pub struct EncodedSymbol {
    /// Those of the bars, then those of the features.
    pub columns: Vec<EncodedColumn>,
}

/// A column of a symbol, a chunk for each row group.
#[derive(Debug)]
pub struct EncodedColumn {
    groups: Vec<EncodedChunk>,
}

#[derive(Debug)]
enum EncodedChunk {
    Numbers(pages::Chunk),
    Others(ArrowColumnChunk),
}

impl Layout {
    /// The place among all columns of the column that stands at `at` in such a file.
    pub fn column(self, at: usize) -> usize {
        at + usize::from(self == Self::Part && at > 0)
    }
}

impl FeatureWriter {
    /// Begins a feature file at `path` with these feature columns, in the folder of `path` under another
    /// name. The folder is made if it is missing.
    pub fn create(path: &Path, features: &[(&str, Width)]) -> Result<Self> {
        Self::begin(path, Temporary::beside(path)?, features, Layout::Whole)
    }

    /// Begins the part of a partition that is to stand at `path`, in `folder` under another name.
    pub fn create_part(folder: &Path, path: &Path, features: &[(&str, Width)]) -> Result<Self> {
        let name = path.parent().and_then(Path::file_name).unwrap_or_default();
        Self::begin(path, Temporary::within(folder, &name.to_string_lossy())?, features, Layout::Part)
    }

    fn begin(
        path: &Path,
        (temporary, file): (Temporary, File),
        features: &[(&str, Width)],
        layout: Layout,
    ) -> Result<Self> {
        let schema: SchemaRef = Arc::new(schema(features.iter().copied(), layout));
        let properties = properties(features);
        // The columns that are no numbers have a factory of their own, which makes no writers for the others.
        let n_others = schema.fields().len() - features.len() - N_PRICES;
        let others = Arc::new(Schema::new(schema.fields()[..n_others].to_vec()));
        let factory = ArrowWriter::try_new(std::io::sink(), Arc::clone(&others), Some(properties.clone()))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|error| failure(path, &error))?
            .1;
        let writer =
            ArrowWriter::try_new(BufWriter::with_capacity(BUFFER_BYTES, file), schema, Some(properties));
        let (file, _) =
            writer.and_then(ArrowWriter::into_serialized_writer).map_err(|error| failure(path, &error))?;
        let columns = file.schema_descr().columns().to_vec();
        let n_leading = columns.len() - features.len();
        let path = path.to_owned();
        let encoder = Arc::new(Encoder { path: path.clone(), others, layout, factory, columns, n_leading });
        Ok(Self { path, temporary, encoder, file })
    }

    /// What encodes symbols for this file, to be shared with other threads.
    pub fn encoder(&self) -> Arc<Encoder> {
        Arc::clone(&self.encoder)
    }

    /// Appends a symbol. Symbols must come in ascending order.
    pub fn append(&mut self, symbol: EncodedSymbol) -> Result<()> {
        let mut columns: Vec<_> =
            symbol.columns.into_iter().map(|column| column.groups.into_iter()).collect();
        loop {
            let group: Vec<EncodedChunk> = columns.iter_mut().filter_map(Iterator::next).collect();
            if group.is_empty() {
                return Ok(());
            }
            self.append_group(group).map_err(|error| failure(&self.path, &error))?;
        }
    }

    fn append_group(&mut self, group: Vec<EncodedChunk>) -> std::result::Result<(), ParquetError> {
        let mut writer = self.file.next_row_group()?;
        for column in group {
            match column {
                EncodedChunk::Numbers(chunk) => writer.append_column(&chunk.bytes, chunk.close)?,
                EncodedChunk::Others(chunk) => chunk.append_to_row_group(&mut writer)?,
            }
        }
        writer.close().map(drop)
    }

    /// Adds to what the file says about itself.
    pub fn note(&mut self, key: &str, value: String) {
        self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes what the file says about itself, and gives the file its name. Returns its size in bytes.
    pub fn finish(self, info: &FileInfo) -> Result<u64> {
        let path = self.path.clone();
        let (temporary, size) = self.finish_unnamed(info)?;
        temporary.rename(&path)?;
        Ok(size)
    }

    /// The same but for the name: several files are to get theirs together. Returns the size, too.
    pub fn finish_unnamed(mut self, info: &FileInfo) -> Result<(Temporary, u64)> {
        let json =
            serde_json::to_string(info).map_err(|error| Error::content(&self.path, error.to_string()))?;
        self.note(FILE_INFO_KEY, json);
        let buffer = self.file.into_inner().map_err(|error| failure(&self.path, &error))?;
        let file = buffer.into_inner().map_err(|error| Error::io(&self.path, error.into_error()))?;
        let size = file.metadata().map_err(|error| Error::io(&self.path, error))?.len();
        Ok((self.temporary, size))
    }
}

impl Encoder {
    /// Encodes one symbol, its columns in parallel.
    pub fn encode(&self, symbol: &SymbolFeatures) -> Result<EncodedSymbol> {
        let features = symbol.columns.par_iter().enumerate();
        let features = features.map(|(feature, values)| self.encode_feature(feature, values));
        let (bars, features) =
            rayon::join(|| self.encode_bars(&symbol.bars), || features.collect::<Result<_>>());
        Ok(EncodedSymbol { columns: bars?.into_iter().chain::<Vec<_>>(features?).collect() })
    }

    /// Encodes the columns before the first feature.
    pub fn encode_bars(&self, bars: &Bars) -> Result<Vec<EncodedColumn>> {
        let n_others = self.others.fields().len();
        let numbers = || {
            let columns = [&bars.open, &bars.high, &bars.low, &bars.close, &bars.volume].into_par_iter();
            columns.enumerate().map(|(place, values)| self.numbers(n_others + place, values)).collect()
        };
        let (others, numbers): (_, Result<Vec<EncodedColumn>>) =
            rayon::join(|| self.encode_others(bars), numbers);
        let mut columns = others.map_err(|error| failure(&self.path, &error))?;
        columns.extend(numbers?);
        Ok(columns)
    }

    /// Encodes the values of the feature at that place.
    pub fn encode_feature(&self, feature: usize, values: &FeatureColumn) -> Result<EncodedColumn> {
        match values {
            FeatureColumn::F32(values) => self.numbers(self.n_leading + feature, values),
            FeatureColumn::F64(values) => self.numbers(self.n_leading + feature, values),
        }
    }

    fn numbers<T: Number>(&self, at: usize, values: &[T]) -> Result<EncodedColumn> {
        let groups = values.chunks(ROWS_PER_GROUP);
        let groups = groups.map(|values| pages::encode(values, &self.columns[at]).map(EncodedChunk::Numbers));
        let groups = groups.collect::<std::result::Result<_, ParquetError>>();
        Ok(EncodedColumn { groups: groups.map_err(|error| failure(&self.path, &error))? })
    }

    /// Times, sessions and symbols, by the crate's own writers.
    fn encode_others(&self, bars: &Bars) -> std::result::Result<Vec<EncodedColumn>, ParquetError> {
        let n_others = self.others.fields().len();
        let mut columns: Vec<_> = (0..n_others).map(|_| EncodedColumn { groups: Vec::new() }).collect();
        for start in (0..bars.len()).step_by(ROWS_PER_GROUP) {
            let end = bars.len().min(start + ROWS_PER_GROUP);
            let writers = self.factory.create_column_writers(0)?;
            for (at, (mut writer, column)) in writers.into_iter().zip(&mut columns).enumerate() {
                let array = leading_column(bars, self.layout.column(at), start, end);
                for leaf in compute_leaves(self.others.field(at), &array)? {
                    writer.write(&leaf)?;
                }
                column.groups.push(EncodedChunk::Others(writer.close()?));
            }
        }
        Ok(columns)
    }
}

/// Column `at` of all columns for the rows `start..end`.
pub(super) fn column(symbol: &SymbolFeatures, at: usize, start: usize, end: usize) -> ArrayRef {
    let Some(feature) = at.checked_sub(LEADING_COLUMNS.len()) else {
        return leading_column(&symbol.bars, at, start, end);
    };
    match &symbol.columns[feature] {
        FeatureColumn::F32(values) => nullable::<Float32Type>(&values[start..end], f32::is_nan),
        FeatureColumn::F64(values) => nullable::<Float64Type>(&values[start..end], f64::is_nan),
    }
}

fn leading_column(bars: &Bars, at: usize, start: usize, end: usize) -> ArrayRef {
    let prices = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values[start..end].to_vec())) };
    match at {
        0 => Arc::new(TimestampMicrosecondArray::from(bars.ts[start..end].to_vec()).with_timezone("UTC")),
        1 => {
            let keys = Int32Array::from(vec![0; end - start]);
            let values: ArrayRef = Arc::new(StringArray::from(vec![bars.symbol.as_str()]));
            Arc::new(DictionaryArray::new(keys, values))
        }
        2 => Arc::new(Int32Array::from(bars.session[start..end].to_vec())),
        3 => prices(&bars.open),
        4 => prices(&bars.high),
        5 => prices(&bars.low),
        6 => prices(&bars.close),
        _ => prices(&bars.volume),
    }
}

fn nullable<T: ArrowPrimitiveType>(values: &[T::Native], is_null: impl Fn(T::Native) -> bool) -> ArrayRef {
    let valid: Vec<bool> = values.iter().map(|&value| !is_null(value)).collect();
    let nulls = NullBuffer::from(valid);
    Arc::new(PrimitiveArray::<T>::new(values.to_vec().into(), (nulls.null_count() > 0).then_some(nulls)))
}

fn properties(features: &[(&str, Width)]) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_dictionary_enabled(ColumnPath::from("symbol"), true)
        .set_column_encoding(ColumnPath::from("ts"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(ColumnPath::from("session"), Encoding::DELTA_BINARY_PACKED);
    for name in LEADING_COLUMNS[3..].iter().chain(features.iter().map(|(name, _)| name)) {
        // A path made of one part, so that a dot in a feature's name does not split it.
        let path = ColumnPath::new(vec![(*name).to_owned()]);
        builder = builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
    }
    builder.build()
}

fn failure(path: &Path, error: &ParquetError) -> Error {
    Error::content(path, format!("cannot be written: {error}"))
}
