//! One input file, read and put in order.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;

use super::LoadOptions;
use crate::error::{Error, Result};
use crate::features::InputFile;
use crate::order::{self, Ordering};
use crate::parquet::hive;
use crate::rows::{FileRows, Row};
use crate::{Provenance, csv, digest, parquet, sessions};

/// One symbol's rows in order, and what it took.
#[derive(Debug, Clone)]
pub struct Ordered {
    pub symbol: String,
    pub rows: Vec<Row>,
    pub bar_seconds: Option<u32>,
    pub ordering: Ordering,
    /// Rows that were told in the shares after a split.
    pub n_adjusted: usize,
    pub skipped: Option<(usize, String)>,
}

/// What one file holds, and what is known about it.
#[derive(Debug)]
pub struct Loaded {
    pub path: PathBuf,
    pub input: InputFile,
    pub symbols: Vec<Ordered>,
    pub provenance: Provenance,
    pub timezone: String,
    pub timezone_assumed: bool,
    pub has_volume: bool,
}

/// Whether a path means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a file, whatever its format, and puts each symbol's rows in order.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    let bytes = read(path).map_err(|error| Error::io(path, error))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // A part of a partition is called after its folder.
    let stem = hive::symbol_of(path).unwrap_or_else(|| name.split('.').next().unwrap_or_default().to_owned());
    let (sha256, file) = rayon::join(|| digest::hex_sha256(&bytes), || rows_of(path, &bytes, &stem, options));
    let file = file?;
    let input = InputFile { name, sha256 };
    let mut skipped = file.skipped;
    let symbols = file
        .symbols
        .into_iter()
        .map(|symbol| {
            let (mut rows, ordering) =
                order::settle(symbol.rows, options).map_err(|message| Error::content(path, message))?;
            rows.shrink_to_fit();
            let bar_seconds = sessions::bar_seconds(&rows);
            if let Some(known) = options.bar_seconds.filter(|&known| sessions::contradict(&rows, known)) {
                let message =
                    format!("its bars are not the bars of {known} s that there are already (run them apart)");
                return Err(Error::content(path, message));
            }
            let n_adjusted = options.splits.as_ref().map_or(0, |list| list.adjust(&symbol.symbol, &mut rows));
            let symbol = symbol.symbol;
            Ok(Ordered { symbol, rows, bar_seconds, ordering, n_adjusted, skipped: skipped.take() })
        })
        .collect::<Result<_>>()?;
    Ok(Loaded {
        path: path.to_owned(),
        input,
        symbols,
        provenance: file.provenance,
        timezone: file.timezone,
        timezone_assumed: file.timezone_assumed,
        has_volume: file.has_volume,
    })
}

/// The bars in the content of a file, whatever its format.
fn rows_of(path: &Path, bytes: &Bytes, stem: &str, options: &LoadOptions) -> Result<FileRows> {
    if bytes.starts_with(b"PAR1") {
        parquet::bars::read(path, bytes.clone(), stem, options)
    } else if bytes.starts_with(b"ARROW1") || bytes.starts_with(&[0xff; 4]) {
        parquet::bars::read_ipc(path, bytes, stem, options)
    } else if memchr::memchr(0, bytes).is_some() {
        Err(Error::content(path, "is neither CSV nor Parquet nor Arrow IPC"))
    } else {
        csv::read(path, bytes, stem, options)
    }
}

/// What all threads read of a file at once.
const PART_BYTES: usize = 4 << 20;

/// The content of a file; a large one is read by all threads, each a part at a time.
fn read(path: &Path) -> std::io::Result<Bytes> {
    if is_stdin(path) {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes.into());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let n_bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !metadata.is_file() || n_bytes < 2 * PART_BYTES {
        return std::fs::read(path).map(Bytes::from);
    }
    let mut bytes = vec![0; n_bytes];
    bytes
        .par_chunks_mut(PART_BYTES)
        .enumerate()
        .try_for_each(|(place, part)| file.read_exact_at(part, (place * PART_BYTES) as u64))?;
    Ok(bytes.into())
}
