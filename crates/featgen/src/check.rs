//! The quality report alone.

use std::io::{self, Write};

use market::{Bars, Batch};
use serde_json::{Value, json};

/// Writes a paragraph a symbol.
pub fn write_text(batch: &Batch, out: &mut dyn Write) -> io::Result<()> {
    for note in &batch.scan.notes {
        writeln!(out, "note: {note}")?;
    }
    for (bars, findings) in batch.symbols.iter().zip(&batch.findings) {
        let (first, last) = dates(batch, bars);
        writeln!(
            out,
            "{}: {} bars of {} s, {} sessions, {first} to {last}, {:.0} bars a year, zone {}, {}",
            bars.symbol,
            bars.len(),
            batch.scan.bar_seconds,
            n_sessions(bars),
            batch.scan.bars_per_year,
            batch.scan.timezone,
            batch.scan.provenance
        )?;
        for finding in findings {
            writeln!(out, "    {finding}")?;
        }
        if findings.is_empty() {
            writeln!(out, "    nothing odd")?;
        }
    }
    Ok(())
}

/// Writes the same as one JSON document.
pub fn write_json(batch: &Batch, out: &mut dyn Write) -> io::Result<()> {
    let symbols = batch.symbols.iter().zip(&batch.findings).map(|(bars, findings)| {
        let (first, last) = dates(batch, bars);
        json!({
            "symbol": bars.symbol,
            "bars": bars.len(),
            "sessions": n_sessions(bars),
            "first_date": first,
            "last_date": last,
            "findings": findings,
        })
    });
    let document = json!({
        "bar_seconds": batch.scan.bar_seconds,
        "bars_per_year": batch.scan.bars_per_year,
        "timezone": batch.scan.timezone,
        "provenance": batch.scan.provenance,
        "notes": batch.scan.notes,
        "inputs": batch.scan.inputs,
        "symbols": symbols.collect::<Vec<Value>>(),
    });
    writeln!(out, "{document:#}")
}

fn n_sessions(bars: &Bars) -> usize {
    bars.session.chunk_by(|a, b| a == b).count()
}

fn dates<'a>(batch: &'a Batch, bars: &Bars) -> (&'a str, &'a str) {
    let date = |session: Option<&i32>| {
        let place = session.and_then(|&session| usize::try_from(session).ok());
        place.and_then(|place| batch.scan.calendar.get(place)).map_or("", String::as_str)
    };
    (date(bars.session.first()), date(bars.session.last()))
}
