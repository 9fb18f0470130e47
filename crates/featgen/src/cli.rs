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
  featgen bars/ -o features/ --partition --update --on-error skip --json
      A nightly job: a folder symbol=NAME for each symbol, those with new bars made anew; bad files are listed.
  featgen today/ -o features/ --partition --append
      The same where each day's bars come in files of their own.
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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct MakeArguments {
    /// Which bars.
    #[command(flatten)]
    pub bars: BarArguments,

    /// Write the features to this file; - is standard output, for --format ipc and csv; a folder with --partition.
    #[arg(short, long, value_name = "OUT", required = true)]
    pub output: Option<PathBuf>,

    /// Write a file for each symbol, OUT/symbol=BPCL/part-0.parquet, as Hive does; the path alone says the symbol.
    ///
    /// Parts of symbols that the inputs do not name stay. All files are put in place together, at the end.
    #[arg(long)]
    pub partition: bool,

    /// Leave alone what would come out as it is: inputs with the digests that are recorded in it, the same features
    /// and options, the same version.
    ///
    /// With --partition, only the symbols whose inputs have changed are computed.
    #[arg(long, conflicts_with = "append")]
    pub update: bool,

    /// Put new bars behind those that a partition has recorded, and compute what is new from all of them.
    ///
    /// The inputs need hold no more than the new bars. Bars that are recorded may stand in them, too; where they
    /// differ, --dedup first keeps what is recorded and --dedup last what is new.
    #[arg(long)]
    pub append: bool,

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

    /// Say what was done as one line of JSON on standard output, or on standard error where the features go there.
    #[arg(long)]
    pub json: bool,
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

    /// Say which columns are which, where their names do not show it or show another: ts=Date,close=LTP.
    ///
    /// The columns of bars are ts, `time_of_day`, open, high, low, close, volume and symbol.
    #[arg(long, value_name = "COLUMN=HEADER,…")]
    pub columns: Option<String>,

    /// Say where real bars come from; the label travels into every report.
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,

    /// Take times without an offset for this zone, and dates for its dates (Asia/Kolkata if nobody says).
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// What the stamp of an intraday bar means (its open if nobody says).
    #[arg(long, value_name = "open|close")]
    pub stamp: Option<Stamp>,

    /// When sessions close, local time (15:30 if nobody says): a daily bar is known then.
    ///
    /// An intraday bar that the close cuts short, as it does the last one of an hour, is known then, too: in Indian
    /// time, and elsewhere if the close is given.
    #[arg(long, value_name = "HH:MM")]
    pub session_close: Option<String>,

    /// Which of two rows holds that disagree about the same time; an error if nobody says.
    #[arg(long, value_name = "first|last")]
    pub dedup: Option<Dedup>,

    /// Divide prices before each split or bonus issue in this list by its ratio, and multiply volumes by it.
    ///
    /// A CSV file with the header symbol,date,ratio: the first date in new shares, and new shares for each old one, as
    /// 2 or 3:2. The past alone is told anew; prices from the date on stay what they are. A date after the last bar counts as well,
    /// so that bars that are appended later fit. Features that are ratios of prices
    /// do not notice; features in prices or shares then hold for shares that did not exist yet at the time. Nothing
    /// is adjusted without a list.
    #[arg(long, value_name = "FILE")]
    pub splits: Option<PathBuf>,

    /// Fill bars that are missing inside a session, flat at the close before them and without volume; never across
    /// sessions. How many is counted.
    #[arg(long, value_name = "none|session", default_value = "none")]
    pub fill: Fill,

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

/// What to do about bars that are missing inside a session.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Fill {
    /// Count them.
    None,
    /// Fill them in.
    Session,
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
