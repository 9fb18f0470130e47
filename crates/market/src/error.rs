//! What can be wrong with a file, as one line that names the object and the way out.

use std::path::{Path, PathBuf};

/// Why a file could not be read or written. The text names the file; whoever prints it adds nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content is not what it must be; the message says where, and what would settle it.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, column and value where there are some, and the way out.
        message: String,
    },
    /// Several inputs do not fit together, or the options do not fit the inputs.
    #[error("{0}")]
    Batch(String),
    /// The caller asked to stop, as Ctrl-C does.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// What is wrong with the content of `path`.
    pub fn content(path: &Path, message: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), message: message.into() }
    }

    /// What the operating system said about `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The result of reading or writing a file.
pub type Result<T> = std::result::Result<T, Error>;
