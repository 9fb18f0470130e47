//! `featgen --append`: new bars come behind those that a partition has, and the values are those of a full run, bit
//! for bit, wherever the bars were cut.

mod table;

use std::fs;

use pipe_tests::{Place, Run};
use table::{info, metadata, read};

const SYMBOLS: [&str; 3] = ["AAA", "M&M", "NIFTY"];

/// Simulated bars of each symbol: the lines above the bars, and the bars.
fn bars(place: &Place, sessions: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let of = |symbol: &&str| {
        let csv = place.text(&format!("{symbol}.csv"));
        Run::new("featgen")
            .args(["simulate", "--symbol", symbol, "--seed", "3", "--sessions", sessions, "-o", &csv])
            .succeeds();
        let text = fs::read_to_string(&csv).expect("bars");
        text.lines().map(str::to_owned).partition(|line| !line.starts_with(|c: char| c.is_ascii_digit()))
    };
    SYMBOLS.iter().map(of).collect()
}

/// A folder with the bars `from..to` of each symbol.
fn folder(place: &Place, name: &str, bars: &[(Vec<String>, Vec<String>)], from: usize, to: usize) -> String {
    fs::create_dir_all(place.path(name)).expect("a folder");
    for (symbol, (head, rows)) in SYMBOLS.iter().zip(bars) {
        let lines = [head, &rows[from..to.min(rows.len())]].concat();
        fs::write(place.path(name).join(format!("{symbol}.csv")), lines.join("\n") + "\n").expect("bars");
    }
    place.text(name)
}

fn part(place: &Place, partition: &str, symbol: &str) -> std::path::PathBuf {
    place.path(partition).join(format!("symbol={symbol}/part-0.parquet"))
}

/// Holds every part of a partition to another's, in values, and in what they say about themselves but for the inputs.
fn same(place: &Place, one: &str, other: &str) {
    same_but(place, one, other, false);
}

fn same_but(place: &Place, one: &str, other: &str, is_filled: bool) {
    for symbol in SYMBOLS {
        let paths = [one, other].map(|partition| part(place, partition, symbol));
        let [a, b] = paths.clone().map(read);
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{symbol}: other columns");
        for (name, values) in &a {
            assert_eq!(values.len(), b[name].len(), "{symbol}: {name} has other rows");
            let differs = (0..values.len()).find(|&row| values[row] != b[name][row]);
            assert_eq!(differs, None, "{symbol}: {name} differs in this row");
        }
        let [mut a, mut b] = paths.map(info);
        a["inputs"].take();
        b["inputs"].take();
        if is_filled {
            // Filled bars cannot be told from others once they are recorded; a full run does not count them.
            a["bars_per_year"].take();
            b["bars_per_year"].take();
        }
        assert_eq!(a, b, "{symbol}");
    }
}

/// Appends at each of these places, and holds what comes out to a full run.
fn check(sessions: &str, cuts: &[usize], options: &[&str]) {
    let place = Place::new();
    let bars = bars(&place, sessions);
    let n = bars[0].1.len();
    let run = |input: &str, out: &str, how: &[&str]| {
        Run::new("featgen").args(["-q", input, "-o", out, "--partition"]).args(how).args(options).succeeds()
    };
    run(&folder(&place, "all", &bars, 0, n), &place.text("full"), &[]);
    let partition = place.text("partition");
    let mut from = 0;
    for (at, &to) in cuts.iter().chain([&n]).enumerate() {
        let input = folder(&place, &format!("new-{at}"), &bars, from, to);
        run(&input, &partition, if at == 0 { &[] } else { &["--append"] });
        from = to;
    }
    same(&place, "partition", "full");
}

/// Within sessions, at their edges and beside them, a bar at a time, and many at a time.
const CUTS: [usize; 11] = [40, 75, 76, 77, 150, 187, 224, 226, 301, 600, 747];

#[test]
fn core_and_its_transforms() {
    check("12", &CUTS, &["--features", "core,core@lag:1,rsi:21@zscore:50@lag:2,sma:20@rank:40"]);
}

#[test]
fn what_traders_chart_within_sessions() {
    check("12", &CUTS, &["--features", "intraday"]);
}

#[test]
fn every_function_of_talib() {
    check("6", &[75, 151, 300, 449], &["--features", "talib", "--double"]);
}

#[test]
fn stable_rows_alone() {
    check("12", &[75, 224, 600], &["--features", "core,ema:20@diff:1,roc:30", "--stable", "1e-4"]);
}

#[test]
fn features_of_two_symbols() {
    check("8", &CUTS[..7], &["--features", "beta_to:NIFTY:20,correlation_to:NIFTY:30,kmid"]);
}

#[test]
fn gaps_are_filled_across_the_cut() {
    let place = Place::new();
    let mut bars = bars(&place, "4");
    for (_, rows) in &mut bars {
        for at in [200, 151, 100, 99, 60] {
            rows.remove(at);
        }
    }
    let n = bars[0].1.len();
    let run = |input: &str, out: &str, how: &[&str]| {
        let out = place.text(out);
        Run::new("featgen")
            .args(["-q", input, "-o", &out, "--partition", "--fill", "session"])
            .args(how)
            .succeeds()
    };
    run(&folder(&place, "all", &bars, 0, n), "full", &[]);
    for (at, pair) in [0, 60, 98, 148, n].windows(2).enumerate() {
        let input = folder(&place, &format!("new-{at}"), &bars, pair[0], pair[1]);
        run(&input, "partition", if at == 0 { &[] } else { &["--append"] });
    }
    same_but(&place, "partition", "full", true);
}

#[test]
fn daily_bars_one_by_one() {
    let place = Place::new();
    let header = "date,open,high,low,close,volume";
    let row = |day: usize| {
        let close = 100.0 + (day * 7 % 11) as f64;
        format!(
            "2024-{:02}-{:02},{close},{},{},{close},10",
            1 + day / 28,
            1 + day % 28,
            close + 1.0,
            close - 1.0
        )
    };
    let write = |name: &str, days: std::ops::Range<usize>| {
        let rows: Vec<String> = days.map(row).collect();
        fs::create_dir_all(place.path(name)).expect("a folder");
        for symbol in SYMBOLS {
            let path = place.path(name).join(format!("{symbol}.csv"));
            fs::write(path, format!("{header}\n{}\n", rows.join("\n"))).expect("bars");
        }
        place.text(name)
    };
    let run = |input: &str, out: &str, how: &[&str]| {
        let out = place.text(out);
        Run::new("featgen").args(["-q", input, "-o", &out, "--partition", "-f", "core"]).args(how).succeeds()
    };
    run(&write("all", 0..100), "full", &[]);
    run(&write("begin", 0..97), "partition", &[]);
    for day in 97..100 {
        run(&write("day", day..day + 1), "partition", &["--append"]);
    }
    same(&place, "partition", "full");
}

#[test]
fn what_disputes_the_record_is_refused_with_the_way_out() {
    let place = Place::new();
    let bars = bars(&place, "4");
    let partition = place.text("partition");
    let append = |input: &str, options: &[&str]| {
        Run::new("featgen").args(["-q", input, "-o", &partition, "--partition", "--append"]).args(options)
    };
    let begin = folder(&place, "begin", &bars, 0, 200);
    Run::new("featgen").args(["-q", &begin, "-o", &partition, "--partition"]).succeeds();
    let digests = || SYMBOLS.map(|symbol| fs::read(part(&place, "partition", symbol)).expect("a part"));
    let before = digests();

    // Copies are no news, and nothing is written.
    append(&begin, &[]).succeeds();
    let mut changed = bars.clone();
    changed[0].1[150] = scaled(&bars[0].1[150]);
    let overlapping = folder(&place, "overlapping", &changed, 140, 250);
    let line = append(&overlapping, &[]).fails(1);
    assert!(
        line.contains("AAA: the bar of 2024-01-03") && line.contains("--dedup first or --dedup last"),
        "{line}"
    );
    let line = append(&folder(&place, "more", &bars, 200, 250), &["-f", "kmid"]).fails(1);
    assert!(line.contains("symbol=AAA/part-0.parquet: holds other features"), "{line}");
    for (options, expected) in [
        (&["--double"][..], "another --double"),
        (&["--stable", "1e-4"], "another --stable"),
        (&["--stamp", "close"], "another --stamp"),
        (&["--fill", "session"], "another --fill"),
        (&["--timezone", "America/New_York"], "--timezone"),
    ] {
        let line = append(&place.text("more"), options).fails(1);
        assert!(line.contains(expected), "{line}");
    }
    let daily: Vec<String> = (1..9).map(|day| format!("2024-02-0{day},1,1,1,1,1")).collect();
    let daily = place.write("AAA.csv", &format!("date,open,high,low,close,volume\n{}\n", daily.join("\n")));
    let line = append(&daily, &["--timezone", "+05:30"]).fails(1);
    assert!(line.contains("not the bars of 300 s"), "{line}");
    let out = place.text("out.parquet");
    let line = Run::new("featgen").args(["-q", &begin, "-o", &out, "--append"]).fails(2);
    assert!(line.contains("add --partition"), "{line}");
    assert!(digests() == before, "a refused job has changed a part");

    // Settled either way, the values are those of a full run over the bars that were meant.
    append(&overlapping, &["--dedup", "first"]).succeeds();
    let full = place.text("full");
    let all = folder(&place, "all", &bars, 0, 250);
    Run::new("featgen").args(["-q", &all, "-o", &full, "--partition"]).succeeds();
    same(&place, "partition", "full");
    append(&overlapping, &["--dedup", "last"]).succeeds();
    let all = folder(&place, "all", &changed, 0, 250);
    Run::new("featgen").args(["-q", &all, "-o", &full, "--partition"]).succeeds();
    same(&place, "partition", "full");

    // A bar that comes late finds its place where that is asked for.
    let mut gap = bars.clone();
    for (_, rows) in &mut gap {
        rows.remove(30);
    }
    let part_of = folder(&place, "gap", &gap, 0, 200);
    Run::new("featgen").args(["-q", &part_of, "-o", &partition, "--partition"]).succeeds();
    let late = folder(&place, "late", &bars, 20, 260);
    let line = append(&late, &[]).fails(1);
    assert!(line.contains("older than what is recorded") && line.contains("--sort"), "{line}");
    append(&late, &["--sort"]).succeeds();
    let all = folder(&place, "all", &bars, 0, 260);
    Run::new("featgen").args(["-q", &all, "-o", &full, "--partition"]).succeeds();
    same(&place, "partition", "full");
}

/// A bar with its prices moved a little.
fn scaled(line: &str) -> String {
    let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
    for field in &mut fields[1..5] {
        *field = format!("{:.2}", field.parse::<f64>().expect("a price") * 1.01);
    }
    fields.join(",")
}

#[test]
fn what_is_odd_about_the_bars_stands_in_the_metadata() {
    let place = Place::new();
    let row = |bar: usize, volume: usize| {
        format!("2024-01-01 {:02}:{:02}:00+05:30,5,5,5,5,{volume}\n", 9 + bar / 12, bar % 12 * 5)
    };
    let rows: Vec<String> = (4..40).map(|bar| row(bar, usize::from(bar != 7 && bar != 30))).collect();
    let head = "date,open,high,low,close,volume\n";
    // The first half has its second bar twice.
    let half = [head, &rows[..2].concat(), &rows[1], &rows[2..18].concat()].concat();
    let csv = place.write("A.csv", &half);
    let findings = |out: &str| metadata(place.path(out), "featgen.record")["findings"]["A"].clone();
    let counts = |out: &str| -> Vec<(String, u64)> {
        let list = findings(out).as_array().expect("findings").clone();
        let pair = |finding: &serde_json::Value| {
            (
                finding["oddity"].as_str().expect("a kind").to_owned(),
                finding["count"].as_u64().expect("a count"),
            )
        };
        list.iter().map(pair).collect()
    };
    let run = |input: &str, out: &str, how: &[&str]| {
        Run::new("featgen").args(["-q", input, "-o", &place.text(out), "-f", "kmid"]).args(how).succeeds()
    };
    run(&csv, "one.parquet", &[]);
    let expected = [("exact_copies".to_owned(), 1), ("zero_volume".to_owned(), 1)];
    assert_eq!(counts("one.parquet"), expected);
    assert!(findings("one.parquet")[1]["first"].as_str().is_some_and(|first| first.contains("09:40")));
    run(&csv, "parts", &["--partition"]);
    assert_eq!(counts("parts/symbol=A/part-0.parquet"), expected);

    // What is appended speaks for its rows, and the part for all of its bars.
    let csv = place.write("A.csv", &[head, &rows[18..].concat()].concat());
    run(&csv, "parts", &["--partition", "--append"]);
    assert_eq!(counts("parts/symbol=A/part-0.parquet"), [("zero_volume".to_owned(), 2)]);
}
