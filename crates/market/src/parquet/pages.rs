//! Numbers into the pages of a Parquet column: runs of nulls and values, one stream for each byte of a value
//! (`BYTE_STREAM_SPLIT`), zstd level 1.
//!
//! The `parquet` crate does the same for any column: it lists the places of all values, gathers them, splits them in a
//! second copy, and makes a compressor for each column and row group. For plain numbers whose nulls are mostly the rows
//! before a lookback none of that is needed, and encoding is half of what `featgen` does. Headers, metadata and the
//! file itself stay with the crate.

use std::cell::RefCell;

use ::parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use ::parquet::column::page::{CompressedPage, Page, PageWriter};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::errors::Result;
use ::parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use ::parquet::file::statistics::{Statistics, ValueStatistics};
use ::parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::Bytes;

/// Rows in a page: 256 kB of single precision, which stays in a core's own cache while it is worked on.
const ROWS_PER_PAGE: usize = 1 << 16;

/// The level of compression; a higher one takes far longer and saves next to nothing on numbers that are split so.
pub const ZSTD_LEVEL: i32 = 1;

/// A column of one row group, ready to be appended to a file.
#[derive(Debug)]
pub struct Chunk {
    /// The pages.
    pub bytes: Bytes,
    /// What the file's metadata say of them.
    pub close: ColumnCloseResult,
}

/// Numbers that are stored so; NaN stands for null.
pub trait Number: Copy + PartialOrd {
    /// Bytes of a value.
    const BYTES: usize;
    /// The largest and the smallest value.
    const RANGE: (Self, Self);
    /// Whether it stands for null.
    fn is_null(self) -> bool;
    /// The values' bytes: all first ones, then all second ones, and so on.
    fn split(values: &[Self], planes: &mut [u8]);
    /// The statistics of a chunk: bounds, if there are values, and the number of nulls.
    fn statistics(bounds: Option<(Self, Self)>, n_nulls: u64) -> Statistics;
}

macro_rules! number {
    ($type:ty, $bits:ty, $statistics:ident) => {
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            const RANGE: (Self, Self) = (<$type>::INFINITY, <$type>::NEG_INFINITY);

            fn is_null(self) -> bool {
                self.is_nan()
            }

            fn split(values: &[Self], planes: &mut [u8]) {
                for (place, plane) in planes.chunks_exact_mut(values.len()).enumerate() {
                    for (byte, value) in plane.iter_mut().zip(values) {
                        *byte = (value.to_bits() >> (8 * place)) as u8;
                    }
                }
            }

            fn statistics(bounds: Option<(Self, Self)>, n_nulls: u64) -> Statistics {
                // Both zeros are equal, so that bounds must let in either (the format's rule).
                let low = bounds.map(|(low, _)| if low == 0.0 { -0.0 } else { low });
                let high = bounds.map(|(_, high)| if high == 0.0 { 0.0 } else { high });
                let statistics = ValueStatistics::new(low, high, None, Some(n_nulls), false);
                Statistics::$statistics(statistics.with_nan_count(Some(0)))
            }
        }
    };
}

number!(f32, u32, Float);
number!(f64, u64, Double);

/// What a thread keeps from page to page, so that nothing is allocated anew.
struct Workplace {
    compressor: zstd::bulk::Compressor<'static>,
    page: Vec<u8>,
    compressed: Vec<u8>,
}

thread_local! {
    static WORKPLACE: RefCell<Option<Workplace>> = const { RefCell::new(None) };
}

/// Encodes the values of one row group.
pub fn encode<T: Number>(values: &[T], column: &ColumnDescPtr) -> Result<Chunk> {
    WORKPLACE.with_borrow_mut(|place| {
        let workplace = match place {
            Some(workplace) => workplace,
            None => place.insert(Workplace {
                compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
                page: Vec::new(),
                compressed: Vec::new(),
            }),
        };
        encode_with(workplace, values, column)
    })
}

fn encode_with<T: Number>(workplace: &mut Workplace, values: &[T], column: &ColumnDescPtr) -> Result<Chunk> {
    let mut sink = TrackedWrite::new(Vec::with_capacity(values.len() * T::BYTES));
    let mut writer = SerializedPageWriter::new(&mut sink);
    let mut gathered = Vec::new();
    let (mut n_nulls, mut bounds, mut n_pages) = (0, T::RANGE, 0);
    let (mut compressed_size, mut uncompressed_size) = (0, 0);
    for rows in values.chunks(ROWS_PER_PAGE) {
        workplace.page.clear();
        let present = present(rows, &mut gathered);
        if column.max_def_level() > 0 {
            push_levels(rows, present.len(), &mut workplace.page);
        }
        bounds = bounds_of(present, bounds);
        n_nulls += rows.len() - present.len();
        let start = workplace.page.len();
        workplace.page.resize(start + size_of_val(present), 0);
        if !present.is_empty() {
            T::split(present, &mut workplace.page[start..]);
        }
        workplace.compressed.clear();
        workplace.compressed.reserve(zstd::zstd_safe::compress_bound(workplace.page.len()));
        workplace.compressor.compress_to_buffer(&workplace.page, &mut workplace.compressed)?;
        let page = Page::DataPage {
            buf: Bytes::copy_from_slice(&workplace.compressed),
            num_values: rows.len() as u32,
            encoding: Encoding::BYTE_STREAM_SPLIT,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = writer.write_page(CompressedPage::new(page, workplace.page.len()))?;
        compressed_size += written.compressed_size;
        uncompressed_size += written.uncompressed_size;
        n_pages += 1;
    }
    writer.close()?;
    let has_values = n_nulls < values.len();
    let stats = PageEncodingStats {
        page_type: PageType::DATA_PAGE,
        encoding: Encoding::BYTE_STREAM_SPLIT,
        count: n_pages,
    };
    let metadata = ColumnChunkMetaData::builder(column.clone())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_encodings(vec![Encoding::RLE, Encoding::BYTE_STREAM_SPLIT])
        .set_page_encoding_stats(vec![stats])
        .set_total_compressed_size(compressed_size as i64)
        .set_total_uncompressed_size(uncompressed_size as i64)
        .set_num_values(values.len() as i64)
        .set_data_page_offset(0)
        .set_statistics(T::statistics(has_values.then_some(bounds), n_nulls as u64))
        .build()?;
    let bytes = Bytes::from(sink.into_inner()?);
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: values.len() as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    Ok(Chunk { bytes, close })
}

/// The values that are not null: rows as they are, without leading nulls, or gathered where nulls stand between them.
fn present<'a, T: Number>(rows: &'a [T], gathered: &'a mut Vec<T>) -> &'a [T] {
    let leading = rows.iter().position(|value| !value.is_null()).unwrap_or(rows.len());
    let rest = &rows[leading..];
    // Counted rather than searched for, since that goes many at a time.
    if rest.iter().filter(|value| value.is_null()).count() == 0 {
        return rest;
    }
    gathered.clear();
    gathered.extend(rest.iter().copied().filter(|value| !value.is_null()));
    gathered
}

/// Appends the definition levels, 1 for a value and 0 for a null, as runs: each the double of its length in seven-bit
/// groups, then its level. Before them stands their length in bytes.
fn push_levels<T: Number>(rows: &[T], n_present: usize, page: &mut Vec<u8>) {
    let start = page.len();
    page.extend_from_slice(&[0; 4]);
    if n_present == rows.len() || n_present == 0 {
        push_run(rows.len(), n_present > 0, page);
    } else {
        for run in rows.chunk_by(|a, b| a.is_null() == b.is_null()) {
            push_run(run.len(), !run[0].is_null(), page);
        }
    }
    let n_bytes = (page.len() - start - 4) as u32;
    page[start..start + 4].copy_from_slice(&n_bytes.to_le_bytes());
}

fn push_run(length: usize, is_present: bool, page: &mut Vec<u8>) {
    let mut header = length << 1;
    while header >= 0x80 {
        page.push(header as u8 | 0x80);
        header >>= 7;
    }
    page.extend_from_slice(&[header as u8, u8::from(is_present)]);
}

/// Lowest and highest of values without nulls, and of those before; several at a time.
fn bounds_of<T: Number>(values: &[T], before: (T, T)) -> (T, T) {
    const LANES: usize = 16;
    let (mut low, mut high) = ([before.0; LANES], [before.1; LANES]);
    let mut take = |values: &[T]| {
        for (lane, &value) in values.iter().enumerate() {
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
        }
    };
    let whole = values.chunks_exact(LANES);
    let rest = whole.remainder();
    whole.for_each(&mut take);
    take(rest);
    let least = low.iter().fold(low[0], |a, &b| if b < a { b } else { a });
    (least, high.iter().fold(high[0], |a, &b| if b > a { b } else { a }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float32Type;

    /// Values written so and read by the crate, NaN for nulls, and the statistics that it found.
    fn read_back(values: &[f32]) -> (Vec<f32>, Option<(f32, f32)>, Option<u64>) {
        let schema = Arc::new(parse_message_type("message m { optional float a; }").unwrap());
        let mut file = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(&mut file, schema, properties).unwrap();
        let column = writer.schema_descr().column(0);
        let chunk = encode(values, &column).unwrap();
        let mut group = writer.next_row_group().unwrap();
        group.append_column(&chunk.bytes, chunk.close).unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
        let statistics = builder.metadata().row_group(0).column(0).statistics().unwrap().clone();
        let Statistics::Float(statistics) = statistics else { panic!("statistics of another type") };
        let bounds = statistics.min_opt().copied().zip(statistics.max_opt().copied());
        let mut back = Vec::new();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let array = batch.column(0).as_primitive::<Float32Type>();
            back.extend(
                (0..array.len()).map(|row| if array.is_null(row) { f32::NAN } else { array.value(row) }),
            );
        }
        (back, bounds, statistics.null_count_opt())
    }

    fn check(values: &[f32], bounds: Option<(f32, f32)>) {
        let (back, found, n_nulls) = read_back(values);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        assert_eq!(found, bounds);
        assert_eq!(n_nulls, Some(values.iter().filter(|value| value.is_nan()).count() as u64));
    }

    #[test]
    fn what_is_written_is_read_by_the_crate_wherever_nulls_stand() {
        let nan = f32::NAN;
        let ramp: Vec<f32> = (0..200_000).map(|row| row as f32 - 50_000.5).collect();
        check(&ramp, Some((ramp[0], ramp[199_999])));
        let mut leading = ramp.clone();
        leading[..70_000].fill(nan);
        check(&leading, Some((leading[70_000], leading[199_999])));
        let scattered: Vec<f32> = ramp
            .iter()
            .enumerate()
            .map(|(row, &value)| if row % 7 == 3 || row > 190_000 { nan } else { value })
            .collect();
        check(&scattered, Some((scattered[0], scattered[190_000])));
        check(&[nan; 5], None);
        check(&[nan, 1.0], Some((1.0, 1.0)));
        check(&[3.0, -2.0, nan], Some((-2.0, 3.0)));
    }

    #[test]
    fn bounds_let_in_both_zeros() {
        let (_, bounds, _) = read_back(&[0.0, 0.0]);
        let (low, high) = bounds.unwrap();
        assert!(low.is_sign_negative() && high.is_sign_positive());
    }
}
