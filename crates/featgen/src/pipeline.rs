//! Read, compute, encode, write. Files are looked at in parallel for what the whole batch agrees on; then
//! symbols are computed and encoded in parallel, a few at a time, into one output or a part each, so that memory
//! does not grow with the number of symbols.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cli::{Progress, UsageError};
use market::features::InputFile;
use market::{LoadOptions, Provenance, Scan};

use crate::catalogue::Others;
use crate::cli::Format;
use crate::compute::Plan;
use crate::partition::{self, folder::Folder};
use crate::{specification, stable, whole};

/// What to do.
#[derive(Debug)]
pub struct Job {
    /// The input files.
    pub inputs: Vec<PathBuf>,
    /// Where the feature file goes, or the folder of a partition.
    pub output: PathBuf,
    /// What kind of file it is.
    pub format: Format,
    /// Whether each symbol has a file of its own.
    pub is_partition: bool,
    /// What to do about what is there already.
    pub refresh: Refresh,
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

/// What to do about an output that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Make it anew.
    Anew,
    /// Leave alone what would come out as it is.
    Update,
    /// Put new bars behind those that it has.
    Append,
}

/// What was done.
#[derive(Debug)]
pub struct Summary {
    /// Symbols, rows, bytes, and what was left out.
    pub written: Written,
    /// Feature columns.
    pub n_features: usize,
    /// The inputs and their digests.
    pub inputs: Vec<InputFile>,
    /// Bytes read.
    pub input_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Where the bars come from.
    pub provenance: Provenance,
}

/// What came of writing.
#[derive(Debug, Default)]
pub struct Written {
    /// Symbols in the output.
    pub n_symbols: usize,
    /// Symbols whose rows were written now.
    pub n_written: usize,
    /// Symbols of the inputs whose rows would not have changed, and were left alone.
    pub n_unchanged: usize,
    /// Symbols in the output that the inputs do not have, left as they were.
    pub n_kept: usize,
    /// Rows written.
    pub n_rows: usize,
    /// Bytes written.
    pub bytes: u64,
    /// Kinds of oddities found, summed over the symbols.
    pub n_warnings: usize,
    /// Files that were left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// The files that were written.
    pub outputs: Vec<PathBuf>,
}

impl Written {
    /// Says which files were left out.
    pub fn note_skipped(&self, progress: &Progress) {
        for (path, error) in &self.skipped {
            let message = format!("{}: ", path.display());
            progress.note(&format!("left out: {message}{}", error.strip_prefix(&message).unwrap_or(error)));
        }
    }

    /// Says which features have no value in rows after their lookback.
    pub fn note_nulls(&self, plan: &Plan, later_nulls: &[usize], progress: &Progress) {
        for (feature, n) in plan.features.iter().zip(later_nulls).filter(|(_, n)| **n > 0) {
            progress.note(&format!("{}: no value in {n} rows after its lookback, left null", feature.column));
        }
    }
}

/// Runs a job. `go_on` is asked between symbols; when it says no the job ends with [`market::Error::Stopped`] and
/// leaves no file behind.
pub fn run(job: &Job, go_on: &(dyn Fn() -> bool + Sync)) -> anyhow::Result<Summary> {
    let start = Instant::now();
    // What is misspelt is said before a long batch is read.
    specification::parse(&job.specification, true).map_err(|message| usage(&message))?;
    if job.refresh == Refresh::Update
        && !job.is_partition
        && let Some(unchanged) = whole::unchanged(job, start)
    {
        return Ok(unchanged);
    }
    let folder = if job.is_partition { Some(Folder::open(&job.output)?) } else { None };
    let mut load = job.load.clone();
    if let (Some(folder), Refresh::Append) = (&folder, job.refresh) {
        load.bar_seconds = folder.parts.values().next().map(|part| part.info.bar_seconds);
    }
    let scan = read(job, &load, go_on)?;
    let plan = plan(job, &scan)?;
    let written = match &folder {
        None => whole::write(job, &scan, &plan, go_on)?,
        Some(folder) => partition::write(job, folder, &scan, &plan, go_on)?,
    };
    Ok(Summary {
        written,
        n_features: plan.features.len(),
        input_bytes: input_bytes(job),
        seconds: start.elapsed().as_secs_f64(),
        inputs: scan.inputs,
        provenance: scan.provenance,
    })
}

/// The size of the inputs, as far as they are files.
pub fn input_bytes(job: &Job) -> u64 {
    job.inputs.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn read(job: &Job, load: &LoadOptions, go_on: &(dyn Fn() -> bool + Sync)) -> anyhow::Result<Scan> {
    let progress = Progress::new("featgen", job.inputs.len() as u64, "files read", job.quiet);
    let n_read = AtomicU64::new(0);
    let scan = market::scan(&job.inputs, load, &|| {
        progress.update(n_read.fetch_add(1, Ordering::Relaxed) + 1, String::new);
        go_on()
    });
    progress.finish();
    Ok(scan?)
}

fn plan(job: &Job, scan: &Scan) -> anyhow::Result<Plan> {
    let is_intraday = scan.bar_seconds < market::sessions::SECONDS_PER_DAY;
    let mut plan =
        Plan::new(specification::parse(&job.specification, is_intraday).map_err(|message| usage(&message))?);
    plan.is_double = job.is_double;
    if let Some(tolerance) = job.stable {
        plan.unstable_rows = unstable_rows(&plan, scan.bar_seconds, tolerance)?;
    }
    Ok(plan)
}

fn usage(message: &str) -> UsageError {
    UsageError(format!("--features: {message}"))
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
            others.insert(name.to_owned(), Arc::new(scan.peek(place)?.0));
        }
    }
    Ok(others)
}

/// Whether an error is the wish to stop.
pub fn is_stop(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(market::Error::Stopped))
}
