//! From input files to one batch of bars: every file read in parallel, ordered, stamped with the time at which
//! each close is known, placed in one calendar, and inspected.

mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::features::InputFile;
use crate::order::{self, Ordering};
use crate::quality::{self, Finding, Oddity};
use crate::rows::{FileRows, Row};
use crate::{Bars, Provenance, csv, digest, parquet, sessions, timestamp};

pub use options::{BadRows, Dedup, LoadOptions, StampMeaning};

/// The bars of several symbols in one calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The symbols in ascending order.
    pub symbols: Vec<Bars>,
    /// What is odd about each symbol's bars, in the same order.
    pub findings: Vec<Vec<Finding>>,
    /// Seconds from one bar to the next within a session.
    pub bar_seconds: u32,
    /// Bars in a year, counted.
    pub bars_per_year: f64,
    /// The exchange's zone.
    pub timezone: String,
    /// The batch's trading dates as `YYYY-MM-DD`.
    pub calendar: Vec<String>,
    /// The inputs and their digests.
    pub inputs: Vec<InputFile>,
    /// Where the bars come from.
    pub provenance: Provenance,
    /// What was assumed, one line each.
    pub notes: Vec<String>,
}

/// Loads `paths` into one batch. `go_on` is called after each file; when it says no, loading stops with
/// [`Error::Stopped`].
pub fn load(paths: &[PathBuf], options: &LoadOptions, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Batch> {
    if options.symbol.is_some() && paths.len() > 1 {
        return Err(Error::Batch("--symbol names one symbol, but there are several inputs".to_owned()));
    }
    let files: Vec<Loaded> = paths
        .par_iter()
        .map(|path| {
            let file = load_file(path, options)?;
            if go_on() { Ok(file) } else { Err(Error::Stopped) }
        })
        .collect::<Result<_>>()?;

    let timezone = common_timezone(&files)?;
    let bar_seconds = common_interval(&files)?;
    let notes = notes(&files, options);
    let days: BTreeSet<i32> = files.iter().flat_map(Loaded::days).collect();
    let ordinals: BTreeMap<i32, i32> = days.iter().zip(0..).map(|(&day, ordinal)| (day, ordinal)).collect();
    let calendar = days.iter().map(|&day| timestamp::day_date(day).to_string()).collect();
    let provenance = batch_provenance(&files, options)?;
    let inputs = files.iter().map(|file| file.input.clone()).collect();

    let place = Placement { ordinals, bar_seconds, timezone: &timezone, options };
    let mut origins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in &files {
        for symbol in &file.symbols {
            if let Some(other) = origins.insert(symbol.symbol.clone(), file.path.clone()) {
                return Err(Error::content(
                    &file.path,
                    format!("holds {}, as {} does (give one of them)", symbol.symbol, other.display()),
                ));
            }
        }
    }
    let parts: Vec<(PathBuf, bool, Ordered)> = files
        .into_iter()
        .flat_map(|file| {
            let (path, has_volume) = (file.path, file.has_volume);
            file.symbols.into_iter().map(move |symbol| (path.clone(), has_volume, symbol))
        })
        .collect();
    let mut symbols: Vec<(Bars, Vec<Finding>)> = parts
        .into_par_iter()
        .map(|(path, has_volume, symbol)| place.bars(&path, has_volume, symbol))
        .collect::<Result<_>>()?;
    symbols.sort_by(|(a, _), (b, _)| a.symbol.cmp(&b.symbol));
    let (symbols, findings): (Vec<Bars>, Vec<Vec<Finding>>) = symbols.into_iter().unzip();
    let bars_per_year = sessions::bars_per_year(&symbols);
    Ok(Batch { symbols, findings, bar_seconds, bars_per_year, timezone, calendar, inputs, provenance, notes })
}

/// One symbol's rows in order, and what it took.
struct Ordered {
    symbol: String,
    rows: Vec<Row>,
    bar_seconds: Option<u32>,
    ordering: Ordering,
    skipped: Option<(usize, String)>,
}

struct Loaded {
    path: PathBuf,
    input: InputFile,
    symbols: Vec<Ordered>,
    provenance: Provenance,
    timezone: String,
    timezone_assumed: bool,
    has_volume: bool,
}

impl Loaded {
    fn days(&self) -> impl Iterator<Item = i32> {
        self.symbols
            .iter()
            .flat_map(|symbol| symbol.rows.chunk_by(|a, b| a.day == b.day).map(|rows| rows[0].day))
    }
}

fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let stem = name.split('.').next().unwrap_or_default().to_owned();
    let input = InputFile { name, sha256: digest::hex_sha256(&bytes) };
    let file: FileRows = if bytes.starts_with(b"PAR1") {
        parquet::bars::read(path, &stem, options)?
    } else if bytes.starts_with(b"ARROW1") || bytes.contains(&0) {
        return Err(Error::content(path, "is neither CSV nor Parquet"));
    } else {
        csv::read(path, &bytes, &stem, options)?
    };
    let mut skipped = file.skipped;
    let symbols = file
        .symbols
        .into_iter()
        .map(|symbol| {
            let (rows, ordering) =
                order::settle(symbol.rows, options).map_err(|message| Error::content(path, message))?;
            let bar_seconds = sessions::bar_seconds(&rows);
            Ok(Ordered { symbol: symbol.symbol, rows, bar_seconds, ordering, skipped: skipped.take() })
        })
        .collect::<Result<_>>()?;
    Ok(Loaded {
        path: path.to_owned(),
        input,
        symbols,
        provenance: file.provenance,
        timezone: file.timezone,
        timezone_assumed: file.timezone_assumed,
        has_volume: file.has_volume,
    })
}

struct Placement<'a> {
    ordinals: BTreeMap<i32, i32>,
    bar_seconds: u32,
    timezone: &'a str,
    options: &'a LoadOptions,
}

impl Placement<'_> {
    fn bars(&self, path: &Path, has_volume: bool, input: Ordered) -> Result<(Bars, Vec<Finding>)> {
        let zone = timestamp::zone_by_name(self.timezone)
            .ok_or_else(|| Error::Batch(format!("--timezone: \"{}\" is unknown", self.timezone)))?;
        let rows = &input.rows;
        let known_at = |row: &Row| {
            sessions::known_at(row, self.bar_seconds, self.options.stamp, self.options.session_close, &zone)
                .ok_or_else(|| Error::content(path, format!("line {}: time is out of range", row.line)))
        };
        let ts: Vec<i64> = rows.iter().map(known_at).collect::<Result<_>>()?;
        if let Some(at) = ts.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::content(
                path,
                format!(
                    "line {}: a second row for one daily bar (drop it, or use intraday bars)",
                    rows[at + 1].line
                ),
            ));
        }
        let column = |value: fn(&Row) -> f64| rows.iter().map(value).collect::<Vec<f64>>();
        let bars = Bars {
            symbol: input.symbol,
            ts,
            session: rows.iter().map(|row| self.ordinals.get(&row.day).copied().unwrap_or(0)).collect(),
            open: column(|row| row.open),
            high: column(|row| row.high),
            low: column(|row| row.low),
            close: column(|row| row.close),
            volume: column(|row| row.volume),
        };
        let mut findings = Vec::new();
        if let Some((count, first)) = input.skipped {
            findings.push(Finding { oddity: Oddity::SkippedRows, count, first });
        }
        let settled = [
            (Oddity::ExactCopies, input.ordering.copies),
            (Oddity::SettledConflicts, input.ordering.conflicts),
            (Oddity::SortedRows, input.ordering.moved),
        ];
        for (oddity, counted) in settled {
            if let Some((count, line)) = counted {
                findings.push(Finding { oddity, count, first: format!("line {line}") });
            }
        }
        findings.extend(quality::inspect(&bars, self.bar_seconds, has_volume, &zone));
        Ok((bars, findings))
    }
}

/// The batch's zone. `Asia/Kolkata` and `+05:30` are one; other mixtures need the user's word.
fn common_timezone(files: &[Loaded]) -> Result<String> {
    let names: BTreeSet<&str> = files.iter().map(|file| file.timezone.as_str()).collect();
    let indian = |name: &&str| matches!(*name, "+05:30" | "Asia/Kolkata");
    match names.first() {
        Some(only) if names.len() == 1 => Ok((*only).to_owned()),
        Some(_) if names.iter().all(indian) => Ok("Asia/Kolkata".to_owned()),
        Some(_) => {
            let list: Vec<&str> = names.into_iter().collect();
            Err(Error::Batch(format!(
                "inputs are in the zones {} (name one with --timezone)",
                list.join(", ")
            )))
        }
        None => Err(Error::Batch("no input files".to_owned())),
    }
}

fn common_interval(files: &[Loaded]) -> Result<u32> {
    let mut found: Option<(u32, &str)> = None;
    for symbol in files.iter().flat_map(|file| &file.symbols) {
        let Some(seconds) = symbol.bar_seconds else { continue };
        match found {
            Some((other, name)) if other != seconds => {
                return Err(Error::Batch(format!(
                    "{name} has bars of {other} s and {} of {seconds} s (run them apart)",
                    symbol.symbol
                )));
            }
            _ => found = Some((seconds, &symbol.symbol)),
        }
    }
    found.map(|(seconds, _)| seconds).ok_or_else(|| {
        let path = files.first().map_or_else(String::new, |file| file.path.display().to_string());
        Error::Batch(format!("{path}: a single bar shows no interval (at least two are needed)"))
    })
}

fn batch_provenance(files: &[Loaded], options: &LoadOptions) -> Result<Provenance> {
    let mut all: Option<Provenance> = None;
    for file in files {
        let provenance = match (&file.provenance, &options.source) {
            (Provenance::Simulated { .. }, Some(_)) => {
                return Err(Error::content(
                    &file.path,
                    format!("is labelled {}, so --source cannot call it real", file.provenance),
                ));
            }
            (Provenance::Unlabelled, Some(source)) => Provenance::Real { source: source.clone() },
            (label, _) => label.clone(),
        };
        all = Some(match all {
            Some(earlier) => earlier.combine(provenance),
            None => provenance,
        });
    }
    Ok(all.unwrap_or(Provenance::Unlabelled))
}

fn notes(files: &[Loaded], options: &LoadOptions) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(file), None) = (files.iter().find(|file| file.timezone_assumed), &options.timezone) {
        notes.push(format!(
            "{}: no time zone in the text, taken for {} (change it with --timezone)",
            file.path.display(),
            file.timezone
        ));
    }
    if let Some(file) = files.iter().find(|file| !file.has_volume) {
        notes.push(format!("{}: no volume column, taken for zero", file.path.display()));
    }
    notes
}

#[cfg(test)]
mod tests;
