//! The end of a run: words, picture, last line of the file, exit code.

use std::path::Path;

use anyhow::Result;
use cli::Exit;
use plot::{HeatMap, XAxis};

use crate::cli::Words;
use crate::config::Config;
use crate::figures::plain;
use crate::outfile;
use crate::record::{Line, Recorder};
use crate::summary::{Outcome, Summary};
use crate::talk::{print, say};
use crate::totals::Totals;

/// Says and writes what a run was like, and gives the code of cpumon's own success or failure.
pub fn finish(config: &Config, outcome: Outcome, totals: &Totals, recorder: &mut Recorder) -> Result<Exit> {
    let summary = Summary::new(outcome, totals);
    if config.json && !config.quiet {
        let text = serde_json::to_string(&summary)?;
        if config.subject.leaves_stdout() { print(&text)? } else { say(&text) }
    } else {
        match config.summary {
            Words::Full => say(&summary.full()),
            Words::Short => say(&summary.short()),
            Words::None => {}
        }
    }
    if !config.quiet && !config.json && config.summary != Words::Full {
        for member in &summary.left_running {
            let (name, pid) = (plain(&member.name), member.pid);
            say(&format!("cpumon: {name} ({pid}) outlives the command and was left running"));
        }
    }
    let exit = below(config.fail_below, &summary);
    if let Some(path) = &config.plot {
        draw(path, &summary.subject, totals)?;
    }
    recorder.write(&Line::Summary(Box::new(summary)))?;
    Ok(exit)
}

/// Whether the cores were used as much as asked for.
fn below(least: Option<f64>, summary: &Summary) -> Exit {
    let Some(least) = least else { return Exit::Done };
    let used = summary.parallelism.map(|parallelism| parallelism / summary.effective_cores.max(0.01));
    match used {
        Some(used) if used >= least => Exit::Done,
        Some(used) => {
            say(&format!("cpumon: {used:.2} of the cores were used, less than {least} (--fail-below)"));
            Exit::Failed
        }
        None => {
            say("cpumon: it is not known how much of the cores was used (--fail-below)");
            Exit::Failed
        }
    }
}

/// Draws cores over time.
pub fn draw(path: &Path, subject: &str, totals: &Totals) -> Result<()> {
    let map = HeatMap {
        title: format!("Cores during {subject}"),
        rows: (0..totals.core_busy_s.len()).map(|core| format!("core {core}")).collect(),
        x: XAxis::Number { label: "seconds".to_owned() },
        columns: totals.history.columns.clone(),
    };
    outfile::write_whole(path, map.to_svg()?.as_bytes())
}
