//! The command line.

use std::path::PathBuf;

use ::cli::pages::Page;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  featgen data/sample/BPCL.csv -o features.parquet
      The preset core over one symbol.
  featgen bars/ -o features.parquet --features core,rsi:21,macd.hist:12:26:9@per_close@lag:1
      Every bar file of a folder, with features of your own beside the preset.
  featgen BPCL.csv -o BPCL.parquet --source \"NSE 5-minute export\"
      Real bars, labelled with their source; the label travels into every report.
  featgen list
      Every feature with its parameters and lookback.
  featgen simulate --symbol X | featgen - --symbol X --format csv -o -
      Through a pipe.
  featgen verify bars/ --features core,intraday
      Proof that no row of these features changes when later bars are cut off or altered.
  featgen check bars/
      What is odd about the bars, and nothing else.
  featgen simulate --symbol BPCL --seed 7 -o BPCL.csv
      Made-up bars to try things with.";

/// Compute technical indicators in parallel into Parquet.
///
/// Reads bars of one or many symbols, computes features without looking ahead, and writes one Parquet file
/// that any tool reads. A row is known at its bar's close.
#[derive(Debug, Parser)]
#[command(name = "featgen", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of making features.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Bars in, features out.
    #[command(flatten)]
    pub make: MakeArguments,
}

/// Bars in, features out.
#[derive(Debug, Args)]
pub struct MakeArguments {
    /// Which bars.
    #[command(flatten)]
    pub bars: BarArguments,

    /// Write the features to this file; - is standard output, for --format ipc and csv.
    #[arg(short, long, value_name = "OUT", required = true)]
    pub output: Option<PathBuf>,

    /// How to write them: as the Parquet file that the other tools read, as an Arrow IPC stream, or as CSV.
    #[arg(long, value_name = "parquet|ipc|csv", default_value = "parquet")]
    pub format: Format,

    /// What to do about a file that cannot be used: stop, or leave it out.
    ///
    /// With skip, what was left out is listed in OUT.skipped.json with the reason, and the exit code is 3.
    #[arg(long, value_name = "stop|skip", default_value = "stop")]
    pub on_error: OnError,

    /// Which features.
    #[command(flatten)]
    pub features: FeatureArguments,

    /// Leave rows null that still depend on where the series starts by more than this part of the value.
    ///
    /// How many rows that takes was measured for each feature on simulated bars, over many starts; 1e-4 and 1e-8
    /// are good choices.
    #[arg(long, value_name = "TOLERANCE", value_parser = tolerance)]
    pub stable: Option<f64>,

    /// Keep features in double precision, rather than in single, which takes half the room.
    #[arg(long)]
    pub double: bool,

    /// Use this many threads; 0 uses every core. The output is the same for any number.
    #[arg(short = 'j', long, value_name = "N", default_value_t = 0, env = "FEATGEN_THREADS")]
    pub threads: usize,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (1e-10..=1e-2).contains(value));
    value.ok_or_else(|| "a number from 1e-10 to 1e-2, such as 1e-4".to_owned())
}

/// Which features.
#[derive(Debug, Args)]
pub struct FeatureArguments {
    /// Compute these features: a list of presets and `name:parameter…@transform:parameter…`, or a TOML file.
    ///
    /// `macd.hist:12:26:9` takes one output of several; `rsi:14@zscore:100@lag:1` transforms a feature, and
    /// `core@lag:1` all of a preset. A name that ends in .toml is a file that holds the same as
    /// `features = ["core", "rsi:21"]`.
    #[arg(short, long, value_name = "LIST|FILE.toml", default_value = "core")]
    pub features: String,
}

/// Which bars, and how to read them.
#[derive(Debug, Clone, Args)]
pub struct BarArguments {
    /// Bars as CSV, Parquet or Arrow IPC: files, folders of them, @FILE for a list of them, - for standard input.
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,

    /// Call the one input's symbol so, rather than by its column or the file's name.
    #[arg(long, value_name = "NAME")]
    pub symbol: Option<String>,

    /// Say where real bars come from; the label travels into every report.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,

    /// Take times without an offset for this zone, and dates for its dates (Asia/Kolkata if nobody says).
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// What the stamp of an intraday bar means (its open if nobody says).
    #[arg(long, value_name = "open|close")]
    pub stamp: Option<Stamp>,

    /// When a daily bar's close is known, local time.
    #[arg(long, value_name = "HH:MM", default_value = "15:30")]
    pub session_close: String,

    /// Which of two rows holds that disagree about the same time; an error if nobody says.
    #[arg(long, value_name = "first|last")]
    pub dedup: Option<Dedup>,

    /// Put rows in order that step back in time, rather than refuse them.
    #[arg(long)]
    pub sort: bool,

    /// Take whatever is odd about the bars for an error, rather than say it and go on.
    #[arg(long)]
    pub strict: bool,

    /// What to do with rows that cannot be used.
    #[arg(long, value_name = "error|skip", default_value = "error")]
    pub bad_rows: BadRows,
}

/// How to write features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The Parquet file that the other tools read.
    Parquet,
    /// An Arrow IPC stream.
    Ipc,
    /// CSV with a header row.
    Csv,
}

/// What to do about a file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Stop, and write nothing.
    Stop,
    /// Leave it out, list it, go on.
    Skip,
}

/// What the stamp of an intraday bar means.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Stamp {
    /// The bar's start.
    Open,
    /// The bar's end.
    Close,
}

/// Which of two rows holds.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Dedup {
    /// The earlier in the file.
    First,
    /// The later in the file.
    Last,
}

/// What to do with rows that cannot be used.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum BadRows {
    /// Refuse the file.
    Error,
    /// Leave them out and count them.
    Skip,
}

/// What to do instead of making features.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List every feature with its parameters, inputs, outputs and lookback, and the presets.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what is odd about bars, and make nothing.
    Check {
        /// Which bars.
        #[command(flatten)]
        bars: BarArguments,

        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show that no feature looks ahead: rows must not change when later bars are cut off, nor when they are altered.
    ///
    /// Bars are cut and altered at every session edge and at other places. Names the feature and the row, and
    /// exits with 1, if one does.
    Verify {
        /// Which bars.
        #[command(flatten)]
        bars: BarArguments,

        /// Which features.
        #[command(flatten)]
        features: FeatureArguments,

        /// Cut at so many places beside the session edges, for each symbol.
        #[arg(long, value_name = "K", default_value_t = 20)]
        places: usize,

        /// The seed that these places are drawn from.
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Make up NSE-like 5-minute bars from a seed; their first line says that they are simulated.
    Simulate(SimulateArguments),
    /// Write the manual page or a shell's completions.
    #[command(hide = true)]
    Pages {
        /// Which.
        page: Page,
    },
}

/// What to simulate.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// The symbol; another one gives another path for the same seed, on the same dates.
    #[arg(long, value_name = "NAME")]
    pub symbol: String,

    /// The seed: the same one gives the same bytes on every machine.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,

    /// How many sessions of 75 bars.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions: u32,

    /// The price before the first session, in rupees.
    #[arg(long, value_name = "RUPEES", default_value_t = 300.0)]
    pub start_price: f64,

    /// Write to this file; standard output if there is none.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
