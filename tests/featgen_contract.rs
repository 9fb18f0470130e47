//! What `featgen` makes of bars that need a word from their user: each option by a known answer, and each refusal with
//! the option that settles it.

use std::fs::File;

use arrow::array::{Array, Float64Array};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipe_tests::{Place, Run};

const HEADER: &str = "date,open,high,low,close,volume";

/// Five-minute bars of one day, one for each entry `HH:MM price volume`.
fn bars(entries: &[&str]) -> String {
    let row = |entry: &&str| {
        let words: Vec<&str> = entry.split(' ').collect();
        let price = words[1];
        format!("2024-01-01 {}:00+05:30,{price},{price},{price},{price},{}\n", words[0], words[2])
    };
    format!("{HEADER}\n{}", entries.iter().map(row).collect::<String>())
}

/// The closes and volumes that `featgen` writes, and what it says.
fn made(place: &Place, text: &str, options: &str) -> (Vec<f64>, Vec<f64>, String) {
    let csv = place.write("A.csv", text);
    let out = place.text("out.parquet");
    let outcome = Run::new("featgen").args([&csv, "-o", &out, "-f", "kmid"]).words(options).succeeds();
    let file = File::open(out).expect("a feature file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
    let (mut close, mut volume) = (Vec::new(), Vec::new());
    for batch in reader {
        let batch = batch.expect("a batch");
        for (name, values) in [("close", &mut close), ("volume", &mut volume)] {
            let column = batch.column_by_name(name).expect("a column");
            let column = column.as_any().downcast_ref::<Float64Array>().expect("f64");
            values.extend((0..column.len()).map(|row| column.value(row)));
        }
    }
    (close, volume, outcome.stderr)
}

fn refused(place: &Place, text: &str, options: &str) -> String {
    let csv = place.write("A.csv", text);
    Run::new("featgen").args(["check", &csv]).words(options).fails(1)
}

#[test]
fn disorder_conflicts_and_bad_rows_are_settled_by_an_option_that_the_error_names() {
    let place = Place::new();
    let disorder = bars(&["09:15 1 5", "09:25 3 5", "09:20 2 5", "09:30 4 5"]);
    let line = refused(&place, &disorder, "");
    assert!(
        line.contains("A.csv: line 4: steps back in time behind line 3") && line.contains("--sort"),
        "{line}"
    );
    let (close, _, said) = made(&place, &disorder, "--sort");
    assert_eq!(close, [1.0, 2.0, 3.0, 4.0]);
    assert!(said.contains("rows put in order: 1 (first: line 4)"), "{said}");

    let conflict = bars(&["09:15 1 5", "09:20 2 5", "09:20 9 5", "09:25 3 5"]);
    let line = refused(&place, &conflict, "");
    assert!(line.contains("line 4: disagrees with line 3") && line.contains("--dedup first"), "{line}");
    for (option, expected) in [("--dedup first", 2.0), ("--dedup last", 9.0)] {
        let (close, _, said) = made(&place, &conflict, option);
        assert_eq!(close, [1.0, expected, 3.0]);
        assert!(said.contains("conflicting rows settled: 1 (first: line 4)"), "{said}");
    }

    let bad = bars(&["09:15 1 5", "09:20 n/a 5", "09:25 3 5", "09:30 -4 5", "09:35 5 5"]);
    let line = refused(&place, &bad, "");
    assert!(
        line.contains("line 3: open \"n/a\" is not a number") && line.contains("--bad-rows skip"),
        "{line}"
    );
    let (close, _, said) = made(&place, &bad, "--bad-rows skip");
    assert_eq!(close, [1.0, 3.0, 5.0]);
    assert!(said.contains("bad rows skipped: 2 (first: line 3: open \"n/a\" is not a number)"), "{said}");
    let line = refused(&place, &bad, "--bad-rows skip --strict");
    assert!(line.contains("bad rows skipped: 2") && line.contains("--strict"), "{line}");
}

#[test]
fn columns_are_what_the_user_says() {
    let place = Place::new();
    let text = "Day,Time,First,High,Low,close,LTP,Shares\n\
                2024-01-01,09:15:00,1,2,1,7,2,10\n2024-01-01,09:20:00,2,2,1,7,1,20\n";
    let line = refused(&place, text, "");
    assert!(line.contains("no open column among") && line.contains("--columns open=HEADER"), "{line}");
    let (close, volume, _) =
        made(&place, text, "--columns ts=Day,time_of_day=Time,open=first,close=LTP,volume=Shares");
    assert_eq!((close, volume), (vec![2.0, 1.0], vec![10.0, 20.0]));
    let line = refused(&place, text, "--columns open=Opening");
    assert!(line.contains("no column \"Opening\"") && line.contains("mend --columns open=Opening"), "{line}");
    let csv = place.text("A.csv");
    let line = Run::new("featgen").args(["check", &csv, "--columns", "last=LTP"]).fails(2);
    assert!(line.contains("\"last\" is no column that bars have"), "{line}");
}

#[test]
fn gaps_are_filled_and_splits_applied_by_explicit_option_alone() {
    let place = Place::new();
    let gap = bars(&["09:15 1 5", "09:20 2 5", "09:35 3 5", "09:40 4 5"]);
    let (close, _, said) = made(&place, &gap, "");
    assert_eq!(close.len(), 4);
    assert!(said.contains("gaps inside a session: 1"), "{said}");
    let (close, volume, said) = made(&place, &gap, "--fill session");
    assert_eq!(close, [1.0, 2.0, 2.0, 2.0, 3.0, 4.0]);
    assert_eq!(volume, [5.0, 5.0, 0.0, 0.0, 5.0, 5.0]);
    assert!(said.contains("bars filled in where they were missing: 2 (first: 2024-01-01 09:30)"), "{said}");

    let daily = format!(
        "{HEADER}\n2016-07-11,100,100,100,100,6\n2016-07-12,100,100,100,100,6\n2016-07-13,50,50,50,50,12\n"
    );
    let (close, _, said) = made(&place, &daily, "");
    assert_eq!(close, [100.0, 100.0, 50.0]);
    assert!(said.contains("split-like jumps (prices look unadjusted): 1 (first: 2016-07-13"), "{said}");
    let list = place.write("splits.csv", "symbol,date,ratio\nA,2016-07-13,2:1\n");
    let (close, volume, said) = made(&place, &daily, &format!("--splits {list}"));
    assert_eq!((close, volume), (vec![50.0; 3], vec![12.0; 3]));
    assert!(
        said.contains("splits.csv: 2 rows of 1 symbol adjusted") && !said.contains("split-like"),
        "{said}"
    );
    let list = place.write("splits.csv", "symbol,date,ratio\nA,2016-07-13,half\n");
    let line = refused(&place, &daily, &format!("--splits {list}"));
    assert!(line.contains("splits.csv: line 2: ratio \"half\"") && line.contains("--splits"), "{line}");
}

#[test]
fn commas_are_thousands_or_nothing() {
    let place = Place::new();
    let with = |close: &str| {
        let row = |day: u32, close: &str| format!("2024-01-{day:02};5;999999;5;{close};5\n");
        format!("date;open;high;low;close;volume\n{}{}", row(1, "10"), row(2, close))
    };
    for (text, expected) in [("1,234.5", 1234.5), ("12,34,567", 1_234_567.0), ("1,234,567", 1_234_567.0)] {
        let text = with(text).replace("999999", "9999999");
        assert_eq!(made(&place, &text, "").0, [10.0, expected]);
    }
    for text in ["299,85", "299,8", "1.299,85", "5,", ",500", "1,2,3"] {
        let line = refused(&place, &with(text), "");
        assert!(line.contains(&format!("line 3: close \"{text}\" is not a number")), "{line}");
    }
}

#[test]
fn a_high_below_the_low_is_a_bad_row() {
    let place = Place::new();
    let text = format!("{HEADER}\n2024-01-01,5,6,4,5,1\n2024-01-02,5,4,6,5,1\n2024-01-03,5,6,4,5,1\n");
    let line = refused(&place, &text, "");
    assert!(line.contains("line 3: high 4 is below low 6") && line.contains("--bad-rows skip"), "{line}");
    assert_eq!(made(&place, &text, "--bad-rows skip").0.len(), 2);
}

#[test]
fn bars_of_an_evening_are_known_when_they_end_and_longer_ones_than_a_day_are_refused() {
    let place = Place::new();
    let hours = |day: u32, hours: std::ops::Range<u32>| -> String {
        let rows = hours.map(|hour| format!("2024-01-{day:02} {hour:02}:00:00+05:30,5,5,5,5,1\n"));
        rows.collect::<Vec<_>>().concat()
    };
    let csv = |text: &str| place.write("A.csv", &format!("{HEADER}\n{text}"));
    let known = |text: &str| {
        let out = place.text("out.csv");
        let input = csv(text);
        Run::new("featgen").args([&input, "-o", &out, "-f", "kmid", "--format", "csv", "-q"]).succeeds();
        let text = std::fs::read_to_string(out).expect("rows");
        let times =
            text.lines().filter(|line| line.starts_with("20")).map(|line| line[..16].replace('T', " "));
        times.collect::<Vec<_>>()
    };
    // Commodities trade from nine to eleven in the evening: the bar of 15:00 is known at 16:00, which is 10:30 in UTC.
    let evenings: String = (1..=12).map(|day| hours(day, 9..23)).collect();
    assert_eq!(known(&evenings)[6], "2024-01-01 10:30");
    // Shares until 15:30; one evening of Muhurat trading changes nothing for the other days.
    let days: String = (1..=12).map(|day| hours(day, 9..16)).collect();
    assert_eq!(known(&days)[6], "2024-01-01 10:00");
    assert_eq!(known(&format!("{days}{}", hours(13, 18..20)))[6], "2024-01-01 10:00");

    let weeks = (0..6).map(|week| format!("2024-01-{:02},5,5,5,5,1\n", 1 + 5 * week));
    let weeks = weeks.collect::<Vec<_>>().concat();
    let line = Run::new("featgen").args(["check", &csv(&weeks)]).fails(1);
    assert!(line.contains("bars of 5 days") && line.contains("give daily bars"), "{line}");
}
