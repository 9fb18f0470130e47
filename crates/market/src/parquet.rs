//! The feature file: one Parquet table, sorted by symbol and time, that any tool reads; and bars out of
//! anybody's Parquet.
//!
//! Columns in order: `ts` (timestamp, microseconds, UTC), `symbol` (dictionary of utf8), `session` (int32),
//! `open high low close volume` (float64), then a column a feature (float32, or float64 for running totals).
//! Row groups never mix symbols. What the file says about itself is one JSON document under
//! [`FILE_INFO_KEY`] in the key-value metadata. A partition is a folder of such files, a symbol each, without the
//! column `symbol`: their folders' names say it.
//!
//! # Layout
//! - [`writer`]: columns encoded in parallel, appended in order, under a temporary name until all is well.
//! - `pages`: the pages of a column of numbers.
//! - [`reader`]: feature files back into a [`crate::FeatureTable`].
//! - [`partition`]: a folder of such files, a symbol each, as one table.
//! - [`hive`]: the layout of a partition: a folder a symbol.
//! - [`bars`]: bars out of a Parquet or Arrow IPC file with a time column and prices.
//! - [`stream`]: the same table as Arrow IPC or CSV, for pipes.

pub mod bars;
pub mod hive;
mod pages;
pub mod partition;
pub mod reader;
pub mod stream;
pub mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

pub use partition::read_partition;
pub use reader::read_features;
pub use writer::{FeatureWriter, Layout};

/// The key under which [`crate::FileInfo`] stands in the key-value metadata.
pub const FILE_INFO_KEY: &str = "market.file_info";

/// The key under which tables that are not feature files carry a label, as [`crate::Provenance::label`] writes it.
pub const PROVENANCE_KEY: &str = "provenance";

/// The columns before the first feature.
pub const LEADING_COLUMNS: [&str; 8] = ["ts", "symbol", "session", "open", "high", "low", "close", "volume"];

/// The width of a feature column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// float32, the usual.
    F32,
    /// float64, for running totals.
    F64,
}

/// The Arrow schema of a feature file with these feature columns.
pub fn schema<'a>(features: impl Iterator<Item = (&'a str, Width)>, layout: Layout) -> Schema {
    let mut fields = vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new(
            "symbol",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            false,
        ),
        Field::new("session", DataType::Int32, false),
    ];
    fields.extend(LEADING_COLUMNS[3..].iter().map(|&name| Field::new(name, DataType::Float64, false)));
    fields.extend(features.map(|(name, width)| {
        let kind = match width {
            Width::F32 => DataType::Float32,
            Width::F64 => DataType::Float64,
        };
        Field::new(name, kind, true)
    }));
    if layout == Layout::Part {
        fields.remove(1);
    }
    Schema::new(fields.into_iter().map(Arc::new).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::features::InputFile;
    use crate::{Bars, FeatureColumn, FeatureInfo, FeatureTable, FileInfo, Provenance, SymbolFeatures};

    fn symbol(name: &str, n: usize) -> SymbolFeatures {
        let prices: Vec<f64> = (0..n).map(|bar| 100.0 + bar as f64 * 0.05).collect();
        let bars = Bars {
            symbol: name.into(),
            ts: (0..n as i64).map(|bar| 1_700_000_000_000_000 + bar * 300_000_000).collect(),
            session: (0..n as i32).map(|bar| bar / 75).collect(),
            open: prices.clone(),
            high: prices.clone(),
            low: prices.clone(),
            close: prices,
            volume: vec![7.0; n],
        };
        let column = |bar: usize| if bar < 3 { f32::NAN } else { bar as f32 };
        let total = (0..n).map(|bar| bar as f64 * 1e9 + 0.1).collect();
        SymbolFeatures {
            bars,
            columns: vec![FeatureColumn::F32((0..n).map(column).collect()), FeatureColumn::F64(total)],
        }
    }

    fn table(rows: &[(&str, usize)]) -> FeatureTable {
        let feature = |name: &str, lookback| FeatureInfo { name: name.into(), lookback };
        FeatureTable {
            info: FileInfo {
                schema_version: crate::features::SCHEMA_VERSION,
                tool: "test".into(),
                specification: "a,b".into(),
                features: vec![feature("a", 3), feature("b", 0)],
                bar_seconds: 300,
                bars_per_year: 18_000.5,
                timezone: "+05:30".into(),
                calendar: vec!["2024-01-01".into(), "2024-01-02".into()],
                inputs: vec![InputFile { name: "x.csv".into(), sha256: "00".into() }],
                provenance: Provenance::Real { source: "a \"quoted\" source".into() },
            },
            symbols: rows.iter().map(|(name, n)| symbol(name, *n)).collect(),
        }
    }

    fn write(path: &std::path::Path, table: &FeatureTable) {
        let features = [("a", Width::F32), ("b", Width::F64)];
        let mut writer = FeatureWriter::create(path, &features).unwrap();
        for symbol in &table.symbols {
            let encoded = writer.encoder().encode(symbol).unwrap();
            writer.append(encoded).unwrap();
        }
        writer.finish(&table.info).unwrap();
    }

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("market-parquet-{}-{name}", std::process::id()))
    }

    /// NaN stands for null, so tables are compared through their digest, which sees bits.
    #[test]
    fn a_feature_file_is_read_as_it_was_written() {
        let path = temporary("round-trip.parquet");
        let table = table(&[("A", 100), ("B", 7)]);
        write(&path, &table);
        let back = read_features(&path).unwrap();
        assert_eq!(back.info, table.info);
        let digest = crate::digest::table_sha256;
        assert_eq!(digest(&back), digest(&table));
        assert_eq!(back.symbols[1].bars, table.symbols[1].bars);
        std::fs::remove_file(path).unwrap();
    }

    /// Writes each symbol as a part of a partition.
    fn write_parts(folder: &std::path::Path, table: &FeatureTable) {
        for symbol in &table.symbols {
            let path = folder.join(hive::folder_of(&symbol.bars.symbol)).join("part-0.parquet");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let features = [("a", Width::F32), ("b", Width::F64)];
            let mut writer = FeatureWriter::create_part(folder, &path, &features).unwrap();
            writer.append(writer.encoder().encode(symbol).unwrap()).unwrap();
            writer.finish(&table.info).unwrap();
        }
    }

    #[test]
    fn a_partition_is_read_as_the_one_file_would_be() {
        let folder = temporary("partition");
        let one = table(&[("A", 100), ("M&M", 7), ("USD/INR", 3)]);
        write_parts(&folder, &one);
        let back = read_features(&folder).unwrap();
        assert_eq!((&back.info, back.symbols.len()), (&one.info, 3));
        assert_eq!(crate::digest::table_sha256(&back), crate::digest::table_sha256(&one));
        let part = read_features(&folder.join("symbol=M&M/part-0.parquet")).unwrap();
        assert_eq!(part.symbols[0].bars, one.symbols[1].bars);
        let (_, bars) = reader::read_bars(&folder.join("symbol=A/part-0.parquet")).unwrap();
        assert_eq!(bars, [one.symbols[0].bars.clone()]);

        // A later part knows a day more: ordinals are those of the merged calendar.
        let mut later = table(&[("B", 4)]);
        later.info.calendar.insert(0, "2023-12-31".into());
        later.symbols[0].bars.session = vec![0, 0, 1, 1];
        write_parts(&folder, &later);
        let back = read_features(&folder).unwrap();
        assert_eq!(back.info.calendar, ["2023-12-31", "2024-01-01", "2024-01-02"]);
        assert_eq!(
            (back.symbols[0].bars.session[0], &back.symbols[1].bars.session[..]),
            (1, &[0, 0, 1, 1][..])
        );

        later.info.bar_seconds = 60;
        write_parts(&folder, &later);
        let error = read_features(&folder).unwrap_err().to_string();
        assert!(error.contains("has bars of another interval than"), "{error}");
        std::fs::remove_dir_all(folder.join("symbol=B")).unwrap();
        std::fs::rename(folder.join("symbol=A"), folder.join("elsewhere")).unwrap();
        let error = read_features(&folder.join("elsewhere/part-0.parquet")).unwrap_err().to_string();
        assert!(error.contains("its folder is not named symbol=NAME"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let folder = temporary("dropped");
        std::fs::create_dir_all(&folder).unwrap();
        drop(FeatureWriter::create(&folder.join("out.parquet"), &[("a", Width::F32)]).unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let path = temporary("other.parquet");
        std::fs::write(&path, "date,close\n").unwrap();
        let error = read_features(&path).unwrap_err().to_string();
        assert!(error.ends_with("is not a feature file (make one with featgen)"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}
