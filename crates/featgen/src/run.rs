//! From arguments to a finished command.

use std::io::{self, Write};
use std::path::Path;

use ::cli::{Exit, UsageError};
use anyhow::Context;
use clap::{CommandFactory, Parser};
use market::LoadOptions;
use market::csv::header::ColumnNames;
use market::load::{BadRows, Dedup, Fill, Splits, StampMeaning};
use market::simulate::Simulation;
use market::temporary::Temporary;

use crate::catalogue::Frame;
use crate::cli::{
    self, Arguments, BarArguments, Command, FeatureArguments, Format, MakeArguments, OnError,
    SimulateArguments,
};
use crate::compute::Plan;
use crate::pipeline::{self, Job, Refresh};
use crate::{check, inputs, list, skipped, specification, stop, summary, verify};

/// Runs the tool.
pub fn run() -> anyhow::Result<Exit> {
    let arguments = Arguments::parse();
    stop::on_signal()?;
    // Not locked: other threads may be those that write to it.
    let mut out = io::stdout();
    match arguments.command {
        None => make(arguments.make),
        Some(Command::List { json }) => {
            if json { list::write_json(&mut out) } else { list::write_text(&mut out) }?;
            Ok(Exit::Done)
        }
        Some(Command::Check { bars, json }) => {
            let inputs = inputs::input_files(&bars.inputs)?;
            let batch = market::load(&inputs, &load_options(bars)?, &|| true)?;
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
        arguments.output.clone().ok_or_else(|| UsageError("no output file (name one with -o)".to_owned()))?;
    fits_together(&arguments, &output)?;
    let mut load = load_options(arguments.bars.clone())?;
    load.skip_bad_files = arguments.on_error == OnError::Skip;
    start_threads(arguments.threads, arguments.quiet)?;
    let files = inputs::input_files(&arguments.bars.inputs)?;
    inputs::spare_inputs(&files, &output, arguments.partition)?;
    let job = Job {
        inputs: files,
        // Without the slash that may stand behind a folder.
        output: output.components().collect(),
        specification: specification_of(arguments.features)?,
        is_double: arguments.double,
        stable: arguments.stable,
        format: arguments.format,
        is_partition: arguments.partition,
        refresh: match (arguments.update, arguments.append) {
            (true, _) => Refresh::Update,
            (_, true) => Refresh::Append,
            _ => Refresh::Anew,
        },
        load,
        quiet: arguments.quiet,
    };
    let summary = pipeline::run(&job, &|| true)?;
    if !summary::is_stdout(&job.output) {
        skipped::write(&job.output, &summary.written.skipped)?;
    }
    if arguments.json {
        let line = summary::json(&job, &summary)?;
        let mut out: Box<dyn Write> =
            if summary::is_stdout(&job.output) { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        writeln!(out, "{line}")?;
    } else if !job.quiet {
        ::cli::say(&format!("featgen: {}", summary::line(&job, &summary)));
    }
    Ok(if summary.written.skipped.is_empty() { Exit::Done } else { Exit::Partial })
}

/// Refuses options that make no sense together.
fn fits_together(arguments: &MakeArguments, output: &Path) -> Result<(), UsageError> {
    let is_parquet = arguments.format == Format::Parquet;
    let problem = if output.as_os_str() == "-" && is_parquet {
        "Parquet cannot be written to a pipe (choose --format ipc or csv, or name a file with -o)"
    } else if arguments.partition && !is_parquet {
        "--partition: parts are Parquet files (leave out --format)"
    } else if arguments.append && !arguments.partition {
        "--append: adds to a partition (add --partition, and name its folder with -o)"
    } else if arguments.update && !is_parquet {
        "--update: only Parquet files know how they were made (leave out --format or --update)"
    } else if arguments.partition && output.is_file() {
        "--partition: the output is a file (name a folder with -o)"
    } else if !arguments.partition && output.is_dir() {
        "the output is a folder (name a file with -o, or add --partition)"
    } else {
        return Ok(());
    };
    Err(UsageError(if output.as_os_str() == "-" {
        problem.to_owned()
    } else {
        format!("{}: {problem}", output.display())
    }))
}

/// Threads beyond several a core only cost memory, and thousands of them fail where the machine says no.
fn start_threads(n: usize, quiet: bool) -> anyhow::Result<()> {
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (4 * n_cores).max(64);
    if n > most && !quiet {
        ::cli::say(&format!(
            "featgen: --threads {n}: {n_cores} cores keep no more than {most} threads busy, so {most} are used"
        ));
    }
    rayon::ThreadPoolBuilder::new().num_threads(n.min(most)).build_global().context("--threads")
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
    let inputs = inputs::input_files(&bars.inputs)?;
    let scan = market::scan(&inputs, &load_options(bars)?, &|| true)?;
    let features = specification::parse(&specification, scan.bar_seconds < 86_400)
        .map_err(|message| UsageError(format!("--features: {message}")))?;
    let plan = Plan::new(features);
    let others = pipeline::others(&plan, &scan)?;
    for place in 0..scan.n_symbols() {
        let (bars, _) = scan.peek(place)?;
        let frame = Frame { bars: &bars, bar_seconds: scan.bar_seconds, others: &others };
        let places = verify::places(&bars, n_places, seed);
        let found = verify::look_ahead(&plan, &frame, &places, &|| true)?;
        if let Some(found) = found {
            anyhow::bail!("{}: {found}", bars.symbol);
        }
        ::cli::say(&format!(
            "featgen: {}: no look-ahead in {} features over {} bars, cut and altered at {} places",
            bars.symbol,
            plan.features.len(),
            bars.len(),
            places.len()
        ));
    }
    Ok(Exit::Done)
}

fn load_options(bars: BarArguments) -> anyhow::Result<LoadOptions> {
    let time_of = |text: String| {
        let time = market::timestamp::parse_time(&text).filter(|(_, rest)| rest.is_empty());
        time.map(|(time, _)| time)
            .ok_or_else(|| UsageError(format!("--session-close: \"{text}\" is not a time such as 15:30")))
    };
    Ok(LoadOptions {
        columns: match bars.columns.as_deref().map(str::parse) {
            None => ColumnNames::default(),
            Some(said) => said.map_err(|problem| UsageError(format!("--columns: {problem}")))?,
        },
        symbol: bars.symbol,
        timezone: bars.timezone,
        stamp: bars.stamp.map(|stamp| match stamp {
            cli::Stamp::Open => StampMeaning::Open,
            cli::Stamp::Close => StampMeaning::Close,
        }),
        session_close: bars.session_close.map(time_of).transpose()?,
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
        splits: bars.splits.as_deref().map(Splits::read).transpose()?,
        fill: match bars.fill {
            cli::Fill::None => Fill::None,
            cli::Fill::Session => Fill::Session,
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
