//! What is said when a job is done: one line for people, or one line of JSON for programs.

use std::path::Path;

use market::digest::file_sha256;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::pipeline::{Job, Summary};
use crate::record::TOOL;
use crate::skipped;

/// The line for people.
pub fn line(job: &Job, summary: &Summary) -> String {
    let written = &summary.written;
    let skipped = match written.skipped.len() {
        0 => String::new(),
        n => format!(", {} left out ({})", plural(n, "file"), skipped::path_of(&job.output).display()),
    };
    let left = [(written.n_unchanged, "unchanged"), (written.n_kept, "kept")];
    let left: Vec<String> =
        left.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
    let left = left.concat();
    let output = job.output.display();
    if written.n_written == 0 {
        let n = plural(written.n_symbols, "symbol");
        let seconds = summary.seconds;
        return format!(
            "{output}: {n}{left}, nothing to write, {seconds:.2} s, {}{skipped}",
            summary.provenance
        );
    }
    let n_symbols = if left.is_empty() {
        plural(written.n_symbols, "symbol")
    } else {
        format!("{} of {} written{left}", written.n_written, plural(written.n_symbols, "symbol"))
    };
    format!(
        "{output}: {n_symbols}, {} rows, {}, {:.2} s, {:.1} MB/s in, {:.1} MB out, {}, {}{skipped}",
        written.n_rows,
        plural(summary.n_features, "feature"),
        summary.seconds,
        megabytes_per_second(summary),
        written.bytes as f64 / 1e6,
        summary.provenance,
        plural(written.n_warnings, "warning"),
    )
}

/// The line for programs: one object.
pub fn json(job: &Job, summary: &Summary) -> anyhow::Result<Value> {
    let written = &summary.written;
    let outputs: Vec<Value> = written
        .outputs
        .par_iter()
        .map(|path| {
            let digest = if path.as_os_str() == "-" { None } else { Some(file_sha256(path)?) };
            let bytes = path.metadata().ok().map(|metadata| metadata.len());
            Ok(json!({ "path": path, "bytes": bytes, "sha256": digest }))
        })
        .collect::<anyhow::Result<_>>()?;
    let left_out = written.skipped.iter().map(|(file, error)| json!({ "file": file, "error": error }));
    Ok(json!({
        "tool": TOOL,
        "output": job.output,
        "format": match job.format {
            Format::Parquet => "parquet",
            Format::Ipc => "ipc",
            Format::Csv => "csv",
        },
        "partition": job.is_partition,
        "symbols": written.n_symbols,
        "symbols_written": written.n_written,
        "symbols_unchanged": written.n_unchanged,
        "symbols_kept": written.n_kept,
        "rows": written.n_rows,
        "features": summary.n_features,
        "warnings": written.n_warnings,
        "seconds": summary.seconds,
        "megabytes_per_second": megabytes_per_second(summary),
        "input_bytes": summary.input_bytes,
        "output_bytes": written.bytes,
        "provenance": summary.provenance,
        "inputs": summary.inputs,
        "outputs": outputs,
        "left_out": left_out.collect::<Vec<Value>>(),
    }))
}

/// Whether the output goes to standard output, where nothing else may then go.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn megabytes_per_second(summary: &Summary) -> f64 {
    summary.input_bytes as f64 / 1e6 / summary.seconds.max(1e-9)
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
