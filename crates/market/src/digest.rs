//! SHA-256 over files and over tables, so that a result can name exactly what it was made from.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::{Bars, FeatureColumn, FeatureTable};

/// SHA-256 of bytes, in hexadecimal.
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 over the values of a table, in hexadecimal: symbols, feature names, times, sessions, bars and
/// features, but not what the file says about itself beyond that. Two files that hold the same numbers have the
/// same digest however they were encoded.
pub fn table_sha256(table: &FeatureTable) -> String {
    let mut hasher = Sha256::new();
    let text = |hasher: &mut Sha256, text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for date in &table.info.calendar {
        text(&mut hasher, date);
    }
    for feature in &table.info.features {
        text(&mut hasher, &feature.name);
    }
    for symbol in &table.symbols {
        let bars = &symbol.bars;
        text(&mut hasher, &bars.symbol);
        hasher.update((bars.len() as u64).to_le_bytes());
        update(&mut hasher, &bars.ts, i64::to_le_bytes);
        update(&mut hasher, &bars.session, i32::to_le_bytes);
        for column in [&bars.open, &bars.high, &bars.low, &bars.close, &bars.volume] {
            update(&mut hasher, column, f64::to_le_bytes);
        }
        for column in &symbol.columns {
            match column {
                FeatureColumn::F32(values) => update(&mut hasher, values, f32::to_le_bytes),
                FeatureColumn::F64(values) => update(&mut hasher, values, f64::to_le_bytes),
            }
        }
    }
    hex(&hasher.finalize())
}

/// SHA-256 over one symbol's bars, in hexadecimal: times, prices and volumes, but not the calendar's ordinals.
pub fn bars_sha256(bars: &Bars) -> String {
    let mut hasher = Sha256::new();
    update(&mut hasher, &bars.ts, i64::to_le_bytes);
    for column in [&bars.open, &bars.high, &bars.low, &bars.close, &bars.volume] {
        update(&mut hasher, column, f64::to_le_bytes);
    }
    hex(&hasher.finalize())
}

/// SHA-256 of a file's bytes, in hexadecimal.
pub fn file_sha256(path: &Path) -> Result<String> {
    let failed = |error| Error::io(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn update<T: Copy, const N: usize>(hasher: &mut Sha256, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity(4_096 * N);
    for part in values.chunks(4_096) {
        buffer.clear();
        for &value in part {
            buffer.extend_from_slice(&bytes(value));
        }
        hasher.update(&buffer);
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[digit as usize] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_known_text_is_known() {
        assert_eq!(hex_sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
