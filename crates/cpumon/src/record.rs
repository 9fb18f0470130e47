//! The file on disk: as JSON lines a header, a line a sample, a summary; as CSV the samples alone. A line is
//! written whole and at once, so that a run that is killed leaves a valid file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::outfile::OutFile;
use crate::platform::CoreKind;
use crate::sample::Sample;
use crate::summary::Summary;
use crate::table::Table;

/// Changes whenever a reader of older files would misunderstand newer ones.
pub const SCHEMA: u32 = 1;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// Always the first.
    Header(Header),
    /// One interval.
    Sample(Sample),
    /// The last, unless the run was killed.
    Summary(Box<Summary>),
}

/// What was watched, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// Version of the writer.
    pub version: String,
    /// Seconds since 1970-01-01 UTC.
    pub started_at_s: f64,
    /// Time between two samples, in seconds.
    pub interval_s: f64,
    /// What is watched, in a few words.
    pub subject: String,
    /// The command with its arguments; null if none was started.
    pub command: Option<Vec<String>>,
    /// The process that is followed; null if none is.
    pub pid: Option<u32>,
    /// Cores that the subject may use; with a quota this need not be a whole number.
    pub effective_cores: f64,
    /// Cores of the machine.
    pub machine_cores: usize,
    /// Which kind each core is; empty where all are alike.
    pub core_kinds: Vec<CoreKind>,
    /// The processor's name.
    pub processor: Option<String>,
    /// The system's name.
    pub system: Option<String>,
}

/// Writes lines, and stops writing at the first failure.
pub struct Recorder {
    out: Option<Box<dyn Write + Send>>,
    path: PathBuf,
    form: Form,
}

/// How lines are written.
enum Form {
    Json,
    /// Rows, once the header has told what is the same in all of them.
    Csv(Option<Table>),
}

impl Recorder {
    /// A recorder into `path`, `-` being standard output; without a path it writes nothing.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let out: Option<Box<dyn Write + Send>> = match path {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(io::stdout())),
            Some(path) => {
                let file = OutFile::create(path)
                    .with_context(|| format!("{}: cannot be written (--output)", path.display()))?;
                Some(Box::new(file))
            }
        };
        let path = path.unwrap_or(Path::new("")).to_owned();
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        Ok(Self { out, path, form: if is_csv { Form::Csv(None) } else { Form::Json } })
    }

    /// Writes one line. An error is given once; after it nothing more is written.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let Some(out) = self.out.as_mut() else { return Ok(()) };
        let mut text = match (&mut self.form, line) {
            (Form::Json, line) => serde_json::to_vec(line)?,
            (Form::Csv(table), Line::Header(header)) => {
                let table = table.insert(Table {
                    cores: header.machine_cores,
                    effective_cores: header.effective_cores,
                    subject: header.subject.clone(),
                });
                table.header()?.into_bytes()
            }
            (Form::Csv(Some(table)), Line::Sample(sample)) => table.row(sample)?.into_bytes(),
            (Form::Csv(_), _) => return Ok(()),
        };
        text.push(b'\n');
        let written = out.write_all(&text).and_then(|()| out.flush());
        if written.is_err() {
            self.out = None;
        }
        match written {
            // Whoever read standard output has had enough, which is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.path == Path::new("-") => {
                Err(error.into())
            }
            other => other.with_context(|| format!("{}: writing stops here", self.path.display())),
        }
    }
}
