//! One output of all symbols: computed and encoded in parallel, a few at a time, and appended in order, so that its
//! bytes do not depend on the number of threads.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use cli::Progress;
use market::features::{InputFile, SCHEMA_VERSION};
use market::parquet::reader;
use market::parquet::writer::EncodedSymbol;
use market::quality::Finding;
use market::{FeatureInfo, FileInfo, Scan, SymbolFeatures, digest};
use rayon::prelude::*;

use crate::buffers;
use crate::catalogue::{Frame, Others};
use crate::compute::Plan;
use crate::in_order::in_order;
use crate::pipeline::{self, Job, Summary, Written, is_stop};
use crate::record::{Record, TOOL};
use crate::sink::{Encoded, Encoding, Sink};
use crate::specification;

/// What there is to say about an output that would come out as it is; `None` if it must be made. Nothing but the
/// inputs' digests is read for that.
pub fn unchanged(job: &Job, start: Instant) -> Option<Summary> {
    let footer = reader::read_footer(&job.output).ok()?;
    let record = Record::read(&footer)?;
    let is_intraday = footer.info.is_intraday();
    let features = specification::parse(&job.specification, is_intraday).ok()?;
    let columns: Vec<&str> = features.iter().map(|feature| feature.column.as_str()).collect();
    // What a pipe holds is not known before it is read.
    let is_pipe = |path: &PathBuf| path.as_os_str() == "-";
    if !record.is_up_to_date(&footer.info, job, &columns) || job.inputs.iter().any(is_pipe) {
        return None;
    }
    if footer.info.inputs.len() != job.inputs.len() {
        return None;
    }
    let is_same = |(path, input): (&PathBuf, &InputFile)| {
        path.file_name().is_some_and(|name| name.to_string_lossy() == input.name.as_str())
            && digest::file_sha256(path).is_ok_and(|sha256| sha256 == input.sha256)
    };
    if !job.inputs.par_iter().zip(&footer.info.inputs).all(is_same) {
        return None;
    }
    Some(Summary {
        written: Written { n_symbols: record.n_symbols, n_unchanged: record.n_symbols, ..Written::default() },
        n_features: footer.info.features.len(),
        input_bytes: pipeline::input_bytes(job),
        seconds: start.elapsed().as_secs_f64(),
        inputs: footer.info.inputs,
        provenance: footer.info.provenance,
    })
}

/// Computes and encodes symbols in parallel, and appends them in order.
pub fn write(
    job: &Job,
    scan: &Scan,
    plan: &Plan,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<Written> {
    let others = &pipeline::others(plan, scan)?;
    let mut sink = Sink::create(&job.output, job.format, &plan.columns(), &scan.provenance)?;
    let encoding = sink.encoding();
    let progress = Progress::new("featgen", scan.n_symbols() as u64, "symbols", job.quiet);
    let start = Instant::now();
    for note in &scan.notes {
        progress.note(note);
    }
    let mut leading_nulls = vec![0_usize; plan.features.len()];
    let mut later_nulls = vec![0_usize; plan.features.len()];
    let skipped = scan.bad_files.iter().map(|(path, error)| (path.clone(), error.to_string())).collect();
    let mut written = Written { skipped, ..Written::default() };
    let mut findings = std::collections::BTreeMap::new();
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
                written.skipped.push((scan.path(symbol).to_owned(), format!("{error:#}")));
                return Ok(());
            }
            done => done?,
        };
        for finding in &done.findings {
            progress.note(&format!("{}: {finding}", done.name));
        }
        written.n_warnings += done.findings.len();
        if !done.findings.is_empty() {
            findings.insert(done.name, done.findings);
        }
        for place in 0..plan.features.len() {
            leading_nulls[place] = leading_nulls[place].max(done.leading_nulls[place]);
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
    written.note_nulls(plan, &later_nulls, &progress);
    written.note_skipped(&progress);
    anyhow::ensure!(written.n_symbols > 0, "every file was left out, so nothing was written");
    written.n_written = written.n_symbols;
    written.outputs = vec![job.output.clone()];
    let record = Record {
        others: digests(others),
        n_left_out: written.skipped.len(),
        n_symbols: written.n_symbols,
        findings,
        ..Record::of(job)
    };
    let info = file_info(job, scan, plan, &plan.lookbacks(&leading_nulls));
    anyhow::ensure!(go_on(), market::Error::Stopped);
    written.bytes = sink.finish(&info, &record.json()?)?;
    Ok(written)
}

fn digests(others: &Others) -> std::collections::BTreeMap<String, String> {
    others.iter().map(|(name, bars)| (name.clone(), digest::bars_sha256(bars))).collect()
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
    let (name, n_rows) = (bars.symbol.clone(), bars.len());
    let Encoding::Parquet(encoder) = encoding else {
        let computed = plan.compute(&frame).with_context(|| bars.symbol.clone())?;
        let encoded = encoding.encode(SymbolFeatures { bars, columns: computed.columns })?;
        let (leading_nulls, later_nulls) = (computed.leading_nulls, computed.later_nulls);
        return Ok(Finished { name, n_rows, encoded, findings, leading_nulls, later_nulls });
    };
    // A column is encoded as soon as it is computed: while it is in the cache, and so that few are in memory.
    let (columns, computed) = rayon::join(
        || encoder.encode_bars(&bars),
        || {
            plan.compute_each(&frame, |place, values| {
                let encoded = encoder.encode_feature(place, &values);
                buffers::give_back_column(values);
                encoded
            })
        },
    );
    let (mut columns, computed) = (columns?, computed.with_context(|| bars.symbol.clone())?);
    for column in computed.columns {
        columns.push(column?);
    }
    let encoded = Encoded::Parquet(EncodedSymbol { columns });
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
        tool: TOOL.to_owned(),
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
