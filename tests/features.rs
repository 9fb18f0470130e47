//! What `featgen` promises: no look-ahead, the same bytes for any thread count, a file that readers read.

mod table;

use std::fs;

use pipe_tests::{Place, Run};
use table::{Columns, read};

fn simulate(place: &Place, symbol: &str, sessions: &str) -> String {
    let csv = place.text(&format!("{symbol}.csv"));
    Run::new("featgen")
        .args(["simulate", "--symbol", symbol, "--seed", "3", "--sessions", sessions, "-o", &csv])
        .succeeds();
    csv
}

fn features_of(place: &Place, csv: &str, out: &str) -> Columns {
    let out = place.text(out);
    Run::new("featgen").args(["--quiet", "--symbol", "BPCL", csv, "-o", &out]).succeeds();
    read(&out)
}

#[test]
fn a_row_does_not_change_when_the_future_is_cut_off_or_altered() {
    let place = Place::new();
    let csv = simulate(&place, "BPCL", "12");
    let text = fs::read_to_string(&csv).expect("bars");
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| line.starts_with(|c: char| c.is_ascii_digit())).expect("a bar");
    let n_bars = lines.len() - head;
    let whole = features_of(&place, &csv, "whole.parquet");
    assert!(whole.len() > 35, "the default preset has about forty features, here {}", whole.len());

    // Within a session, at its last bar, at its first, and one bar in.
    for kept in [n_bars / 2 + 17, 10 * 75, 10 * 75 + 1, 10 * 75 + 2, n_bars - 1] {
        let cut = place.write("cut.csv", &(lines[..head + kept].join("\n") + "\n"));
        let altered: Vec<String> = lines[head + kept..].iter().map(|line| scaled(line, 1.5)).collect();
        let altered = [&lines[..head + kept].join("\n"), altered.join("\n").as_str(), ""].join("\n");
        let altered = place.write("altered.csv", &altered);
        for (what, other) in [("cut", &cut), ("altered", &altered)] {
            let other = features_of(&place, other, "other.parquet");
            assert_eq!(whole.len(), other.len(), "{what} at {kept}: other columns");
            for (name, values) in &whole {
                let differs = (0..kept).find(|&row| values[row] != other[name][row]);
                assert_eq!(differs, None, "{name}: this row changes when later bars are {what} at {kept}");
            }
        }
    }
}

/// A bar with its four prices multiplied.
fn scaled(line: &str, by: f64) -> String {
    let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
    for field in &mut fields[1..5] {
        *field = format!("{:.2}", field.parse::<f64>().expect("a price") * by);
    }
    fields.join(",")
}

#[test]
fn the_file_has_the_same_bytes_for_any_number_of_threads() {
    let place = Place::new();
    let inputs = ["AAA", "BBB", "CCC", "DDD"].map(|symbol| simulate(&place, symbol, "8"));
    let bytes = |threads: &str| {
        let out = place.text("out.parquet");
        Run::new("featgen").args(["--quiet", "--threads", threads, "-o", &out]).args(&inputs).succeeds();
        fs::read(&out).expect("a feature file")
    };
    let one = bytes("1");
    assert!(one == bytes("2"), "two threads give other bytes than one");
    assert!(one == bytes("7"), "seven threads give other bytes than one");
}

#[test]
fn rows_before_a_lookback_are_null_and_all_others_finite() {
    let place = Place::new();
    let columns = features_of(&place, &simulate(&place, "BPCL", "12"), "out.parquet");
    let bars = ["ts", "session", "open", "high", "low", "close", "volume"];
    for (name, values) in columns.iter().filter(|(name, _)| !bars.contains(&name.as_str())) {
        let lookback = values.iter().take_while(|value| value.is_none()).count();
        assert!(lookback < 200, "{name} is null for {lookback} rows");
        let finite = |bits: u64| f32::from_bits(bits as u32).is_finite();
        let bad = values[lookback..].iter().position(|value| !value.is_some_and(finite));
        assert_eq!(bad, None, "{name}: null or not finite this many rows after its lookback");
    }
}

#[test]
fn the_sample_is_what_its_commands_make() {
    let place = Place::new();
    let readme = fs::read_to_string(pipe_tests::root().join("data/README.md")).expect("data/README.md");
    let commands: Vec<&str> =
        readme.split('`').filter(|quoted| quoted.starts_with("featgen simulate --symbol")).collect();
    assert_eq!(commands.len(), 3, "data/README.md gives a command for each of three symbols");
    for command in commands {
        let mut words: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
        let sample = words.last().cloned().expect("an output file");
        let made = place.text("made.csv");
        *words.last_mut().expect("an output file") = made.clone();
        Run::new("featgen").args(&words).succeeds();
        let sample = fs::read(pipe_tests::root().join(&sample)).expect("the sample");
        assert!(
            sample == fs::read(made).expect("made bars"),
            "`{command}` makes other bytes than the sample's"
        );
    }
}
