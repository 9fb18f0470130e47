//! What a feature file holds, bit for bit.

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{Array, Float32Array, Float64Array, Int32Array, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The bits of each numeric column, `None` for a null.
pub type Columns = BTreeMap<String, Vec<Option<u64>>>;

/// Reads the columns of a file.
pub fn read(path: impl AsRef<std::path::Path>) -> Columns {
    let file = File::open(path).expect("a feature file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    let mut columns = Columns::new();
    for batch in reader {
        let batch = batch.expect("a batch");
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let values = columns.entry(field.name().clone()).or_default();
            let bit_at: Box<dyn Fn(usize) -> u64> = match field.data_type() {
                DataType::Float32 => {
                    let array = array.as_any().downcast_ref::<Float32Array>().expect("f32").clone();
                    Box::new(move |row| u64::from(array.value(row).to_bits()))
                }
                DataType::Float64 => {
                    let array = array.as_any().downcast_ref::<Float64Array>().expect("f64").clone();
                    Box::new(move |row| array.value(row).to_bits())
                }
                DataType::Timestamp(..) => {
                    let array =
                        array.as_any().downcast_ref::<TimestampMicrosecondArray>().expect("µs").clone();
                    Box::new(move |row| array.value(row) as u64)
                }
                DataType::Int32 => {
                    let array = array.as_any().downcast_ref::<Int32Array>().expect("i32").clone();
                    Box::new(move |row| array.value(row) as u64)
                }
                _ => continue,
            };
            values.extend((0..array.len()).map(|row| array.is_valid(row).then(|| bit_at(row))));
        }
    }
    columns.retain(|_, values| !values.is_empty());
    columns
}

/// What a file says about itself: the JSON document in its metadata.
#[allow(dead_code, reason = "not every test that reads tables asks what they say about themselves")]
pub fn info(path: impl AsRef<std::path::Path>) -> serde_json::Value {
    metadata(path, "market.file_info")
}

/// A JSON document in the file's key-value metadata.
#[allow(dead_code, reason = "as above")]
pub fn metadata(path: impl AsRef<std::path::Path>, key: &str) -> serde_json::Value {
    let file = File::open(path).expect("a feature file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let pairs = reader.metadata().file_metadata().key_value_metadata().expect("metadata");
    let json = pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    serde_json::from_str(&json.expect("such a key")).expect("JSON")
}
