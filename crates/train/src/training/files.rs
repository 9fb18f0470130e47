//! Files that appear whole or not at all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::SIGXFSZ;

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

/// Makes a limit on the size of files (`ulimit -f`) an error of the write that goes beyond it, as a full disk is.
/// Otherwise its signal would end the program without a word. It is handled rather than ignored, since a server that
/// is started would inherit that it is ignored.
///
/// # Errors
/// If the system takes no handler.
pub fn outlive_the_largest_file() -> Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}
