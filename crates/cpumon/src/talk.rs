//! Standard error: what is said to a person.

use std::io::{self, Write};

pub use cli::say;

/// Writes to standard output, which a reader may have closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Whether an error is the reader of our output having gone away, which is no failure.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Why a command did not start.
pub fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "command not found".to_owned(),
        io::ErrorKind::PermissionDenied => "command cannot be run: permission denied".to_owned(),
        _ => format!("command cannot be run: {error}"),
    }
}
