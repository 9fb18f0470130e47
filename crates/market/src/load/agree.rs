//! What the files of a batch must agree on, and what is made of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::file::Loaded;
use super::options::LoadOptions;
use crate::Provenance;
use crate::error::{Error, Result};
use crate::rows::DEFAULT_TIMEZONE;
use crate::sessions::SECONDS_PER_DAY;

/// No symbol may stand in two files.
pub fn symbols_are_unique(files: &[&Loaded]) -> Result<()> {
    let mut origins: BTreeMap<&str, &Path> = BTreeMap::new();
    for file in files {
        for symbol in &file.symbols {
            if let Some(other) = origins.insert(&symbol.symbol, &file.path) {
                return Err(Error::content(
                    &file.path,
                    format!("holds {}, as {} does (give one of them)", symbol.symbol, other.display()),
                ));
            }
        }
    }
    Ok(())
}

/// The batch's zone. `Asia/Kolkata` and `+05:30` are one; other mixtures need the user's word.
pub fn timezone(files: &[&Loaded]) -> Result<String> {
    let names: BTreeSet<&str> = files.iter().map(|file| file.timezone.as_str()).collect();
    match names.first() {
        Some(only) if names.len() == 1 => Ok((*only).to_owned()),
        Some(_) if names.iter().all(|name| is_indian(name)) => Ok(DEFAULT_TIMEZONE.to_owned()),
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

/// Whether a zone is that of the National Stock Exchange.
pub fn is_indian(timezone: &str) -> bool {
    matches!(timezone, "+05:30" | DEFAULT_TIMEZONE)
}

/// Seconds from bar to bar, which all symbols must share.
pub fn interval(files: &[&Loaded], options: &LoadOptions) -> Result<u32> {
    if let Some(known) = options.bar_seconds {
        return Ok(known);
    }
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
        // A few days may lie far apart; many that do are weeks or months.
        let days = seconds / SECONDS_PER_DAY;
        if days >= 5 && symbol.rows.len() >= 5 {
            return Err(Error::Batch(format!(
                "{}: bars of {days} days: their stamps do not say when they end, so that a feature would be known too \
                 early (give daily bars, or shorter ones)",
                symbol.symbol
            )));
        }
    }
    found.map(|(seconds, _)| seconds).ok_or_else(|| {
        let path = files.first().map_or_else(String::new, |file| file.path.display().to_string());
        Error::Batch(format!("{path}: a single bar shows no interval (at least two are needed)"))
    })
}

/// Where the batch comes from: what the labels say, and what the user says of files without one.
pub fn provenance(files: &[&Loaded], options: &LoadOptions) -> Result<Provenance> {
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

/// What was assumed.
pub fn notes(files: &[&Loaded], options: &LoadOptions) -> Vec<String> {
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
    if let Some(splits) = &options.splits {
        let symbols = || files.iter().flat_map(|file| &file.symbols);
        let n_rows: usize = symbols().map(|symbol| symbol.n_adjusted).sum();
        let n_symbols = symbols().filter(|symbol| symbol.n_adjusted > 0).count();
        let listed: BTreeSet<&str> = splits.list.iter().map(|split| split.symbol.as_str()).collect();
        let n_absent = listed.iter().filter(|name| symbols().all(|symbol| symbol.symbol != **name)).count();
        let symbols = if n_symbols == 1 { "symbol" } else { "symbols" };
        let mut note =
            format!("{}: {n_rows} rows of {n_symbols} {symbols} adjusted for later splits", splits.file.name);
        match n_absent {
            0 => {}
            1 => note.push_str("; 1 listed symbol is not among the inputs"),
            n => note = format!("{note}; {n} listed symbols are not among the inputs"),
        }
        notes.push(note);
    }
    notes
}
