//! Files of earlier runs, summed up again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use cli::Exit;

use crate::cli::Words;
use crate::finish;
use crate::record::{Header, Line, SCHEMA};
use crate::summary::{Outcome, Summary};
use crate::talk::print;
use crate::totals::Totals;

/// A run as its file tells it.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its first line.
    pub header: Header,
    /// All its samples.
    pub totals: Totals,
    /// What is known of its end: all of it if it has a summary, else what its samples tell.
    pub outcome: Outcome,
    /// Whether it came to its end.
    pub is_whole: bool,
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
}

/// A line longer than this is no line of ours.
const MOST_LINE_BYTES: u64 = 1 << 20;

fn read_from(mut input: impl BufRead) -> Result<Past> {
    let mut past: Option<Past> = None;
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        input.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        if text.last() != Some(&b'\n') && text.len() as u64 == MOST_LINE_BYTES {
            bail!("line {number}: longer than any that cpumon writes");
        }
        let line = match serde_json::from_slice::<Line>(&text) {
            Ok(line) => line,
            Err(_) if past.is_some() && text.last() != Some(&b'\n') => break,
            Err(error) => return Err(anyhow!("line {number}: not a line of cpumon's JSON: {error}")),
        };
        match (line, &mut past) {
            (Line::Header(header), None) => past = Some(begin(header)?),
            (Line::Header(_), Some(_)) => bail!("line {number}: a second header"),
            (_, None) => bail!("line {number}: the header is missing"),
            (Line::Sample(sample), Some(past)) => {
                (past.outcome.wall_s, past.outcome.counted_s) = (sample.t_s, sample.t_s);
                past.outcome.cpu_s = sample.cpu_s;
                past.totals.add(&sample);
            }
            (Line::Summary(summary), Some(past)) => {
                past.is_whole = true;
                past.outcome = Outcome {
                    core_kinds: std::mem::take(&mut past.outcome.core_kinds),
                    ..outcome_of(*summary)
                };
            }
        }
    }
    past.context("the file is empty")
}

fn begin(header: Header) -> Result<Past> {
    if header.schema != SCHEMA {
        let (schema, version) = (header.schema, &header.version);
        bail!("written by cpumon {version} in format {schema}, and this one reads format {SCHEMA}");
    }
    let outcome = Outcome {
        subject: header.subject.clone(),
        effective_cores: header.effective_cores,
        core_kinds: header.core_kinds.clone(),
        whole_machine: header.command.is_none() && header.pid.is_none() && header.subject == "the machine",
        ..Outcome::default()
    };
    Ok(Past { header, totals: Totals::default(), outcome, is_whole: false })
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
    let is_whole = past.is_whole;
    let summary = past.summary();
    match words {
        _ if json => print(&serde_json::to_string(&summary)?)?,
        Words::Full => print(&summary.full())?,
        Words::Short => print(&summary.short())?,
        Words::None => {}
    }
    if !is_whole {
        crate::talk::say(&format!("cpumon: {}: has no summary: the run was cut off", path.display()));
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
        assert_eq!((past.totals.samples, past.is_whole), (2, false));
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
    }
}
