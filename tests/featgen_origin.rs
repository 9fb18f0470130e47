//! Where bars come from is never lost: through pipes, formats, and wherever a label stands.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use pipe_tests::{Place, Run, bin};

const LABEL: &str = "# simulated by market::simulate 1, seed 3";

fn simulated(place: &Place) -> String {
    let csv = place.text("AAA.csv");
    Run::new("featgen")
        .args(["simulate", "--symbol", "AAA", "--seed", "3", "--sessions", "3", "-o", &csv])
        .succeeds();
    fs::read_to_string(csv).expect("bars")
}

/// What `featgen` writes as CSV of the file that stands on its standard input.
fn through_a_pipe(path: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(bin("featgen"))
        .args(["-q", "-", "--symbol", "AAA", "-f", "kmid", "-o", "-", "--format", "csv"])
        .args(more)
        .stdin(Stdio::from(File::open(path).expect("a file")))
        .output()
        .expect("featgen");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn bars_of_every_format_come_through_a_pipe_with_their_label() {
    let place = Place::new();
    simulated(&place);
    let csv = place.text("AAA.csv");
    let (code, expected, said) = through_a_pipe(&csv, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(expected.starts_with(LABEL), "{expected:.100}");
    for (name, format) in [("a.parquet", "parquet"), ("a.arrow", "ipc"), ("a.csv", "csv")] {
        let file = place.text(name);
        Run::new("featgen").args(["-q", &csv, "-o", &file, "--format", format, "-f", "kmid"]).succeeds();
        let (code, found, said) = through_a_pipe(&file, &["--stamp", "close", "--timezone", "+05:30"]);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(found == expected, "{name} comes out otherwise");
        // Cut short, or cut off: one line, no panic.
        let bytes = fs::read(&file).expect("a file");
        if format != "csv" {
            let cut = place.text("cut");
            for end in [5, 100, bytes.len() / 2, bytes.len() - 9] {
                fs::write(&cut, &bytes[..end]).expect("a file");
                let (code, _, said) = through_a_pipe(&cut, &["--stamp", "close", "--timezone", "+05:30"]);
                assert_eq!((code, said.lines().count()), (Some(1), 1), "{name} cut at {end}: {said}");
            }
        }
    }
    let (code, _, said) = through_a_pipe("/dev/null", &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_symbol_beside_another_comes_through_a_pipe_too() {
    let place = Place::new();
    let rows = |symbol: &str| {
        let row = |day: u32| format!("{symbol},2024-01-{day:02},{0},{0},{0},{0},1\n", 100 + day * day % 7);
        (1..=28).map(row).collect::<String>()
    };
    let text = format!("symbol,date,open,high,low,close,volume\n{}{}", rows("AAA"), rows("BBB"));
    let csv = place.write("both.csv", &text);
    let run = |args: &[&str]| {
        Command::new(bin("featgen"))
            .args(args)
            .stdin(Stdio::from(File::open(&csv).expect("a file")))
            .output()
            .expect("featgen")
    };
    let out = place.text("out");
    for args in [
        &["-q", "-", "-f", "beta_to:AAA:5", "-o", "-", "--format", "csv"][..],
        &["-q", "-", "-f", "beta_to:AAA:5", "-o", &out, "--partition"],
        &["-q", "-", "-f", "beta_to:AAA:5", "-o", &out, "--partition", "--append"],
        &["-q", "-", "-f", "beta_to:AAA:5", "-o", &out, "--partition", "--update"],
        &["verify", "-", "-f", "beta_to:AAA:5"],
    ] {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_label_counts_wherever_it_stands() {
    let place = Place::new();
    let text = simulated(&place);
    let bars = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let (header, rows) = bars.split_once('\n').expect("a header row");
    for (name, text) in [
        ("behind a byte order mark", format!("\u{feff}{LABEL}\n{bars}\n")),
        ("below other comments", format!("# from a friend\n\n#\n# {LABEL}\n{bars}\n")),
        ("below the header", format!("{header}\n{LABEL}\n{rows}\n")),
        ("at the end", format!("{bars}\n{LABEL}\n")),
        ("with carriage returns", format!("{LABEL}\n{bars}\n").replace('\n', "\r\n")),
        ("with the commas of a spreadsheet", format!("{LABEL},,,,,\n{bars}\n")),
    ] {
        let csv = place.write("AAA.csv", &text);
        let outcome = Run::new("featgen").args(["check", &csv]).succeeds();
        assert!(
            outcome.stdout.contains("SIMULATED (market::simulate 1, seed 3)"),
            "{name}: {}",
            outcome.stdout
        );
        let line = Run::new("featgen").args(["check", &csv, "--source", "NSE"]).fails(1);
        assert!(line.contains("so --source cannot call it real"), "{name}: {line}");
    }
    // In quotes it is no comment to the reader, and so no bar either: refused, not passed over.
    let csv = place.write("AAA.csv", &format!("\"{LABEL}\",,,,,\n{bars}\n"));
    Run::new("featgen").args(["check", &csv]).fails(1);
    let csv = place.write("AAA.csv", &format!("{bars}\n# simulated by somebody\n"));
    let line = Run::new("featgen").args(["check", &csv]).fails(1);
    assert!(line.contains("does not read \"# simulated by GENERATOR, seed N\""), "{line}");
}
