//! Files of earlier runs, summed up again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use cli::Exit;

use crate::cli::Words;
use crate::config::MACHINE;
use crate::finish;
use crate::record::{Line, SCHEMA};
use crate::sample::{Sample, check_number};
use crate::summary::{Outcome, Summary};
use crate::table::Columns;
use crate::talk::{print, say};
use crate::totals::Totals;

/// A run as its file tells it.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// All its samples.
    pub totals: Totals,
    /// What is known of its end: all of it if it has a summary, else what its samples tell.
    pub outcome: Outcome,
    /// Whether it has none although it should: the run was cut off.
    pub was_cut_off: bool,
}

impl Past {
    /// Reads a file. A last line that was cut off is left out, as a kill at the wrong moment leaves one.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        read_from(BufReader::new(file)).with_context(|| path.display().to_string())
    }

    /// The run in numbers.
    pub fn summary(self) -> Summary {
        Summary::new(self.outcome, &self.totals)
    }

    fn add(&mut self, sample: &Sample) -> Result<()> {
        sample.check().map_err(|error| anyhow!(error))?;
        (self.outcome.wall_s, self.outcome.counted_s) = (sample.t_s, sample.t_s);
        self.outcome.cpu_s = sample.cpu_s;
        self.totals.add(sample);
        Ok(())
    }
}

/// A line longer than this is no line of ours.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// What the first line says of all the others.
enum Form {
    Json,
    Csv(Columns),
}

fn read_from(mut input: impl BufRead) -> Result<Past> {
    let mut past = Past::default();
    let mut form = None;
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        input.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        let is_whole = text.last() == Some(&b'\n');
        if !is_whole && text.len() as u64 == MOST_LINE_BYTES {
            bail!("line {number}: longer than any that cpumon writes");
        }
        let done = match &form {
            None => begin(&text, &mut past).map(|begun| form = Some(begun)),
            // It was being written when the run was killed.
            Some(_) if !is_whole && !is_json(&text) => break,
            Some(Form::Json) => read_line(&text, &mut past),
            Some(Form::Csv(columns)) => read_row(columns, &text, &mut past),
        };
        done.with_context(|| format!("line {number}"))?;
    }
    form.context("the file is empty")?;
    if past.outcome.effective_cores == 0.0 {
        bail!("holds no sample");
    }
    Ok(past)
}

/// Whether all of a line is there, although its end is not.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

fn begin(text: &[u8], past: &mut Past) -> Result<Form> {
    if let Some(columns) = Columns::of(text) {
        return Ok(Form::Csv(columns));
    }
    let Line::Header(header) = parse(text)? else { bail!("the header is missing") };
    if header.schema != SCHEMA {
        let (schema, version) = (header.schema, &header.version);
        bail!("written by cpumon {version} in format {schema}, and this one reads format {SCHEMA}");
    }
    check_cores(header.effective_cores)?;
    past.was_cut_off = true;
    past.outcome = Outcome {
        whole_machine: header.command.is_none() && header.pid.is_none() && header.subject == MACHINE,
        subject: header.subject,
        effective_cores: header.effective_cores,
        core_kinds: header.core_kinds,
        ..Outcome::default()
    };
    Ok(Form::Json)
}

fn parse(text: &[u8]) -> Result<Line> {
    serde_json::from_slice(text).map_err(|error| anyhow!("not a line that cpumon's --output wrote: {error}"))
}

fn check_cores(effective_cores: f64) -> Result<()> {
    let can_be = effective_cores > 0.0 && effective_cores <= 1e6;
    if can_be { Ok(()) } else { bail!("{effective_cores} is not a number of cores") }
}

fn read_line(text: &[u8], past: &mut Past) -> Result<()> {
    match parse(text)? {
        Line::Header(_) => bail!("a second header"),
        Line::Sample(sample) => past.add(&sample)?,
        Line::Summary(summary) => {
            check_cores(summary.effective_cores)?;
            let seconds = [summary.wall_s, summary.counted_s, summary.own_cpu_s];
            let told = [summary.cpu_s, summary.user_s, summary.system_s];
            for number in seconds.into_iter().chain(told.into_iter().flatten()) {
                check_number(number).map_err(|error| anyhow!(error))?;
            }
            past.was_cut_off = false;
            let core_kinds = std::mem::take(&mut past.outcome.core_kinds);
            past.outcome = Outcome { core_kinds, ..outcome_of(*summary) };
        }
    }
    Ok(())
}

fn read_row(columns: &Columns, text: &[u8], past: &mut Past) -> Result<()> {
    let (sample, effective_cores, subject) = columns.read(text)?;
    check_cores(effective_cores)?;
    past.outcome.whole_machine = subject == MACHINE && sample.processes.is_none();
    (past.outcome.effective_cores, past.outcome.subject) = (effective_cores, subject);
    past.add(&sample)
}

fn outcome_of(summary: Summary) -> Outcome {
    Outcome {
        subject: summary.subject,
        exit_code: summary.exit_code,
        wall_s: summary.wall_s,
        cpu_s: summary.cpu_s,
        counted_s: summary.counted_s,
        user_and_system_s: summary.user_s.zip(summary.system_s),
        effective_cores: summary.effective_cores,
        core_kinds: Vec::new(),
        whole_machine: summary.whole_machine,
        passed_bytes: summary.passed_bytes,
        left_running: summary.left_running,
        own_cpu_s: summary.own_cpu_s,
    }
}

/// Sums a file up again, on standard output.
pub fn replay(path: &Path, words: Words, json: bool, plot: Option<&Path>) -> Result<Exit> {
    let past = Past::read(path)?;
    if let Some(plot) = plot {
        finish::draw(plot, &past.outcome.subject, &past.totals)?;
    }
    let was_cut_off = past.was_cut_off;
    let summary = past.summary();
    match words {
        _ if json => print(&serde_json::to_string(&summary)?)?,
        Words::Full => print(&summary.full())?,
        Words::Short => print(&summary.short())?,
        Words::None => {}
    }
    if was_cut_off {
        say(&format!("cpumon: {}: has no summary: the run was cut off", path.display()));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"kind":"header","schema":1,"version":"0.1.0","started_at_s":1.0,"interval_s":0.5,"subject":"x","command":["x"],"pid":null,"effective_cores":2.0,"machine_cores":2,"core_kinds":[],"processor":null,"system":null}"#;

    fn sample(t_s: f64) -> String {
        format!(r#"{{"kind":"sample","t_s":{t_s},"interval_s":0.5,"cores":[1.0,0.0],"cpu_s":{t_s}}}"#)
    }

    #[test]
    fn a_run_that_was_cut_off_is_summed_up_from_its_samples() {
        let text = format!("{HEADER}\n{}\n{}\n{{\"kind\":\"sam", sample(0.5), sample(1.0));
        let past = read_from(text.as_bytes()).unwrap();
        assert_eq!((past.totals.samples, past.was_cut_off), (2, true));
        let summary = past.summary();
        assert_eq!((summary.parallelism, summary.wall_s), (Some(1.0), 1.0));
        assert_eq!(summary.core_busy, [1.0, 0.0]);
    }

    #[test]
    fn what_is_not_ours_is_named_by_its_line() {
        let check = |text: String, says: &str| {
            let error = format!("{:#}", read_from(text.as_bytes()).unwrap_err());
            assert!(error.contains(says), "{error}");
        };
        check(String::new(), "empty");
        check("hello\n".into(), "line 1");
        check(format!("{}\n", sample(1.0)), "line 1: the header is missing");
        check(format!("{HEADER}\nnonsense\n{}\n", sample(1.0)), "line 2");
        check(format!("{HEADER}\n{HEADER}\n"), "line 2: a second header");
        check(HEADER.replace("\"schema\":1", "\"schema\":9"), "format 9");
        check("x".repeat(2 << 20), "longer");
        check(HEADER.replace("2.0", "-1.0"), "line 1: -1 is not a number of cores");
        check(format!("{HEADER}\n{}\n", sample(-1.0)), "line 2: -1 is not a number of seconds");
        check("date,open,high\n1,2,3\n".into(), "line 1: not a line that cpumon's --output wrote");
    }

    #[test]
    fn a_table_is_summed_up_like_lines() {
        let table = "t_s,interval_s,effective_cores,subject,parallelism,cpu_s,processes,core_0,core_1\n";
        let rows = "0.5,0.5,2,make,1,0.5,3,1,0\n1,0.5,2,make,1,1,3,1,0\n";
        for cut in ["", "1.5,0.5,2,ma"] {
            let past = read_from(format!("{table}{rows}{cut}").as_bytes()).unwrap();
            assert!(!past.was_cut_off && !past.outcome.whole_machine);
            let summary = past.summary();
            assert_eq!((summary.samples, summary.parallelism, summary.wall_s), (2, Some(1.0), 1.0));
            assert_eq!((summary.subject.as_str(), summary.core_busy), ("make", vec![1.0, 0.0]));
        }
        let of_the_machine = format!("{table}1,1,2,the machine,1,1,,1,0\n");
        assert!(read_from(of_the_machine.as_bytes()).unwrap().outcome.whole_machine);
        let error = format!("{:#}", read_from(table.as_bytes()).unwrap_err());
        assert!(error.contains("no sample"), "{error}");
        let error = read_from(format!("{table}x,0.5,2,make,1,1,3,1,0\n").as_bytes()).unwrap_err();
        assert!(format!("{error:#}").contains("line 2: t_s \"x\" is not a number"), "{error:#}");
    }
}
