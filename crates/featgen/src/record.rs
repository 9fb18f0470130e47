//! What an output remembers of how it was made, beside what every feature file says: enough to tell whether making
//! it again would change it, and whether more bars can be added to it.

use std::collections::BTreeMap;

use market::FileInfo;
use market::parquet::reader::Footer;
use market::quality::Finding;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::Job;

/// The key under which it stands in the key-value metadata.
pub const RECORD_KEY: &str = "featgen.record";

/// The program that makes outputs: another version may give other values.
pub const TOOL: &str = concat!("featgen ", env!("CARGO_PKG_VERSION"));

/// How an output was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Whether all columns are of double precision.
    pub is_double: bool,
    /// The tolerance of `--stable`, if any.
    pub stable: Option<f64>,
    /// What was said about the inputs, as [`market::LoadOptions`] writes it.
    pub options: Value,
    /// SHA-256 of the bars of the other symbols that features refer to.
    pub others: BTreeMap<String, String>,
    /// In a part: the sessions that have bars, as runs of ordinals in the file's calendar, first and last.
    pub sessions: Vec<(i32, i32)>,
    /// In a part: bars in a year of this symbol alone.
    pub bars_per_year: f64,
    /// Symbols in the file.
    pub n_symbols: usize,
    /// Files that were left out of the batch.
    pub n_left_out: usize,
    /// What is odd about the bars of the symbols that have anything odd about them.
    pub findings: BTreeMap<String, Vec<Finding>>,
}

impl Record {
    /// What a job says about all that it writes.
    pub fn of(job: &Job) -> Self {
        Self {
            is_double: job.is_double,
            stable: job.stable,
            options: options(job),
            n_symbols: 1,
            ..Self::default()
        }
    }

    /// What the file with this footer remembers; nothing where another program wrote it.
    pub fn read(footer: &Footer) -> Option<Self> {
        let (_, json) = footer.notes.iter().find(|(key, _)| key == RECORD_KEY)?;
        serde_json::from_str(json).ok()
    }

    /// As it stands in the metadata.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Whether the values of a job would come from the same features, options and version.
    pub fn is_up_to_date(&self, info: &FileInfo, job: &Job, columns: &[&str]) -> bool {
        let is_as_strict = |of: &Value| of.get("is_strict") == Some(&Value::Bool(true));
        info.tool == TOOL
            && info.specification == job.specification
            && info.features.iter().map(|feature| feature.name.as_str()).eq(columns.iter().copied())
            && (self.is_double, self.stable) == (job.is_double, job.stable)
            && without(&self.options, &["is_strict"]) == without(&options(job), &["is_strict"])
            && (!job.load.is_strict || is_as_strict(&self.options))
            && self.n_left_out == 0
    }

    /// Why new rows of a job cannot stand beside those of `symbol` that are recorded, if they cannot. How rows are
    /// read from files need not agree, but what their values depend on.
    pub fn conflict(&self, info: &FileInfo, job: &Job, columns: &[&str], symbol: &str) -> Option<String> {
        let now = options(job);
        if info.tool != TOOL {
            Some(format!("was made by {}", info.tool))
        } else if !info.features.iter().map(|feature| feature.name.as_str()).eq(columns.iter().copied()) {
            Some("holds other features".to_owned())
        } else if self.is_double != job.is_double {
            Some("was made with another --double".to_owned())
        } else if self.stable != job.stable {
            Some("was made with another --stable".to_owned())
        } else if stamp_of(&self.options) != stamp_of(&now) {
            Some("was made with another --stamp".to_owned())
        } else if self.options.get("session_close") != now.get("session_close") {
            Some("was made with another --session-close".to_owned())
        } else if self.options.get("fill") != now.get("fill") {
            Some("was made with another --fill".to_owned())
        } else if splits_of(&self.options, symbol) != splits_of(&now, symbol) {
            Some("was made with another list of --splits".to_owned())
        } else {
            None
        }
    }
}

/// What a job says about its inputs. The symbol and the source of a part are seen in its path and its provenance.
fn options(job: &Job) -> Value {
    let options = serde_json::to_value(&job.load).unwrap_or_default();
    if job.is_partition { without(&options, &["symbol", "source"]) } else { options }
}

fn without(options: &Value, names: &[&str]) -> Value {
    let mut options = options.clone();
    if let Some(fields) = options.as_object_mut() {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
    options
}

/// What stamps mean, where nobody said so, too.
fn stamp_of(options: &Value) -> &str {
    options.get("stamp").and_then(Value::as_str).unwrap_or("open")
}

/// The splits of one symbol in a list of `--splits`.
fn splits_of(options: &Value, symbol: &str) -> Vec<Value> {
    let list = options.pointer("/splits/list").and_then(Value::as_array).cloned().unwrap_or_default();
    list.into_iter().filter(|split| split.get("symbol").and_then(Value::as_str) == Some(symbol)).collect()
}
