//! Read, compute, encode, write. Files are read in parallel; then symbols are computed and encoded in parallel,
//! a few at a time, and appended in order, so that the file's bytes do not depend on the number of threads and
//! memory does not grow with the number of symbols.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use cli::{Progress, UsageError};
use market::features::SCHEMA_VERSION;
use market::parquet::FeatureWriter;
use market::parquet::writer::EncodedSymbol;
use market::{Bars, Batch, FeatureInfo, FileInfo, LoadOptions, Provenance, SymbolFeatures};
use rayon::prelude::*;

use crate::compute::Plan;
use crate::specification;

/// What to do.
#[derive(Debug)]
pub struct Job {
    /// The input files.
    pub inputs: Vec<PathBuf>,
    /// Where the feature file goes.
    pub output: PathBuf,
    /// The features, as the user wrote them.
    pub specification: String,
    /// What the user said about the inputs.
    pub load: LoadOptions,
    /// Whether to be silent.
    pub quiet: bool,
}

/// What was done.
#[derive(Debug)]
pub struct Summary {
    /// Symbols written.
    pub n_symbols: usize,
    /// Rows written.
    pub n_rows: usize,
    /// Feature columns written.
    pub n_features: usize,
    /// Bytes read.
    pub input_bytes: u64,
    /// Bytes written.
    pub output_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Kinds of oddities found, summed over the symbols.
    pub n_warnings: usize,
    /// Where the bars come from.
    pub provenance: Provenance,
}

/// Runs a job. `stop` is looked at between symbols; when it is set the job ends with
/// [`market::Error::Stopped`] and leaves no file behind.
pub fn run(job: &Job, stop: &AtomicBool) -> anyhow::Result<Summary> {
    let start = Instant::now();
    let go_on = || !stop.load(Ordering::Relaxed);
    let progress = Progress::new("featgen", job.inputs.len() as u64, "files read", job.quiet);
    let n_read = AtomicU64::new(0);
    let batch = market::load(&job.inputs, &job.load, &|| {
        progress.update(n_read.fetch_add(1, Ordering::Relaxed) + 1, String::new);
        go_on()
    });
    progress.finish();
    let batch = batch?;
    let n_warnings = report(&batch, job.quiet);

    let features = specification::parse(&job.specification, batch.bar_seconds < 86_400)
        .map_err(|message| UsageError(format!("--features: {message}")))?;
    let plan = Plan::new(features);
    let (summary, n_rows) = write(job, &batch, &plan, &go_on)?;
    let input_bytes =
        job.inputs.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    Ok(Summary {
        n_symbols: batch.symbols.len(),
        n_rows,
        n_features: plan.features.len(),
        input_bytes,
        output_bytes: summary,
        seconds: start.elapsed().as_secs_f64(),
        n_warnings,
        provenance: batch.provenance,
    })
}

/// Says what was assumed and what is odd; returns how many kinds of oddities there are.
fn report(batch: &Batch, quiet: bool) -> usize {
    let mut n_warnings = 0;
    if !quiet {
        for note in &batch.notes {
            eprintln!("featgen: {note}");
        }
    }
    for (bars, findings) in batch.symbols.iter().zip(&batch.findings) {
        n_warnings += findings.len();
        if !quiet {
            for finding in findings {
                eprintln!("featgen: {}: {finding}", bars.symbol);
            }
        }
    }
    n_warnings
}

/// Computes, encodes and appends every symbol. Returns the file's size and its rows.
fn write(
    job: &Job,
    batch: &Batch,
    plan: &Plan,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<(u64, usize)> {
    let mut writer = FeatureWriter::create(&job.output, &plan.columns())?;
    let progress = Progress::new("featgen", batch.symbols.len() as u64, "symbols", job.quiet);
    let start = Instant::now();
    let mut lookbacks: Vec<usize> =
        plan.features.iter().map(|feature| feature.lookback().unwrap_or(0)).collect();
    let mut later_nulls = vec![0_usize; plan.features.len()];
    let (mut n_rows, mut n_done) = (0, 0);
    // Enough symbols at a time that no thread waits long for the slowest.
    for bars in batch.symbols.chunks(4 * rayon::current_num_threads()) {
        let finished: Vec<Finished> = bars
            .par_iter()
            .map(|bars| {
                if go_on() { encode(bars, batch, plan, &writer) } else { Err(market::Error::Stopped.into()) }
            })
            .collect::<anyhow::Result<_>>()?;
        for (bars, done) in bars.iter().zip(finished) {
            for place in 0..lookbacks.len() {
                lookbacks[place] = lookbacks[place].max(done.leading_nulls[place]);
                later_nulls[place] += done.later_nulls[place];
            }
            writer.append(done.symbol)?;
            n_rows += bars.len();
            n_done += 1;
            progress
                .update(n_done, || format!("{:.0} rows/s", n_rows as f64 / start.elapsed().as_secs_f64()));
        }
    }
    progress.finish();
    for (feature, n) in plan.features.iter().zip(later_nulls).filter(|(_, n)| *n > 0) {
        progress.note(&format!("{}: no value in {n} rows after its lookback, left null", feature.column));
    }
    let size = writer.finish(&file_info(job, batch, plan, &lookbacks))?;
    Ok((size, n_rows))
}

struct Finished {
    symbol: EncodedSymbol,
    leading_nulls: Vec<usize>,
    later_nulls: Vec<usize>,
}

fn encode(bars: &Bars, batch: &Batch, plan: &Plan, writer: &FeatureWriter) -> anyhow::Result<Finished> {
    let computed = plan.compute(bars, batch.bar_seconds).with_context(|| bars.symbol.clone())?;
    let symbol = SymbolFeatures { bars: bars.clone(), columns: computed.columns };
    let symbol = writer.encoder().encode(&symbol)?;
    Ok(Finished { symbol, leading_nulls: computed.leading_nulls, later_nulls: computed.later_nulls })
}

fn file_info(job: &Job, batch: &Batch, plan: &Plan, lookbacks: &[usize]) -> FileInfo {
    let info = |(feature, &lookback): (&specification::Feature, &usize)| FeatureInfo {
        name: feature.column.clone(),
        lookback,
    };
    FileInfo {
        schema_version: SCHEMA_VERSION,
        tool: concat!("featgen ", env!("CARGO_PKG_VERSION")).to_owned(),
        specification: job.specification.clone(),
        features: plan.features.iter().zip(lookbacks).map(info).collect(),
        bar_seconds: batch.bar_seconds,
        bars_per_year: batch.bars_per_year,
        timezone: batch.timezone.clone(),
        calendar: batch.calendar.clone(),
        inputs: batch.inputs.clone(),
        provenance: batch.provenance.clone(),
    }
}

/// The files that the arguments name: themselves, and what lies in folders by the endings of bar files.
pub fn input_files(arguments: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in arguments {
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
            return Err(
                UsageError(format!("{}: the folder holds no .csv or .parquet file", path.display())).into()
            );
        }
        // A folder lists its files in no order; the output must not depend on it.
        files[n_before..].sort();
    }
    Ok(files)
}

fn is_bar_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    !is_hidden
        && path.is_file()
        && ending.is_some_and(|ending| matches!(ending.as_str(), "csv" | "parquet" | "pq"))
}
