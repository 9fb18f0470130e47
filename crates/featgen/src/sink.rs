//! Where finished symbols go: the feature file, or a stream of Arrow IPC or CSV in a file or on standard output.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use market::parquet::stream::{IpcWriter, csv_header, csv_rows};
use market::parquet::writer::{EncodedSymbol, Encoder};
use market::parquet::{FeatureWriter, Width};
use market::temporary::Temporary;
use market::{FileInfo, Provenance, SymbolFeatures};

use crate::cli::Format;
use crate::record::RECORD_KEY;

/// An output that is being written. Dropped before [`Sink::finish`], it leaves no file.
pub enum Sink {
    /// The feature file.
    Parquet(Box<FeatureWriter>),
    /// An Arrow IPC stream.
    Ipc(Box<IpcWriter<Stream>>, Target),
    /// CSV.
    Csv(Stream, Target),
}

/// A buffered stream to a file or to standard output.
type Stream = BufWriter<Box<dyn Write + Send>>;

/// The file behind a stream, under its temporary name, or standard output.
pub struct Target(Option<(Temporary, PathBuf)>);

/// What turns symbols into what the sink appends; shared by threads.
pub enum Encoding {
    /// Row groups.
    Parquet(Arc<Encoder>),
    /// Columns as they are.
    Ipc,
    /// Text.
    Csv,
}

/// A symbol, ready to be appended.
pub enum Encoded {
    /// Row groups.
    Parquet(EncodedSymbol),
    /// Columns as they are.
    Columns(SymbolFeatures),
    /// Text.
    Text(String),
}

impl Encoding {
    /// Turns a symbol into what the sink appends.
    pub fn encode(&self, symbol: SymbolFeatures) -> market::error::Result<Encoded> {
        Ok(match self {
            Self::Parquet(encoder) => Encoded::Parquet(encoder.encode(&symbol)?),
            Self::Ipc => Encoded::Columns(symbol),
            Self::Csv => Encoded::Text(csv_rows(&symbol)),
        })
    }
}

impl Sink {
    /// Begins the output. `-` is standard output.
    pub fn create(
        path: &Path,
        format: Format,
        columns: &[(&str, Width)],
        provenance: &Provenance,
    ) -> anyhow::Result<Self> {
        if format == Format::Parquet {
            return Ok(Self::Parquet(Box::new(FeatureWriter::create(path, columns)?)));
        }
        let (out, target): (Box<dyn Write + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdout()), Target(None))
        } else {
            let (temporary, file) = Temporary::beside(path)?;
            (Box::new(file), Target(Some((temporary, path.to_owned()))))
        };
        let mut out = BufWriter::with_capacity(1 << 20, out);
        if format == Format::Ipc {
            return Ok(Self::Ipc(Box::new(IpcWriter::new(out, columns, provenance)?), target));
        }
        out.write_all(csv_header(columns, provenance).as_bytes())?;
        Ok(Self::Csv(out, target))
    }

    /// What encodes symbols for it.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Parquet(writer) => Encoding::Parquet(writer.encoder()),
            Self::Ipc(..) => Encoding::Ipc,
            Self::Csv(..) => Encoding::Csv,
        }
    }

    /// Appends a symbol. Symbols come in ascending order.
    pub fn append(&mut self, symbol: Encoded) -> anyhow::Result<()> {
        match (self, symbol) {
            (Self::Parquet(writer), Encoded::Parquet(symbol)) => writer.append(symbol)?,
            (Self::Ipc(writer, _), Encoded::Columns(symbol)) => writer.append(&symbol)?,
            (Self::Csv(out, _), Encoded::Text(text)) => out.write_all(text.as_bytes())?,
            _ => anyhow::bail!("a symbol was encoded for another kind of output"),
        }
        Ok(())
    }

    /// Ends the output and gives the file its name. Returns its size in bytes, 0 for standard output. `record` is
    /// how it was made, for a file that can be brought up to date.
    pub fn finish(self, info: &FileInfo, record: &str) -> anyhow::Result<u64> {
        match self {
            Self::Parquet(mut writer) => {
                writer.note(RECORD_KEY, record.to_owned());
                Ok(writer.finish(info)?)
            }
            Self::Ipc(writer, target) => {
                writer.finish()?;
                target.finish()
            }
            Self::Csv(mut out, target) => {
                out.flush()?;
                drop(out);
                target.finish()
            }
        }
    }
}

impl Target {
    fn finish(self) -> anyhow::Result<u64> {
        let Some((temporary, path)) = self.0 else { return Ok(0) };
        temporary.rename(&path)?;
        Ok(path.metadata().map_or(0, |metadata| metadata.len()))
    }
}
