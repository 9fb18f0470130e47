//! The list of files that a batch left out, beside its output.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use market::temporary::Temporary;
use serde_json::json;

/// Where the list of an output stands: `OUT.skipped.json`.
pub fn path_of(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".skipped.json");
    PathBuf::from(name)
}

/// Writes the list, or removes an earlier one where nothing was left out.
pub fn write(output: &Path, skipped: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let path = path_of(output);
    if skipped.is_empty() {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| path.display().to_string());
            }
            _ => return Ok(()),
        }
    }
    let list: Vec<_> = skipped.iter().map(|(file, error)| json!({"file": file, "error": error})).collect();
    let (temporary, mut file) = Temporary::beside(&path)?;
    file.write_all(format!("{:#}\n", json!(list)).as_bytes()).with_context(|| path.display().to_string())?;
    temporary.rename(&path)?;
    Ok(())
}
