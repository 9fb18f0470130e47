//! The symbols of a partition, those of the inputs and those that lie there already, and which of their parts are
//! to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use cli::UsageError;
use jiff::tz::TimeZone;
use market::load::{Fill, fill};
use market::parquet::{partition, reader};
use market::quality::{self, Finding};
use market::{Bars, Provenance, Scan, digest, sessions};
use rayon::prelude::*;

use super::append;
use super::folder::{Folder, Part};
use crate::catalogue::Others;
use crate::compute::Plan;
use crate::pipeline::{Job, Refresh};

/// A symbol of the partition.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub symbol: String,
    /// Its place among the inputs' symbols, if they have it.
    pub input: Option<usize>,
    /// Its part, if there is one already.
    pub part: Option<Part>,
    /// Whether its new bars come behind those of its part.
    pub is_appended: bool,
    /// Whether its ordinals are others than those that its part has.
    pub is_moved: bool,
    /// Whether its part is to be written.
    pub is_written: bool,
    /// How many bars are new, where they are appended.
    n_new: usize,
}

/// All symbols of the partition, and what holds for all of them.
#[derive(Debug)]
pub struct Members {
    /// The symbols in ascending order.
    pub list: Vec<Member>,
    /// The dates of all bars.
    pub calendar: Vec<String>,
    /// The exchange's zone.
    pub timezone: String,
    /// Where the bars come from.
    pub provenance: Provenance,
    /// Bars in a year.
    pub bars_per_year: f64,
    /// Digests of the bars of the symbols that features refer to.
    pub other_digests: BTreeMap<String, String>,
    /// Inputs that are left out, and why.
    pub left_out: Vec<(PathBuf, String)>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Members {
    /// The symbols of the inputs and of the folder, and what holds for all of them.
    pub fn of(job: &Job, folder: &Folder, scan: &Scan, plan: &Plan) -> anyhow::Result<Self> {
        let is_append = job.refresh == Refresh::Append;
        let inputs: BTreeMap<&str, usize> = scan.symbols().zip(0..).collect();
        if let Some((symbol, error)) =
            folder.damaged.iter().find(|(symbol, _)| is_append || !inputs.contains_key(symbol.as_str()))
        {
            bail!("{error}; give all bars of {symbol} without --append, or remove it");
        }
        let names: BTreeSet<&str> =
            inputs.keys().copied().chain(folder.parts.keys().map(String::as_str)).collect();
        spelt_apart(&names)?;
        let member = |symbol: &str| {
            let (input, part) = (inputs.get(symbol).copied(), folder.parts.get(symbol).cloned());
            let is_appended = is_append && input.is_some() && part.is_some();
            let (symbol, n_new) = (symbol.to_owned(), 0);
            Member { symbol, input, part, is_appended, is_moved: false, is_written: false, n_new }
        };
        let mut members = Self {
            list: names.into_iter().map(member).collect(),
            calendar: Vec::new(),
            timezone: scan.timezone.clone(),
            provenance: scan.provenance.clone(),
            bars_per_year: scan.bars_per_year,
            other_digests: BTreeMap::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
        };
        members.agree(job, scan, plan)?;
        members.merge_calendars(scan)?;
        members.count_years(job, scan)?;
        Ok(members)
    }

    /// Parts whose rows stay must be like those that come.
    fn agree(&mut self, job: &Job, scan: &Scan, plan: &Plan) -> anyhow::Result<()> {
        let columns: Vec<&str> = plan.features.iter().map(|feature| feature.column.as_str()).collect();
        let mut kept = Vec::new();
        for member in &self.list {
            let Some(part) = member.part.as_ref().filter(|_| member.stays()) else { continue };
            let path = part.path.display();
            let way_out = "make it anew: give all of its bars without --append, or remove its folder";
            if let Some(conflict) = part.record.conflict(&part.info, job, &columns, &member.symbol) {
                bail!("{path}: {conflict} ({way_out})");
            }
            if part.info.bar_seconds != scan.bar_seconds {
                let seconds = part.info.bar_seconds;
                bail!(
                    "{path}: has bars of {seconds} s where the inputs have bars of {} s ({way_out})",
                    scan.bar_seconds
                );
            }
            if part.info.timezone != self.timezone {
                let is_indian = |name: &str| matches!(name, "+05:30" | "Asia/Kolkata");
                if !is_indian(&part.info.timezone) || !is_indian(&self.timezone) {
                    let zone = &part.info.timezone;
                    bail!(
                        "{path}: is in the zone {zone} where the inputs are in {} (name one with --timezone)",
                        self.timezone
                    );
                }
                "Asia/Kolkata".clone_into(&mut self.timezone);
            }
            self.provenance = self.provenance.clone().combine(part.info.provenance.clone());
            if member.input.is_none() {
                kept.push(member.symbol.as_str());
            }
        }
        if let (Some(first), Refresh::Anew) = (kept.first(), job.refresh) {
            let n = kept.len();
            let symbols = if n == 1 { "a symbol".to_owned() } else { format!("{n} symbols") };
            self.notes.push(format!(
                "{}: keeps {symbols} that the inputs do not have, such as {first} (remove their folders to drop them)",
                job.output.display()
            ));
        }
        Ok(())
    }

    /// The dates of all bars that there will be.
    fn merge_calendars(&mut self, scan: &Scan) -> anyhow::Result<()> {
        let mut dates: BTreeSet<String> = scan.calendar.iter().cloned().collect();
        for part in self.list.iter().filter(|member| member.stays()).filter_map(|member| member.part.as_ref())
        {
            dates.extend(part.dates()?.cloned());
        }
        self.calendar = dates.into_iter().collect();
        for member in &mut self.list {
            if let Some(part) = &member.part {
                let moved = |(at, date): (i32, &String)| self.calendar.get(at as usize) != Some(date);
                member.is_moved = part.ordinals()?.any(moved);
            }
        }
        Ok(())
    }

    /// Counts the bars of a year; where bars are appended that is known when they have been looked at.
    fn count_years(&mut self, job: &Job, scan: &Scan) -> anyhow::Result<()> {
        let kept = self.list.iter().filter(|member| member.input.is_none());
        let mut yearly: Vec<f64> =
            kept.filter_map(|member| Some(member.part.as_ref()?.record.bars_per_year)).collect();
        if job.refresh != Refresh::Append {
            yearly.extend(&scan.yearly);
            self.bars_per_year = sessions::median_bars_per_year(yearly);
            return Ok(());
        }
        let looked_at: Vec<anyhow::Result<Option<(f64, usize)>>> = self
            .list
            .par_iter()
            .map(|member| {
                if member.input.is_none() {
                    return Ok(None);
                }
                let (bars, n_new) = self.merged(member, job, scan)?;
                let lengths: Vec<usize> = bars.session.chunk_by(|a, b| a == b).map(<[i32]>::len).collect();
                let span = bars.ts.first().copied().zip(bars.ts.last().copied());
                let years =
                    span.map_or(0.0, |(first, last)| sessions::bars_per_year_of(first, last, &lengths));
                Ok(Some((years, n_new)))
            })
            .collect();
        for (member, found) in self.list.iter_mut().zip(looked_at) {
            match (found, member.input) {
                (Ok(Some((years, n_new))), _) => {
                    yearly.push(years);
                    member.n_new = n_new;
                }
                (Ok(None), _) => {}
                (Err(error), Some(input)) if job.load.skip_bad_files => {
                    self.left_out.push((scan.path(input).to_owned(), format!("{error:#}")));
                    member.input = None;
                    member.is_appended = false;
                    yearly.extend(member.part.as_ref().map(|part| part.record.bars_per_year));
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.bars_per_year = sessions::median_bars_per_year(yearly);
        Ok(())
    }

    /// The bars of the symbols that features refer to by name.
    pub fn others(&mut self, job: &Job, scan: &Scan, plan: &Plan) -> anyhow::Result<Others> {
        let mut others = Others::new();
        for name in plan.others() {
            let member = self.list.iter().find(|member| member.symbol == name).ok_or_else(|| {
                UsageError(format!(
                    "--features: the batch has no symbol {name} (give its bars as an input, too)"
                ))
            })?;
            if !others.contains_key(name) {
                let bars = self.bars(member, job, scan, false)?.0;
                self.other_digests.insert(name.to_owned(), digest::bars_sha256(&bars));
                others.insert(name.to_owned(), Arc::new(bars));
            }
        }
        Ok(others)
    }

    /// Which parts are to be written.
    pub fn decide(&mut self, job: &Job, plan: &Plan, scan: &Scan) {
        let columns: Vec<&str> = plan.features.iter().map(|feature| feature.column.as_str()).collect();
        for at in 0..self.list.len() {
            let member = &self.list[at];
            let is_written = match (&member.part, member.input) {
                (None, input) => input.is_some(),
                (Some(_), Some(_)) if job.refresh == Refresh::Anew => true,
                (Some(part), _) if !self.is_in_place(member, part) => true,
                (Some(_), None) => false,
                (Some(_), Some(_)) if member.is_appended => member.n_new > 0,
                (Some(part), Some(input)) => {
                    let inputs: Vec<_> = scan.input(input).into_iter().collect();
                    !part.record.is_up_to_date(&part.info, job, &columns)
                        || !part.info.inputs.iter().eq(inputs)
                        || part.info.bar_seconds != scan.bar_seconds
                }
            };
            self.list[at].is_written = is_written;
        }
    }

    /// Whether a part with the bars that it has would be written as it is.
    fn is_in_place(&self, member: &Member, part: &Part) -> bool {
        !member.is_moved
            && part.info.timezone == self.timezone
            && part.info.provenance == self.provenance
            && part.record.others == self.other_digests
    }

    /// The bars of a symbol as its part is to hold them, and what is odd about the new ones. Bars are given away
    /// with `is_last`.
    pub fn bars(
        &self,
        member: &Member,
        job: &Job,
        scan: &Scan,
        is_last: bool,
    ) -> anyhow::Result<(Bars, Vec<Finding>)> {
        match (member.input, &member.part) {
            (Some(_), Some(part)) if member.is_appended => {
                let (new, findings) = self.new_bars(member, scan, is_last)?;
                Ok((self.append(part, &new, job, scan)?.0, findings))
            }
            (Some(_), _) => self.new_bars(member, scan, is_last),
            (None, Some(part)) => Ok((self.recorded_bars(part)?, Vec::new())),
            (None, None) => bail!("{}: has no bars", member.symbol),
        }
    }

    /// What the part of a symbol is to say of `bars`: what is odd about the whole series, and what was odd about
    /// the rows that were read now, `new`.
    pub fn findings(
        &self,
        member: &Member,
        bars: &Bars,
        scan: &Scan,
        new: &[Finding],
    ) -> BTreeMap<String, Vec<Finding>> {
        let found = match &member.part {
            Some(part) if member.input.is_none() => return part.record.findings.clone(),
            Some(_) if member.is_appended => {
                let zone = market::timestamp::zone_by_name(&self.timezone).unwrap_or(TimeZone::UTC);
                let has_volume = bars.volume.iter().any(|&volume| volume > 0.0);
                let of_rows = new.iter().filter(|finding| finding.oddity.is_of_rows()).cloned();
                of_rows.chain(quality::inspect(bars, scan.bar_seconds, has_volume, &zone)).collect()
            }
            _ => new.to_vec(),
        };
        if found.is_empty() { BTreeMap::new() } else { [(member.symbol.clone(), found)].into() }
    }

    /// The same while it is still to be found out how many bars are new.
    fn merged(&self, member: &Member, job: &Job, scan: &Scan) -> anyhow::Result<(Bars, usize)> {
        let (new, _) = self.new_bars(member, scan, false)?;
        match &member.part {
            Some(part) => self.append(part, &new, job, scan),
            None => Ok((new, 0)),
        }
    }

    fn append(&self, part: &Part, new: &Bars, job: &Job, scan: &Scan) -> anyhow::Result<(Bars, usize)> {
        let zone = market::timestamp::zone_by_name(&self.timezone).unwrap_or(TimeZone::UTC);
        let recorded = self.recorded_bars(part)?;
        let (mut bars, n_new) = append::merge(&recorded, new, &job.load, &zone)
            .map_err(|message| anyhow::anyhow!("{}: {message}", new.symbol))?;
        // A gap may lie between the last bar that is recorded and the first new one.
        if job.load.fill == Fill::Session {
            fill::fill_sessions(&mut bars, scan.bar_seconds);
        }
        Ok((bars, n_new))
    }

    fn new_bars(&self, member: &Member, scan: &Scan, is_last: bool) -> anyhow::Result<(Bars, Vec<Finding>)> {
        let input = member.input.with_context(|| format!("{}: has no input", member.symbol))?;
        let (mut bars, findings) = if is_last { scan.bars(input) } else { scan.peek(input) }?;
        self.place(&mut bars, &scan.calendar)?;
        Ok((bars, findings))
    }

    fn recorded_bars(&self, part: &Part) -> anyhow::Result<Bars> {
        let (info, mut bars) = reader::read_bars(&part.path)?;
        let mut bars = bars.pop().with_context(|| part.path.display().to_string())?;
        self.place(&mut bars, &info.calendar)?;
        Ok(bars)
    }

    /// Bars of the calendar `from` into this one.
    fn place(&self, bars: &mut Bars, from: &[String]) -> anyhow::Result<()> {
        partition::renumber(bars, from, &self.calendar)
            .with_context(|| format!("{}: its sessions are not in its calendar (make it anew)", bars.symbol))
    }
}

impl Member {
    /// Whether rows that are recorded stay.
    fn stays(&self) -> bool {
        self.input.is_none() || self.is_appended
    }
}

impl Part {
    /// The ordinals of the sessions that have bars, and their dates.
    fn ordinals(&self) -> anyhow::Result<impl Iterator<Item = (i32, &String)>> {
        let n = self.info.calendar.len();
        let is_known = |&(first, last): &(i32, i32)| first >= 0 && last >= first && (last as usize) < n;
        anyhow::ensure!(
            self.record.sessions.iter().all(is_known),
            "{}: its sessions are not in its calendar (make it anew)",
            self.path.display()
        );
        let runs = self.record.sessions.iter().flat_map(|&(first, last)| first..=last);
        Ok(runs.map(|at| (at, &self.info.calendar[at as usize])))
    }

    fn dates(&self) -> anyhow::Result<impl Iterator<Item = &String>> {
        Ok(self.ordinals()?.map(|(_, date)| date))
    }
}

/// Folders of names that differ in case alone are one folder on a Mac.
fn spelt_apart(names: &BTreeSet<&str>) -> anyhow::Result<()> {
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        if let Some(other) = known.insert(name.to_lowercase(), name) {
            bail!(
                "{other} and {name} would share a folder where case does not count (rename one with --symbol)"
            );
        }
    }
    Ok(())
}
