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
use ::parquet::schema::types::ColumnPath;
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, PrimitiveArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, SchemaRef};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::parquet::{FILE_INFO_KEY, LEADING_COLUMNS, Width, schema};
use crate::{FeatureColumn, FileInfo, SymbolFeatures};

/// Rows in a row group, at most: large enough to compress well, small enough to be read in parts.
const ROWS_PER_GROUP: usize = 1 << 18;

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
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

/// A symbol's row groups, ready to be appended.
#[derive(Debug)]
pub struct EncodedSymbol {
    groups: Vec<Vec<ArrowColumnChunk>>,
}

impl FeatureWriter {
    /// Begins a feature file at `path` with these feature columns, in the folder of `path` under another
    /// name. The folder is made if it is missing.
    pub fn create(path: &Path, features: &[(&str, Width)]) -> Result<Self> {
        let temporary = Temporary::beside(path)?;
        let file = File::create(&temporary.path).map_err(|error| Error::io(path, error))?;
        let schema: SchemaRef = Arc::new(schema(features.iter().copied()));
        let properties = properties(features);
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&schema), Some(properties));
        let (file, factory) =
            writer.and_then(ArrowWriter::into_serialized_writer).map_err(|error| failure(path, &error))?;
        let encoder = Arc::new(Encoder { path: path.to_owned(), schema, factory });
        Ok(Self { path: path.to_owned(), temporary, encoder, file })
    }

    /// What encodes symbols for this file, to be shared with other threads.
    pub fn encoder(&self) -> Arc<Encoder> {
        Arc::clone(&self.encoder)
    }

    /// Appends a symbol. Symbols must come in ascending order.
    pub fn append(&mut self, symbol: EncodedSymbol) -> Result<()> {
        for group in symbol.groups {
            self.append_group(group).map_err(|error| failure(&self.path, &error))?;
        }
        Ok(())
    }

    fn append_group(&mut self, group: Vec<ArrowColumnChunk>) -> std::result::Result<(), ParquetError> {
        let mut writer = self.file.next_row_group()?;
        for column in group {
            column.append_to_row_group(&mut writer)?;
        }
        writer.close().map(drop)
    }

    /// Writes what the file says about itself, and gives the file its name. Returns its size in bytes.
    pub fn finish(mut self, info: &FileInfo) -> Result<u64> {
        let json =
            serde_json::to_string(info).map_err(|error| Error::content(&self.path, error.to_string()))?;
        self.file.append_key_value_metadata(KeyValue::new(FILE_INFO_KEY.to_owned(), json));
        let buffer = self.file.into_inner().map_err(|error| failure(&self.path, &error))?;
        let file = buffer.into_inner().map_err(|error| Error::io(&self.path, error.into_error()))?;
        let size = file.metadata().map_err(|error| Error::io(&self.path, error))?.len();
        drop(file);
        self.temporary.rename(&self.path)?;
        Ok(size)
    }
}

impl Encoder {
    /// Encodes one symbol, its columns in parallel.
    pub fn encode(&self, symbol: &SymbolFeatures) -> Result<EncodedSymbol> {
        let n_rows = symbol.bars.len();
        let starts = (0..n_rows).step_by(ROWS_PER_GROUP);
        let groups = starts.map(|start| self.encode_group(symbol, start, n_rows.min(start + ROWS_PER_GROUP)));
        let groups = groups.collect::<std::result::Result<_, ParquetError>>();
        Ok(EncodedSymbol { groups: groups.map_err(|error| failure(&self.path, &error))? })
    }

    fn encode_group(
        &self,
        symbol: &SymbolFeatures,
        start: usize,
        end: usize,
    ) -> std::result::Result<Vec<ArrowColumnChunk>, ParquetError> {
        let writers = self.factory.create_column_writers(0)?;
        writers
            .into_par_iter()
            .enumerate()
            .map(|(at, mut writer)| {
                let array = column(symbol, at, start, end);
                for leaf in compute_leaves(self.schema.field(at), &array)? {
                    writer.write(&leaf)?;
                }
                writer.close()
            })
            .collect()
    }
}

/// Column `at` of the file's schema for the rows `start..end`.
pub(super) fn column(symbol: &SymbolFeatures, at: usize, start: usize, end: usize) -> ArrayRef {
    let bars = &symbol.bars;
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
        7 => prices(&bars.volume),
        feature => match &symbol.columns[feature - LEADING_COLUMNS.len()] {
            FeatureColumn::F32(values) => nullable::<Float32Type>(&values[start..end], f32::is_nan),
            FeatureColumn::F64(values) => nullable::<Float64Type>(&values[start..end], f64::is_nan),
        },
    }
}

fn nullable<T: ArrowPrimitiveType>(values: &[T::Native], is_null: impl Fn(T::Native) -> bool) -> ArrayRef {
    let valid: Vec<bool> = values.iter().map(|&value| !is_null(value)).collect();
    let nulls = NullBuffer::from(valid);
    Arc::new(PrimitiveArray::<T>::new(values.to_vec().into(), (nulls.null_count() > 0).then_some(nulls)))
}

fn properties(features: &[(&str, Width)]) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
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

/// A file under a temporary name, removed unless it is renamed.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A name beside `path` that no other process uses. The folder is made if it is missing.
    pub fn beside(path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::content(path, "is not the name of a file to write"))?
            .to_string_lossy();
        // A rename would put a file in place of a device or a link, which nobody means by naming one.
        if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::content(
                path,
                "is not a plain file, and would be replaced (choose another output)",
            ));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder).map_err(|error| Error::io(path, error))?;
        }
        Ok(Self { path: folder.join(format!(".{name}.partial-{}", std::process::id())) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, in place of any earlier file.
    pub fn rename(self, path: &Path) -> Result<()> {
        std::fs::rename(&self.path, path).map_err(|error| Error::io(path, error))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and a failure to remove has nowhere to go.
        drop(std::fs::remove_file(&self.path));
    }
}
