//! From the arguments of the command line to the files that they name.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cli::UsageError;

/// The files that the arguments name: themselves, and what lies in folders by the endings of bar files.
pub fn input_files(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in arguments {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let n_before = files.len();
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        for entry in entries {
            let entry = entry.with_context(|| path.display().to_string())?.path();
            if is_bar_file(&entry) {
                files.push(entry);
            }
        }
        if files.len() == n_before {
            return Err(
                UsageError(format!("{}: the folder holds no .csv or .parquet file", path.display())).into()
            );
        }
        // A folder lists its files in no order; the output must not depend on it.
        files[n_before..].sort();
    }
    Ok(files)
}

fn is_bar_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    !is_hidden
        && path.is_file()
        && ending.is_some_and(|ending| matches!(ending.as_str(), "csv" | "parquet" | "pq"))
}
