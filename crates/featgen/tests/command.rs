//! The real program: same bytes for any number of threads, one line for whatever is wrong, and no half-written
//! file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of its own that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("featgen-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// What lies in the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn featgen(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_featgen")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    /// The one line on stderr of a command that must fail.
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.featgen(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} succeeded: {text}");
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        assert_eq!(lines.next(), None, "{text}");
        line
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn sample(symbol: &str) -> String {
    format!("{}/../../data/sample/{symbol}.csv", env!("CARGO_MANIFEST_DIR"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_bytes_are_the_same_for_any_number_of_threads() {
    let folder = Folder::new("threads");
    let inputs = ["TATASTEEL", "BPCL", "RELIANCE"].map(sample);
    let mut files = Vec::new();
    for threads in ["1", "2", "5"] {
        let name = format!("{threads}.parquet");
        let mut arguments: Vec<&str> = inputs.iter().map(String::as_str).collect();
        arguments.extend(["-o", &name, "--threads", threads, "--features", "core,rsi:21,obv"]);
        let output = folder.featgen(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("3 symbols, 56250 rows, 46 features"), "{}", stderr(&output));
        assert!(stderr(&output).contains("SIMULATED (market::simulate 1, seed 334)"), "{}", stderr(&output));
        files.push(std::fs::read(folder.path(&name)).unwrap());
    }
    assert!(files[0] == files[1] && files[1] == files[2]);

    let table = market::parquet::read_features(&folder.path("1.parquet")).unwrap();
    let symbols: Vec<&str> = table.symbols.iter().map(|symbol| symbol.bars.symbol.as_str()).collect();
    assert_eq!(symbols, ["BPCL", "RELIANCE", "TATASTEEL"]);
    assert_eq!((table.info.bar_seconds, table.info.calendar.len()), (300, 250));
    assert!((17_500.0..20_000.0).contains(&table.info.bars_per_year), "{}", table.info.bars_per_year);
}

#[test]
fn a_feature_file_can_be_read_for_its_bars_and_keeps_its_label() {
    let folder = Folder::new("again");
    assert!(folder.featgen(&[&sample("BPCL"), "-o", "a.parquet", "-q"]).status.success());
    let output = folder.featgen(&["a.parquet", "-o", "b.parquet", "--stamp", "close"]);
    assert!(stderr(&output).contains("SIMULATED (market::simulate 1, seed 334)"), "{}", stderr(&output));
    let read = |name: &str| market::parquet::read_features(&folder.path(name)).unwrap();
    let (a, b) = (read("a.parquet"), read("b.parquet"));
    assert_eq!(a.symbols[0].bars, b.symbols[0].bars);
    assert_eq!(market::digest::table_sha256(&a), market::digest::table_sha256(&b));
}

#[test]
fn whatever_is_wrong_is_one_line_and_leaves_no_file() {
    let folder = Folder::new("wrong");
    let header = "date,open,high,low,close,volume";
    folder.write("empty.csv", "");
    folder.write("noclose.csv", "date,open,high,low,volume\n2024-01-01,1,1,1,1\n");
    folder.write("word.csv", &format!("{header}\n2024-01-01,1,1,1,n/a,1\n"));
    folder.write("back.csv", &format!("{header}\n2024-01-02,1,1,1,1,1\n2024-01-01,1,1,1,1,1\n"));
    folder.write("twice.csv", &format!("{header}\n2024-01-02,1,1,1,1,1\n2024-01-02,1,1,1,2,1\n"));
    folder.write("other.bin", "PK\u{3}\u{4}\0\0");
    let before = folder.names();
    let check = |arguments: &[&str], expected: &str| {
        let line = folder.error(&[arguments, &["-o", "out.parquet"]].concat());
        assert_eq!(line, format!("featgen: {expected}"));
    };
    check(&["missing.csv"], "missing.csv: No such file or directory (os error 2)");
    check(&["empty.csv"], "empty.csv: is empty: no header row and no bars");
    check(
        &["noclose.csv"],
        "noclose.csv: line 1: no close column among \"date,open,high,low,volume\" (a header row must name close: \
         close, close price, c, adj close; or say which it is with --columns close=HEADER)",
    );
    check(
        &["word.csv"],
        "word.csv: line 2: close \"n/a\" is not a number (skip bad rows with --bad-rows skip)",
    );
    check(
        &["back.csv"],
        "back.csv: line 3: steps back in time behind line 2 (put rows in order with --sort)",
    );
    check(
        &["twice.csv"],
        "twice.csv: line 3: disagrees with line 2 about the same time (settle it with --dedup first or --dedup last)",
    );
    check(&["other.bin"], "other.bin: is neither CSV nor Parquet nor Arrow IPC");
    check(
        &[&sample("BPCL"), "-f", "core,rsl:14"],
        "--features: unknown feature \"rsl\" (did you mean rsi? featgen list shows all)",
    );
    check(
        &[&sample("BPCL"), "--timezone", "Mumbai"],
        "--timezone: \"Mumbai\" is neither a zone such as Asia/Kolkata nor an offset such as +05:30",
    );
    let line = folder.error(&[&sample("BPCL"), "--source", "NSE", "-o", "out.parquet"]);
    assert!(line.ends_with("so --source cannot call it real"), "{line}");
    assert_eq!(folder.names(), before);
}

#[test]
fn options_settle_what_was_refused() {
    let folder = Folder::new("settled");
    let rows = "2024-01-02,1,1,1,1,1\n2024-01-01,1,1,1,1,1\n2024-01-01,1,1,1,2,1\n2024-01-03,1,1,1,x,1\n";
    folder.write("a.csv", &format!("date,open,high,low,close,volume\n{rows}"));
    let options = ["--sort", "--dedup", "last", "--bad-rows", "skip", "-f", "kmid"];
    let output = folder.featgen(&[&["a.csv", "-o", "a.parquet"], &options[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    for expected in ["bad rows skipped: 1", "conflicting rows settled: 1", "rows put in order: 1"] {
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
    }
    let table = market::parquet::read_features(&folder.path("a.parquet")).unwrap();
    assert_eq!(table.symbols[0].bars.close, [2.0, 1.0]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_file() {
    let folder = Folder::new("interrupted");
    // So many features of long windows take seconds over so many symbols.
    for symbol in 0..24 {
        let text = std::fs::read_to_string(sample("BPCL")).unwrap();
        folder.write(&format!("S{symbol:02}.csv"), &text);
    }
    let features: Vec<String> = (0..40).map(|more| format!("bollinger_position:{}", 600 + more)).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_featgen"))
        .args([".", "-o", "out.parquet", "--threads", "1", "-f", &features.join(",")])
        .current_dir(&folder.0)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_partial = |folder: &Folder| folder.names().iter().any(|name| name.contains(".partial-"));
    let start = Instant::now();
    while !is_partial(&folder) && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(folder.names().len(), 24, "{:?}", folder.names());
}

#[test]
fn check_and_list_write_to_stdout_and_a_closed_pipe_is_no_error() {
    let folder = Folder::new("stdout");
    let output = folder.featgen(&["check", &sample("BPCL"), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["symbols"][0]["bars"], &report["bar_seconds"]), (&18_750.into(), &300.into()));
    assert_eq!(report["symbols"][0]["findings"], serde_json::json!([]));

    let list: serde_json::Value =
        serde_json::from_slice(&folder.featgen(&["list", "--json"]).stdout).unwrap();
    let rsi = list["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "rsi").unwrap();
    assert_eq!((&rsi["lookback"], &rsi["origin"]), (&14.into(), &"ta-lib".into()));

    let mut child = Command::new(env!("CARGO_BIN_EXE_featgen"))
        .args(["simulate", "--symbol", "X", "--sessions", "100"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn simulate_writes_the_sample() {
    let folder = Folder::new("simulate");
    let arguments =
        ["simulate", "--symbol", "BPCL", "--seed", "334", "--sessions", "250", "--start-price", "310"];
    let output = folder.featgen(&arguments);
    assert!(output.stdout == std::fs::read(sample("BPCL")).unwrap());
    assert!(folder.featgen(&[&arguments[..], &["-o", "made.csv"]].concat()).status.success());
    assert!(std::fs::read(Path::new(&folder.path("made.csv"))).unwrap() == output.stdout);
}
