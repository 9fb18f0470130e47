//! From arguments to a finished command.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::cli::{Exit, UsageError};
use anyhow::Context;
use clap::{CommandFactory, Parser};
use market::LoadOptions;
use market::load::{BadRows, Dedup, StampMeaning};
use market::simulate::Simulation;
use market::temporary::Temporary;

use crate::catalogue::Frame;
use crate::cli::{
    self, Arguments, BarArguments, Command, FeatureArguments, Format, MakeArguments, OnError,
    SimulateArguments,
};
use crate::compute::Plan;
use crate::pipeline::{self, Job, Summary};
use crate::{check, inputs, list, skipped, specification, verify};

/// Runs the tool.
pub fn run() -> anyhow::Result<Exit> {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    match arguments.command {
        None => make(arguments.make),
        Some(Command::List { json }) => {
            if json { list::write_json(&mut out) } else { list::write_text(&mut out) }?;
            Ok(Exit::Done)
        }
        Some(Command::Check { bars, json }) => {
            let inputs = inputs::input_files(&bars.inputs)?;
            let stop = stop_on_signal()?;
            let go_on = || !stop.load(std::sync::atomic::Ordering::Relaxed);
            let batch = market::load(&inputs, &load_options(bars)?, &go_on)?;
            if json { check::write_json(&batch, &mut out) } else { check::write_text(&batch, &mut out) }?;
            Ok(Exit::Done)
        }
        Some(Command::Verify { bars, features, places, seed }) => verify(bars, features, places, seed),
        Some(Command::Simulate(arguments)) => simulate(arguments, &mut out),
        Some(Command::Pages { page }) => {
            ::cli::pages::write(page, Arguments::command(), &mut out)?;
            Ok(Exit::Done)
        }
    }
}

fn make(arguments: MakeArguments) -> anyhow::Result<Exit> {
    let output =
        arguments.output.ok_or_else(|| UsageError("no output file (name one with -o)".to_owned()))?;
    if output.as_os_str() == "-" && arguments.format == Format::Parquet {
        let message =
            "Parquet cannot be written to a pipe (choose --format ipc or csv, or name a file with -o)";
        return Err(UsageError(message.to_owned()).into());
    }
    let mut load = load_options(arguments.bars.clone())?;
    load.skip_bad_files = arguments.on_error == OnError::Skip;
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global().context("--threads")?;
    let stop = stop_on_signal()?;
    let files = inputs::input_files(&arguments.bars.inputs)?;
    inputs::spare_inputs(&files, &output)?;
    let job = Job {
        inputs: files,
        output,
        specification: specification_of(arguments.features)?,
        is_double: arguments.double,
        stable: arguments.stable,
        format: arguments.format,
        load,
        quiet: arguments.quiet,
    };
    match pipeline::run(&job, &stop) {
        Ok(summary) => {
            if !job.quiet {
                eprintln!("featgen: {}", closing_line(&job, &summary));
            }
            Ok(if summary.n_skipped > 0 { Exit::Partial } else { Exit::Done })
        }
        Err(error) if matches!(error.downcast_ref(), Some(market::Error::Stopped)) => {
            eprintln!("featgen: stopped, nothing written");
            Ok(Exit::Code(STOPPED_BY_SIGNAL))
        }
        Err(error) => Err(error),
    }
}

/// The list that `--features` gives, or that stands in the file that it names.
fn specification_of(arguments: FeatureArguments) -> anyhow::Result<String> {
    let text = arguments.features;
    if Path::new(&text).extension().is_none_or(|ending| ending != "toml") {
        return Ok(text);
    }
    let content = std::fs::read_to_string(&text).with_context(|| text.clone())?;
    specification::from_toml(&content).map_err(|message| UsageError(format!("{text}: {message}")).into())
}

fn verify(
    bars: BarArguments,
    features: FeatureArguments,
    n_places: usize,
    seed: u64,
) -> anyhow::Result<Exit> {
    let specification = specification_of(features)?;
    let stop = stop_on_signal()?;
    let go_on = || !stop.load(std::sync::atomic::Ordering::Relaxed);
    let inputs = inputs::input_files(&bars.inputs)?;
    let scan = market::scan(&inputs, &load_options(bars)?, &go_on)?;
    let features = specification::parse(&specification, scan.bar_seconds < 86_400)
        .map_err(|message| UsageError(format!("--features: {message}")))?;
    let plan = Plan::new(features);
    let others = pipeline::others(&plan, &scan)?;
    for place in 0..scan.n_symbols() {
        let (bars, _) = scan.bars(place)?;
        let frame = Frame { bars: &bars, bar_seconds: scan.bar_seconds, others: &others };
        let places = verify::places(&bars, n_places, seed);
        let found = verify::look_ahead(&plan, &frame, &places, &go_on)?;
        if !go_on() {
            return Err(market::Error::Stopped.into());
        }
        if let Some(found) = found {
            anyhow::bail!("{}: {found}", bars.symbol);
        }
        eprintln!(
            "featgen: {}: no look-ahead in {} features over {} bars, cut and altered at {} places",
            bars.symbol,
            plan.features.len(),
            bars.len(),
            places.len()
        );
    }
    Ok(Exit::Done)
}

/// What shells report for a program that Ctrl-C ended.
const STOPPED_BY_SIGNAL: u8 = 130;

/// A flag that Ctrl-C, a closed terminal or a polite kill raises. The second one ends the program at once.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let code = i32::from(STOPPED_BY_SIGNAL);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))
            .context("signals")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    Ok(stop)
}

fn closing_line(job: &Job, summary: &Summary) -> String {
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let skipped = match summary.n_skipped {
        0 => String::new(),
        n => format!(", {} left out ({})", plural(n, "file"), skipped::path_of(&job.output).display()),
    };
    format!(
        "{}: {}, {} rows, {}, {:.2} s, {:.1} MB/s in, {:.1} MB out, {}, {}{skipped}",
        job.output.display(),
        plural(summary.n_symbols, "symbol"),
        summary.n_rows,
        plural(summary.n_features, "feature"),
        summary.seconds,
        summary.input_bytes as f64 / 1e6 / summary.seconds,
        summary.output_bytes as f64 / 1e6,
        summary.provenance,
        plural(summary.n_warnings, "warning"),
    )
}

fn load_options(bars: BarArguments) -> anyhow::Result<LoadOptions> {
    let close = bars.session_close;
    let session_close = market::timestamp::parse_time(&close)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(time, _)| time)
        .ok_or_else(|| UsageError(format!("--session-close: \"{close}\" is not a time such as 15:30")))?;
    Ok(LoadOptions {
        symbol: bars.symbol,
        timezone: bars.timezone,
        stamp: bars.stamp.map(|stamp| match stamp {
            cli::Stamp::Open => StampMeaning::Open,
            cli::Stamp::Close => StampMeaning::Close,
        }),
        session_close,
        dedup: match bars.dedup {
            None => Dedup::Error,
            Some(cli::Dedup::First) => Dedup::First,
            Some(cli::Dedup::Last) => Dedup::Last,
        },
        sort: bars.sort,
        bad_rows: match bars.bad_rows {
            cli::BadRows::Error => BadRows::Error,
            cli::BadRows::Skip => BadRows::Skip,
        },
        source: bars.source,
        is_strict: bars.strict,
        skip_bad_files: false,
        bar_seconds: None,
    })
}

fn simulate(arguments: SimulateArguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if !(arguments.start_price >= 1.0 && arguments.start_price <= 1e6) {
        let price = arguments.start_price;
        return Err(UsageError(format!("--start-price: {price} is not between 1 and 1000000 rupees")).into());
    }
    let simulation = Simulation {
        symbol: arguments.symbol,
        seed: arguments.seed,
        n_sessions: arguments.sessions as usize,
        start_price: arguments.start_price,
    };
    let text = simulation.csv();
    match arguments.output {
        None => out.write_all(text.as_bytes())?,
        Some(path) => write_file(&path, &text)?,
    }
    Ok(Exit::Done)
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let (temporary, mut file) = Temporary::beside(path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
    temporary.rename(path)?;
    Ok(())
}
