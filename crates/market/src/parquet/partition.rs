//! A partition, a folder of feature files with a symbol each, as one table.
//!
//! Parts that had no new bars may be older than others, and know fewer days; so the calendars are merged, and the
//! part that knows most days says what else holds for all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{hive, read_features};
use crate::error::{Error, Result};
use crate::{Bars, FeatureColumn, FeatureTable, FileInfo, SymbolFeatures};

/// Reads all parts in `folder`.
pub fn read_partition(folder: &Path) -> Result<FeatureTable> {
    let parts = hive::parts(folder)?;
    if parts.is_empty() {
        let message = "the folder holds no symbol=NAME/part-0.parquet (make them with featgen --partition)";
        return Err(Error::content(folder, message));
    }
    let files: Vec<PathBuf> = parts.into_iter().flat_map(|(_, files)| files).collect();
    let tables: Vec<FeatureTable> =
        files.par_iter().map(|file| read_features(file)).collect::<Result<_>>()?;
    let infos: Vec<&FileInfo> = tables.iter().map(|table| &table.info).collect();
    let info = common(&files, &infos)?;
    let mut symbols: Vec<SymbolFeatures> = Vec::new();
    for (file, table) in files.iter().zip(tables) {
        for mut symbol in table.symbols {
            renumber(&mut symbol.bars, &table.info.calendar, &info.calendar)
                .ok_or_else(|| Error::content(file, "its sessions are not in its calendar (make it anew)"))?;
            match symbols.last_mut().filter(|last| last.bars.symbol == symbol.bars.symbol) {
                Some(last) => extend(last, symbol).ok_or_else(|| {
                    Error::content(file, "holds bars that an earlier part holds, too (make them anew)")
                })?,
                None => symbols.push(symbol),
            }
        }
    }
    Ok(FeatureTable { info, symbols })
}

/// What holds for all parts; the error names one that differs.
fn common(files: &[PathBuf], infos: &[&FileInfo]) -> Result<FileInfo> {
    let newest = |&at: &usize| (infos[at].calendar.len(), std::cmp::Reverse(at));
    let newest = (0..infos.len()).max_by_key(newest).unwrap_or(0);
    let mut all = infos[newest].clone();
    let mut calendar: BTreeSet<&String> = BTreeSet::new();
    let mut inputs = Vec::new();
    for (file, info) in files.iter().zip(infos) {
        if let Some(what) = difference(&all, info) {
            let message = format!("{what} than {} (make the partition anew)", files[newest].display());
            return Err(Error::content(file, message));
        }
        for (feature, other) in all.features.iter_mut().zip(&info.features) {
            feature.lookback = feature.lookback.max(other.lookback);
        }
        calendar.extend(&info.calendar);
        inputs.extend(info.inputs.iter().cloned());
    }
    let mut known = BTreeSet::new();
    inputs.retain(|input| known.insert((input.name.clone(), input.sha256.clone())));
    all.calendar = calendar.into_iter().cloned().collect();
    all.inputs = inputs;
    Ok(all)
}

/// In what two parts differ that must be the same in all.
pub fn difference(one: &FileInfo, other: &FileInfo) -> Option<&'static str> {
    let names =
        |info: &FileInfo| info.features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>();
    if names(one) != names(other) {
        Some("holds other features")
    } else if one.bar_seconds != other.bar_seconds {
        Some("has bars of another interval")
    } else if one.timezone != other.timezone {
        Some("is in another time zone")
    } else if one.provenance != other.provenance {
        Some("has another provenance")
    } else {
        None
    }
}

/// Rewrites sessions, which are places in the calendar `from`, as places in `to`; `None` where one has none.
pub fn renumber(bars: &mut Bars, from: &[String], to: &[String]) -> Option<()> {
    let ordinals: Vec<Option<i32>> =
        from.iter().map(|date| to.binary_search(date).ok().and_then(|at| i32::try_from(at).ok())).collect();
    for session in &mut bars.session {
        *session = (*ordinals.get(usize::try_from(*session).ok()?)?)?;
    }
    Some(())
}

/// Appends the rows of a later part of the same symbol; `None` if they are not later.
fn extend(symbol: &mut SymbolFeatures, later: SymbolFeatures) -> Option<()> {
    if symbol.bars.ts.last() >= later.bars.ts.first() {
        return None;
    }
    let (bars, more) = (&mut symbol.bars, later.bars);
    bars.ts.extend(more.ts);
    bars.session.extend(more.session);
    bars.open.extend(more.open);
    bars.high.extend(more.high);
    bars.low.extend(more.low);
    bars.close.extend(more.close);
    bars.volume.extend(more.volume);
    for (column, more) in symbol.columns.iter_mut().zip(later.columns) {
        match (column, more) {
            (FeatureColumn::F32(column), FeatureColumn::F32(more)) => column.extend(more),
            (FeatureColumn::F64(column), FeatureColumn::F64(more)) => column.extend(more),
            _ => return None,
        }
    }
    Some(())
}
