//! The folder of a partition: held by one process at a time, and what lies in it already.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use market::FileInfo;
use market::parquet::{hive, reader};
use rayon::prelude::*;
use rustix::fs::{FlockOperation, flock};

use crate::record::Record;

/// The one file of a symbol's folder.
const PART: &str = "part-0.parquet";

/// A partition's folder, locked while this lives.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The parts that are there, by symbol.
    pub parts: BTreeMap<String, Part>,
    /// Damaged parts, which are made anew where the inputs have their bars.
    pub damaged: BTreeMap<String, market::Error>,
    is_new: bool,
    _lock: File,
}

/// A part that is there already.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its file.
    pub path: PathBuf,
    /// What it says about itself.
    pub info: FileInfo,
    /// How it was made.
    pub record: Record,
    /// Rows.
    pub n_rows: usize,
}

impl Folder {
    /// Makes the folder if it is missing, locks it, and looks at what it holds.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let is_new = !path.exists();
        fs::create_dir_all(path).with_context(name)?;
        let lock = File::open(path).with_context(name)?;
        // Some network file systems have no locks, which is another error; files are whole there, too.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            anyhow::bail!("{}: another featgen is writing to it (wait until it has ended)", path.display());
        }
        let mut folder = Self {
            path: path.to_owned(),
            parts: BTreeMap::new(),
            damaged: BTreeMap::new(),
            is_new,
            _lock: lock,
        };
        folder.look()?;
        Ok(folder)
    }

    /// Where a symbol's part stands.
    pub fn part_path(&self, symbol: &str) -> PathBuf {
        self.path.join(hive::folder_of(symbol)).join(PART)
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.remove_leftovers()?;
        let mut files = Vec::new();
        for (symbol, paths) in hive::parts(&self.path)? {
            // Another spelling of the folder's name would leave two folders for one symbol.
            let expected = self.part_path(&symbol);
            match paths.iter().find(|&path| *path != expected) {
                Some(other) => {
                    anyhow::bail!("{}: is no file of featgen's (choose another folder)", other.display())
                }
                None => files.push((symbol, expected)),
            }
        }
        let footers: Vec<_> =
            files.into_par_iter().map(|(symbol, path)| (symbol, reader::read_footer(&path), path)).collect();
        for (symbol, footer, path) in footers {
            match footer.map(|footer| (Record::read(&footer), footer)) {
                Ok((Some(record), reader::Footer { info, n_rows, .. })) => {
                    self.parts.insert(symbol, Part { path, info, record, n_rows });
                }
                Ok((None, _)) => {
                    anyhow::bail!("{}: is no part of a partition (choose another folder)", path.display())
                }
                Err(error) if is_cut_short(&path) => {
                    self.damaged.insert(symbol, error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes away what a process that was killed has left behind: nobody else writes here now.
    fn remove_leftovers(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.path).with_context(|| self.path.display().to_string())? {
            let path = entry.with_context(|| self.path.display().to_string())?.path();
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if name.starts_with(".symbol=") && name.contains(".partial-") {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error).with_context(|| path.display().to_string());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Only a folder that is empty can be removed so: where nothing was written, none stays.
        if self.is_new {
            drop(fs::remove_dir(&self.path));
        }
    }
}

/// Whether a file does not end as a Parquet file must, as after a crash of the machine.
fn is_cut_short(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| !bytes.ends_with(b"PAR1"))
}
