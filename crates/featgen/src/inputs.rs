//! From the arguments of the command line to the files that they name.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cli::UsageError;

/// The files that the arguments name: themselves, and what lies in folders by the endings of bar files.
pub fn input_files(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in &listed(arguments)? {
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
            return Err(UsageError(format!(
                "{}: the folder holds no .csv, .parquet or .arrow file",
                path.display()
            ))
            .into());
        }
        // A folder lists its files in no order; the output must not depend on it.
        files[n_before..].sort();
    }
    Ok(files)
}

/// The arguments, with the lines of each `@FILE` in its place; blank lines and those with `#` are left out.
fn listed(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for argument in arguments {
        let Some(list) = argument.to_str().and_then(|argument| argument.strip_prefix('@')) else {
            paths.push(argument.clone());
            continue;
        };
        let text = std::fs::read_to_string(list).with_context(|| list.to_owned())?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let n_before = paths.len();
        paths.extend(lines.map(PathBuf::from));
        if paths.len() == n_before {
            return Err(UsageError(format!("{list}: the list names no file")).into());
        }
    }
    Ok(paths)
}

/// Refuses an output that is one of the inputs: bars are not to be lost for their features. No input may lie in the
/// folder of a partition, since nothing but its parts may.
pub fn spare_inputs(inputs: &[PathBuf], output: &Path, is_partition: bool) -> Result<(), UsageError> {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let Some(written) = identity(output) else { return Ok(()) };
    if let Some(input) = inputs.iter().find(|input| identity(input) == Some(written)) {
        return Err(UsageError(format!(
            "{}: is an input, and would be written over (choose another output with -o)",
            input.display()
        )));
    }
    if is_partition && let Ok(folder) = output.canonicalize() {
        let is_inside = |input: &&PathBuf| input.canonicalize().is_ok_and(|input| input.starts_with(&folder));
        if let Some(input) = inputs.iter().find(is_inside) {
            return Err(UsageError(format!(
                "{}: is an input inside the output folder (choose another output with -o)",
                input.display()
            )));
        }
    }
    Ok(())
}

fn is_bar_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    !is_hidden
        && path.is_file()
        && ending.is_some_and(|ending| {
            matches!(ending.as_str(), "csv" | "parquet" | "pq" | "arrow" | "ipc" | "feather")
        })
}
