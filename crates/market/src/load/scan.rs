//! A batch of any size in bounded memory: every file is read once to learn what the whole batch agrees on (its
//! calendar, interval and zone), and rows are kept for the second look only as far as a budget reaches. Files
//! beyond it are read again when their bars are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use super::file::{Loaded, Ordered, is_stdin, load_file};
use super::options::{DEFAULT_SESSION_CLOSE, Fill, LoadOptions, StampMeaning};
use super::{agree, fill};
use crate::error::{Error, Result};
use crate::features::InputFile;
use crate::quality::{self, Finding, Oddity};
use crate::rows::Row;
use crate::sessions::{self, KnownAt};
use crate::{Bars, Provenance, timestamp};

/// Rows kept between the two looks, in bytes: two million bars. Beyond it files are read twice, but for one that is
/// alone.
const KEPT_BYTES: usize = 128 << 20;

/// Rows of a large file that a thread takes at once.
const ROWS_AT_ONCE: usize = 1 << 15;

/// What a whole batch agrees on, and where its bars are.
#[derive(Debug)]
pub struct Scan {
    /// Seconds from one bar to the next within a session.
    pub bar_seconds: u32,
    /// Bars in a year, counted.
    pub bars_per_year: f64,
    /// The same of each symbol, in no order.
    pub yearly: Vec<f64>,
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
    /// Files left out because of [`LoadOptions::skip_bad_files`], and what was wrong with each.
    pub bad_files: Vec<(PathBuf, Error)>,
    sources: Vec<Source>,
    ordinals: BTreeMap<i32, i32>,
    options: LoadOptions,
}

/// Where one symbol's rows are.
#[derive(Debug)]
struct Source {
    symbol: String,
    path: PathBuf,
    sha256: String,
    has_volume: bool,
    n_rows: usize,
    kept: Mutex<Option<Ordered>>,
}

/// Reads `paths` for what they agree on. `go_on` is called after each file; when it says no, the scan stops
/// with [`Error::Stopped`].
pub fn scan(paths: &[PathBuf], options: &LoadOptions, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Scan> {
    scan_within(paths, options, KEPT_BYTES, go_on)
}

pub(super) fn scan_within(
    paths: &[PathBuf],
    options: &LoadOptions,
    kept_bytes: usize,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Scan> {
    if options.symbol.is_some() && paths.len() > 1 {
        return Err(Error::Batch("--symbol names one symbol, but there are several inputs".to_owned()));
    }
    let kept = AtomicUsize::new(0);
    let looked_at: Vec<(&PathBuf, Result<Look>)> = paths
        .par_iter()
        .map(|path| {
            let look =
                load_file(path, options).map(|file| Look::new(file, &kept, kept_bytes, paths.len() == 1));
            (path, if go_on() { look } else { Err(Error::Stopped) })
        })
        .collect();
    let (mut looks, mut bad_files) = (Vec::new(), Vec::new());
    for (path, look) in looked_at {
        match look {
            Ok(look) => looks.push(look),
            Err(error) if options.skip_bad_files && !matches!(error, Error::Stopped) => {
                bad_files.push((path.clone(), error));
            }
            Err(error) => return Err(error),
        }
    }
    if looks.is_empty() && !bad_files.is_empty() {
        return Err(bad_files.swap_remove(0).1);
    }
    let files: Vec<&Loaded> = looks.iter().map(|look| &look.file).collect();
    let timezone = agree::timezone(&files)?;
    let bar_seconds = agree::interval(&files, options)?;
    let notes = agree::notes(&files, options);
    let provenance = agree::provenance(&files, options)?;
    agree::symbols_are_unique(&files)?;
    let inputs = files.iter().map(|file| file.input.clone()).collect();
    let days: BTreeSet<i32> = looks.iter().flat_map(|look| look.days.iter().copied()).collect();
    let ordinals: BTreeMap<i32, i32> = days.iter().zip(0..).map(|(&day, ordinal)| (day, ordinal)).collect();
    let calendar = days.iter().map(|&day| timestamp::day_date(day).to_string()).collect();
    let mut scan = Scan {
        bar_seconds,
        bars_per_year: 0.0,
        yearly: Vec::new(),
        timezone,
        calendar,
        inputs,
        provenance,
        notes,
        bad_files,
        sources: Vec::new(),
        ordinals,
        options: options.clone(),
    };
    let zone = scan.zone()?;
    let mut known_at = scan.known_at(&zone);
    let mut yearly = Vec::new();
    for look in &looks {
        for (first, last, lengths) in &look.spans {
            // A time out of range is an error with its line when the bars are asked for.
            if let (Some(first), Some(last)) = (known_at.of(first, false), known_at.of(last, false)) {
                yearly.push(sessions::bars_per_year_of(first, last, lengths));
            }
        }
    }
    scan.bars_per_year = sessions::median_bars_per_year(yearly.clone());
    scan.yearly = yearly;
    scan.sources = looks.into_iter().flat_map(Look::into_sources).collect();
    scan.sources.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    Ok(scan)
}

/// What is remembered of a file: everything but, beyond the budget, its rows.
struct Look {
    file: Loaded,
    days: BTreeSet<i32>,
    /// First row, last row and the lengths of the sessions, a symbol each.
    spans: Vec<(Row, Row, Vec<usize>)>,
    n_rows: Vec<usize>,
    is_kept: bool,
}

impl Look {
    fn new(mut file: Loaded, kept: &AtomicUsize, kept_bytes: usize, is_alone: bool) -> Self {
        let mut days = BTreeSet::new();
        let mut spans = Vec::new();
        for symbol in &file.symbols {
            let sessions = symbol.rows.chunk_by(|a, b| a.day == b.day);
            let lengths = sessions.map(|rows| {
                days.insert(rows[0].day);
                rows.len()
            });
            let lengths: Vec<usize> = lengths.collect();
            if let (Some(&first), Some(&last)) = (symbol.rows.first(), symbol.rows.last()) {
                spans.push((first, last, lengths));
            }
        }
        let n_rows: Vec<usize> = file.symbols.iter().map(|symbol| symbol.rows.len()).collect();
        let bytes = n_rows.iter().sum::<usize>() * size_of::<Row>();
        // A file of many symbols is not read again for each of them, and a pipe cannot be; of a single file all rows
        // are in memory at once in any case.
        let must_be = is_alone || file.symbols.len() > 1 || is_stdin(&file.path);
        let is_kept = kept.fetch_add(bytes, Relaxed) + bytes <= kept_bytes || must_be;
        if !is_kept {
            kept.fetch_sub(bytes, Relaxed);
            for symbol in &mut file.symbols {
                symbol.rows = Vec::new();
            }
        }
        Self { file, days, spans, n_rows, is_kept }
    }

    fn into_sources(self) -> impl Iterator<Item = Source> {
        let Loaded { path, input, symbols, has_volume, .. } = self.file;
        let is_kept = self.is_kept;
        symbols.into_iter().zip(self.n_rows).map(move |(symbol, n_rows)| Source {
            symbol: symbol.symbol.clone(),
            path: path.clone(),
            sha256: input.sha256.clone(),
            has_volume,
            n_rows,
            kept: Mutex::new(is_kept.then_some(symbol)),
        })
    }
}

impl Scan {
    /// How many symbols there are.
    pub fn n_symbols(&self) -> usize {
        self.sources.len()
    }

    /// The symbols, in ascending order.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.symbol.as_str())
    }

    /// The file that holds a symbol, and its digest.
    pub fn input(&self, symbol: usize) -> Option<&InputFile> {
        let source = &self.sources[symbol];
        let name =
            source.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        self.inputs.iter().find(|input| input.sha256 == source.sha256 && input.name == name)
    }

    /// The path of the file that holds a symbol.
    pub fn path(&self, symbol: usize) -> &Path {
        &self.sources[symbol].path
    }

    /// The bars of a symbol by its place in ascending order, and what is odd about them. Rows that were kept
    /// are given away: a second call reads the file again.
    pub fn bars(&self, symbol: usize) -> Result<(Bars, Vec<Finding>)> {
        let source = &self.sources[symbol];
        let kept = source.kept.lock().ok().and_then(|mut kept| kept.take());
        self.bars_of(source, kept)
    }

    /// The same, with rows that were kept left for another call, as what came from a pipe must be.
    pub fn peek(&self, symbol: usize) -> Result<(Bars, Vec<Finding>)> {
        let source = &self.sources[symbol];
        let kept = source.kept.lock().ok().and_then(|kept| kept.clone());
        self.bars_of(source, kept)
    }

    fn bars_of(&self, source: &Source, kept: Option<Ordered>) -> Result<(Bars, Vec<Finding>)> {
        let rows = match kept {
            Some(rows) => rows,
            None => self.read_again(source)?,
        };
        let (bars, findings) = self.place(source, rows)?;
        match findings.first().filter(|_| self.options.is_strict) {
            Some(finding) => {
                Err(Error::content(&source.path, format!("{}: {finding} (--strict)", bars.symbol)))
            }
            None => Ok((bars, findings)),
        }
    }

    fn read_again(&self, source: &Source) -> Result<Ordered> {
        let file = load_file(&source.path, &self.options)?;
        let changed = || Error::content(&source.path, "changed while it was being read (run again)");
        if file.input.sha256 != source.sha256 {
            return Err(changed());
        }
        let is_it = |symbol: &Ordered| symbol.symbol == source.symbol && symbol.rows.len() == source.n_rows;
        file.symbols.into_iter().find(is_it).ok_or_else(changed)
    }

    fn zone(&self) -> Result<jiff::tz::TimeZone> {
        timestamp::zone_by_name(&self.timezone)
            .ok_or_else(|| Error::Batch(format!("--timezone: \"{}\" is unknown", self.timezone)))
    }

    fn known_at<'a>(&self, zone: &'a jiff::tz::TimeZone) -> KnownAt<'a> {
        KnownAt {
            bar_seconds: self.bar_seconds,
            meaning: self.options.stamp.unwrap_or(StampMeaning::Open),
            session_close: self.options.session_close.unwrap_or(DEFAULT_SESSION_CLOSE),
            // Elsewhere nobody has said when sessions close.
            ends_with_session: self.options.session_close.is_some() || agree::is_indian(&self.timezone),
            zone,
            latest: None,
        }
    }

    fn place(&self, source: &Source, input: Ordered) -> Result<(Bars, Vec<Finding>)> {
        let zone = self.zone()?;
        let path = &source.path;
        let rows = &input.rows;
        let mut known_at = self.known_at(&zone);
        if self.options.session_close.is_none() {
            known_at.ends_with_session &= !known_at.is_evening_usual(rows);
        }
        let (mut ts, mut session) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for day in rows.chunk_by(|a, b| a.day == b.day) {
            let ordinal = self.ordinals.get(&day[0].day).copied().unwrap_or(0);
            session.resize(session.len() + day.len(), ordinal);
            // A close that trading goes on beyond is none.
            let goes_on = day.last().is_some_and(|row| known_at.is_after_close(row));
            for row in day {
                let out_of_range =
                    || Error::content(path, format!("line {}: time is out of range", row.line));
                ts.push(known_at.of(row, goes_on).ok_or_else(out_of_range)?);
            }
        }
        if let Some(at) = ts.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::content(
                path,
                format!(
                    "line {}: a second row for one daily bar (drop it, or use intraday bars)",
                    rows[at + 1].line
                ),
            ));
        }
        // Of a large file every thread takes a part.
        let column = |value: fn(&Row) -> f64| -> Vec<f64> {
            rows.par_iter().with_min_len(ROWS_AT_ONCE).map(value).collect()
        };
        let mut bars = Bars {
            symbol: input.symbol,
            ts,
            session,
            open: column(|row| row.open),
            high: column(|row| row.high),
            low: column(|row| row.low),
            close: column(|row| row.close),
            volume: column(|row| row.volume),
        };
        drop(input.rows);
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
        if self.options.fill == Fill::Session
            && let Some((count, first)) = fill::fill_sessions(&mut bars, self.bar_seconds)
        {
            let first = timestamp::display(bars.ts[first], &zone);
            findings.push(Finding { oddity: Oddity::FilledBars, count, first });
        }
        findings.extend(quality::inspect(&bars, self.bar_seconds, source.has_volume, &zone));
        Ok((bars, findings))
    }
}
