//! Read, compute, encode, write. Files are looked at in parallel for what the whole batch agrees on; then
//! symbols are computed and encoded in parallel, a few at a time, and appended in order, so that the file's bytes
//! do not depend on the number of threads and memory does not grow with the number of symbols.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use cli::{Progress, UsageError};
use market::features::SCHEMA_VERSION;
use market::quality::Finding;
use market::{FeatureInfo, FileInfo, LoadOptions, Provenance, Scan, SymbolFeatures};

use crate::catalogue::{Frame, Others};
use crate::cli::Format;
use crate::compute::Plan;
use crate::in_order::in_order;
use crate::sink::{Encoded, Encoding, Sink};
use crate::{skipped, specification, stable};

/// What to do.
#[derive(Debug)]
pub struct Job {
    /// The input files.
    pub inputs: Vec<PathBuf>,
    /// Where the feature file goes.
    pub output: PathBuf,
    /// What kind of file it is.
    pub format: Format,
    /// The features, as the user wrote them.
    pub specification: String,
    /// What the user said about the inputs.
    pub load: LoadOptions,
    /// Whether feature columns are of double precision.
    pub is_double: bool,
    /// The tolerance to which rows must not depend on where the series starts, if any.
    pub stable: Option<f64>,
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
    /// Files that were left out.
    pub n_skipped: usize,
    /// Where the bars come from.
    pub provenance: Provenance,
}

/// Runs a job. `stop` is looked at between symbols; when it is set the job ends with
/// [`market::Error::Stopped`] and leaves no file behind.
pub fn run(job: &Job, stop: &AtomicBool) -> anyhow::Result<Summary> {
    let start = Instant::now();
    let usage = |message| UsageError(format!("--features: {message}"));
    // What is misspelt is said before a long batch is read.
    specification::parse(&job.specification, true).map_err(usage)?;
    let go_on = || !stop.load(Ordering::Relaxed);
    let progress = Progress::new("featgen", job.inputs.len() as u64, "files read", job.quiet);
    let n_read = AtomicU64::new(0);
    let scan = market::scan(&job.inputs, &job.load, &|| {
        progress.update(n_read.fetch_add(1, Ordering::Relaxed) + 1, String::new);
        go_on()
    });
    progress.finish();
    let scan = scan?;
    let mut plan =
        Plan::new(specification::parse(&job.specification, scan.bar_seconds < 86_400).map_err(usage)?);
    plan.is_double = job.is_double;
    if let Some(tolerance) = job.stable {
        plan.unstable_rows = unstable_rows(&plan, scan.bar_seconds, tolerance)?;
    }
    let others = others(&plan, &scan)?;
    let written = write(job, &scan, &plan, &others, &go_on)?;
    let input_bytes =
        job.inputs.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    Ok(Summary {
        n_symbols: written.n_symbols,
        n_skipped: written.n_skipped,
        n_rows: written.n_rows,
        n_features: plan.features.len(),
        input_bytes,
        output_bytes: written.bytes,
        seconds: start.elapsed().as_secs_f64(),
        n_warnings: written.n_warnings,
        provenance: scan.provenance,
    })
}

/// The rows that `--stable` leaves null.
fn unstable_rows(plan: &Plan, bar_seconds: u32, tolerance: f64) -> anyhow::Result<Vec<usize>> {
    let rows = stable::unstable_rows(plan, bar_seconds, tolerance)?;
    let settled = rows.into_iter().zip(&plan.features).map(|(rows, feature)| {
        let column = &feature.column;
        rows.ok_or_else(|| {
            UsageError(format!("--stable: {column} never forgets where the series starts (leave it out)"))
                .into()
        })
    });
    settled.collect()
}

/// The bars of the symbols that features refer to by name.
pub fn others(plan: &Plan, scan: &Scan) -> anyhow::Result<Others> {
    let mut others = Others::new();
    for name in plan.others() {
        let place = scan.symbols().position(|symbol| symbol == name).ok_or_else(|| {
            UsageError(format!("--features: the batch has no symbol {name} (give its bars as an input, too)"))
        })?;
        if !others.contains_key(name) {
            others.insert(name.to_owned(), Arc::new(scan.bars(place)?.0));
        }
    }
    Ok(others)
}

/// What came of writing.
#[derive(Debug, Default)]
struct Written {
    bytes: u64,
    n_symbols: usize,
    n_skipped: usize,
    n_rows: usize,
    n_warnings: usize,
}

/// Computes and encodes symbols in parallel, and appends them in order.
fn write(
    job: &Job,
    scan: &Scan,
    plan: &Plan,
    others: &Others,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<Written> {
    let mut sink = Sink::create(&job.output, job.format, &plan.columns(), &scan.provenance)?;
    let encoding = sink.encoding();
    let progress = Progress::new("featgen", scan.n_symbols() as u64, "symbols", job.quiet);
    let start = Instant::now();
    for note in &scan.notes {
        progress.note(note);
    }
    let mut lookbacks: Vec<usize> =
        plan.features.iter().map(|feature| feature.lookback().unwrap_or(0)).collect();
    lookbacks.iter_mut().zip(&plan.unstable_rows).for_each(|(rows, &unstable)| *rows = unstable.max(*rows));
    let mut later_nulls = vec![0_usize; plan.features.len()];
    let mut written = Written::default();
    let mut skipped: Vec<(PathBuf, String)> =
        scan.bad_files.iter().map(|(path, error)| (path.clone(), error.to_string())).collect();
    let work = |symbol: usize| {
        if go_on() {
            encode(symbol, scan, plan, others, &encoding)
        } else {
            Err(market::Error::Stopped.into())
        }
    };
    in_order(scan.n_symbols(), work, |symbol, done| {
        let done = match done {
            Err(error) if job.load.skip_bad_files && !is_stop(&error) => {
                skipped.push((scan.path(symbol).to_owned(), format!("{error:#}")));
                return Ok(());
            }
            done => done?,
        };
        for finding in &done.findings {
            progress.note(&format!("{}: {finding}", done.name));
        }
        written.n_warnings += done.findings.len();
        for place in 0..lookbacks.len() {
            lookbacks[place] = lookbacks[place].max(done.leading_nulls[place]);
            later_nulls[place] += done.later_nulls[place];
        }
        sink.append(done.encoded)?;
        written.n_symbols += 1;
        written.n_rows += done.n_rows;
        let rows_per_second = written.n_rows as f64 / start.elapsed().as_secs_f64();
        progress.update(symbol as u64 + 1, || format!("{rows_per_second:.0} rows/s"));
        Ok(())
    })?;
    progress.finish();
    for (feature, n) in plan.features.iter().zip(later_nulls).filter(|(_, n)| *n > 0) {
        progress.note(&format!("{}: no value in {n} rows after its lookback, left null", feature.column));
    }
    for (path, error) in &skipped {
        let message = format!("{}: ", path.display());
        progress.note(&format!("left out: {message}{}", error.strip_prefix(&message).unwrap_or(error)));
    }
    anyhow::ensure!(written.n_symbols > 0, "every file was left out, so nothing was written");
    written.n_skipped = skipped.len();
    written.bytes = sink.finish(&file_info(job, scan, plan, &lookbacks))?;
    if job.output.as_os_str() != "-" {
        skipped::write(&job.output, &skipped)?;
    }
    Ok(written)
}

fn is_stop(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(market::Error::Stopped))
}

/// One symbol, ready to be appended.
struct Finished {
    name: String,
    n_rows: usize,
    encoded: Encoded,
    findings: Vec<Finding>,
    leading_nulls: Vec<usize>,
    later_nulls: Vec<usize>,
}

fn encode(
    symbol: usize,
    scan: &Scan,
    plan: &Plan,
    others: &Others,
    encoding: &Encoding,
) -> anyhow::Result<Finished> {
    let (bars, findings) = scan.bars(symbol)?;
    let frame = Frame { bars: &bars, bar_seconds: scan.bar_seconds, others };
    let computed = plan.compute(&frame).with_context(|| bars.symbol.clone())?;
    let (name, n_rows) = (bars.symbol.clone(), bars.len());
    let encoded = encoding.encode(SymbolFeatures { bars, columns: computed.columns })?;
    let (leading_nulls, later_nulls) = (computed.leading_nulls, computed.later_nulls);
    Ok(Finished { name, n_rows, encoded, findings, leading_nulls, later_nulls })
}

fn file_info(job: &Job, scan: &Scan, plan: &Plan, lookbacks: &[usize]) -> FileInfo {
    let info = |(feature, &lookback): (&specification::Feature, &usize)| FeatureInfo {
        name: feature.column.clone(),
        lookback,
    };
    FileInfo {
        schema_version: SCHEMA_VERSION,
        tool: concat!("featgen ", env!("CARGO_PKG_VERSION")).to_owned(),
        specification: job.specification.clone(),
        features: plan.features.iter().zip(lookbacks).map(info).collect(),
        bar_seconds: scan.bar_seconds,
        bars_per_year: scan.bars_per_year,
        timezone: scan.timezone.clone(),
        calendar: scan.calendar.clone(),
        inputs: scan.inputs.clone(),
        provenance: scan.provenance.clone(),
    }
}
