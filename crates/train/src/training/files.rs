//! Files that appear whole or not at all.

use std::path::Path;

use anyhow::{Context, Result};

/// Writes a whole file or none.
///
/// # Errors
/// If the disk does not take it.
pub fn put_file(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let put = || -> std::io::Result<()> {
        std::fs::write(&unfinished, text)?;
        std::fs::rename(&unfinished, path)
    };
    put().inspect_err(|_| drop(std::fs::remove_file(&unfinished))).with_context(|| path.display().to_string())
}
