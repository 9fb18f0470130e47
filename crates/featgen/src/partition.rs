//! A folder with a part for each symbol, `symbol=BPCL/part-0.parquet`, made anew, brought up to date, or added to.
//!
//! All parts share one calendar: the dates of all bars in the folder, those of symbols that the inputs do not name
//! included. Where a date comes in between, parts whose ordinals it moves are written again, even if they have no
//! news. A part that is left alone may know fewer of the latest dates than others; whoever reads the folder as one
//! table merges the calendars.
//!
//! # Layout
//! - [`folder`]: the folder, locked, and what lies in it.
//! - [`members`]: the symbols in it, and which of their parts are to be written.
//! - [`append`]: recorded bars and new ones into one series.

pub mod append;
pub mod folder;
pub mod members;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use cli::Progress;
use market::features::{InputFile, SCHEMA_VERSION};
use market::parquet::FeatureWriter;
use market::quality::Finding;
use market::temporary::{Temporary, rename_all};
use market::{FeatureInfo, FileInfo, Scan, SymbolFeatures, sessions};

use crate::catalogue::{Frame, Others};
use crate::compute::Plan;
use crate::in_order::in_order;
use crate::pipeline::{Job, Written, is_stop};
use crate::record::{RECORD_KEY, Record, TOOL};
use folder::Folder;
use members::{Member, Members};

/// Writes what is to be written of a partition: each part under a temporary name, all of them renamed at the end.
pub fn write(
    job: &Job,
    folder: &Folder,
    scan: &Scan,
    plan: &Plan,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<Written> {
    let progress = Progress::new("featgen", scan.n_symbols() as u64, "symbols", job.quiet);
    for note in &scan.notes {
        progress.note(note);
    }
    let mut members = Members::of(job, folder, scan, plan)?;
    let skipped: Vec<(PathBuf, String)> =
        scan.bad_files.iter().map(|(path, error)| (path.clone(), error.to_string())).collect();
    let mut written = Written { skipped, ..Written::default() };
    written.skipped.append(&mut members.left_out);
    for note in &members.notes {
        progress.note(note);
    }
    let others = members.others(job, scan, plan)?;
    members.decide(job, plan, scan);

    let parts = PartWriter { job, folder, scan, plan, members: &members, others: &others };
    let to_write: Vec<&Member> = members.list.iter().filter(|member| member.is_written).collect();
    let start = Instant::now();
    let progress_of_parts = Progress::new("featgen", to_write.len() as u64, "symbols", job.quiet);
    let mut files: Vec<(Temporary, PathBuf)> = Vec::new();
    let mut later_nulls = vec![0; plan.features.len()];
    let work = |at: usize| {
        if go_on() { parts.write(to_write[at]) } else { Err(market::Error::Stopped.into()) }
    };
    in_order(to_write.len(), work, |at, done| {
        let member = to_write[at];
        let done = match (done, member.input) {
            // A part that stays as it is must still be right.
            (Err(error), Some(input)) if job.load.skip_bad_files && !is_stop(&error) && !member.is_moved => {
                written.skipped.push((scan.path(input).to_owned(), format!("{error:#}")));
                return Ok(());
            }
            (done, _) => done?,
        };
        for finding in &done.findings {
            progress_of_parts.note(&format!("{}: {finding}", member.symbol));
        }
        written.n_warnings += done.findings.len();
        written.n_written += 1;
        written.n_rows += done.n_rows;
        written.bytes += done.size;
        later_nulls.iter_mut().zip(done.later_nulls).for_each(|(sum, n)| *sum += n);
        files.push((done.temporary, folder.part_path(&member.symbol)));
        let rows_per_second = written.n_rows as f64 / start.elapsed().as_secs_f64();
        progress_of_parts.update(at as u64 + 1, || format!("{rows_per_second:.0} rows/s"));
        Ok(())
    })?;
    progress_of_parts.finish();
    written.note_nulls(plan, &later_nulls, &progress);
    written.note_skipped(&progress);
    written.n_symbols =
        members.list.iter().filter(|member| !member.is_written && member.part.is_some()).count();
    written.n_unchanged =
        members.list.iter().filter(|member| !member.is_written && member.input.is_some()).count();
    written.n_kept = written.n_symbols - written.n_unchanged;
    written.n_symbols += written.n_written;
    anyhow::ensure!(written.n_symbols > 0, "every file was left out, so nothing was written");
    written.outputs = files.iter().map(|(_, path)| path.clone()).collect();
    anyhow::ensure!(go_on(), market::Error::Stopped);
    rename_all(files)?;
    Ok(written)
}

/// What parts are written from.
struct PartWriter<'a> {
    job: &'a Job,
    folder: &'a Folder,
    scan: &'a Scan,
    plan: &'a Plan,
    members: &'a Members,
    others: &'a Others,
}

/// A part that has no name yet.
struct Finished {
    temporary: Temporary,
    size: u64,
    n_rows: usize,
    findings: Vec<Finding>,
    later_nulls: Vec<usize>,
}

impl PartWriter<'_> {
    fn write(&self, member: &Member) -> anyhow::Result<Finished> {
        let (bars, findings) = self.members.bars(member, self.job, self.scan, true)?;
        let frame = Frame { bars: &bars, bar_seconds: self.scan.bar_seconds, others: self.others };
        let computed = self.plan.compute(&frame).with_context(|| bars.symbol.clone())?;
        let lookbacks = self.plan.lookbacks(&computed.leading_nulls);
        let info = self.info(member, &lookbacks);
        let record = self.record(member, &bars, &findings);
        let n_rows = bars.len();
        let path = self.folder.part_path(&member.symbol);
        let mut writer = FeatureWriter::create_part(&self.folder.path, &path, &self.plan.columns())?;
        let symbol = SymbolFeatures { bars, columns: computed.columns };
        let encoded = writer.encoder().encode(&symbol)?;
        writer.append(encoded)?;
        writer.note(RECORD_KEY, record.json()?);
        let (temporary, size) = writer.finish_unnamed(&info)?;
        Ok(Finished { temporary, size, n_rows, findings, later_nulls: computed.later_nulls })
    }

    fn info(&self, member: &Member, lookbacks: &[usize]) -> FileInfo {
        let info = |(feature, &lookback): (&crate::specification::Feature, &usize)| FeatureInfo {
            name: feature.column.clone(),
            lookback,
        };
        FileInfo {
            schema_version: SCHEMA_VERSION,
            tool: TOOL.to_owned(),
            specification: self.job.specification.clone(),
            features: self.plan.features.iter().zip(lookbacks).map(info).collect(),
            bar_seconds: self.scan.bar_seconds,
            bars_per_year: self.members.bars_per_year,
            timezone: self.members.timezone.clone(),
            calendar: self.members.calendar.clone(),
            inputs: self.inputs(member),
            provenance: self.members.provenance.clone(),
        }
    }

    /// The files that a symbol's bars come from.
    fn inputs(&self, member: &Member) -> Vec<InputFile> {
        let recorded = || member.part.as_ref().map_or_else(Vec::new, |part| part.info.inputs.clone());
        let mut inputs = if member.is_appended || member.input.is_none() { recorded() } else { Vec::new() };
        let new = member.input.and_then(|input| self.scan.input(input));
        if let Some(new) = new.filter(|new| !inputs.contains(new)) {
            inputs.push(new.clone());
        }
        inputs
    }

    fn record(&self, member: &Member, bars: &market::Bars, findings: &[Finding]) -> Record {
        let lengths: Vec<usize> = bars.session.chunk_by(|a, b| a == b).map(<[i32]>::len).collect();
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for session in bars.session.chunk_by(|a, b| a == b).map(|session| session[0]) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == session => *last = session,
                _ => runs.push((session, session)),
            }
        }
        let (first, last) = (bars.ts.first().copied(), bars.ts.last().copied());
        Record {
            others: self.members.other_digests.clone(),
            sessions: runs,
            bars_per_year: sessions::bars_per_year_of(first.unwrap_or(0), last.unwrap_or(0), &lengths),
            findings: self.members.findings(member, bars, self.scan, findings),
            ..Record::of(self.job)
        }
    }
}
