//! `featgen` in batch jobs: proof against look-ahead, rows that depend on where a series starts, other symbols.

use pipe_tests::{Place, Run, bin};

/// A folder of simulated symbols.
fn folder(place: &Place, symbols: &[&str], sessions: &str) -> String {
    std::fs::create_dir_all(place.path("in")).expect("a folder");
    for symbol in symbols {
        let csv = place.text(&format!("in/{symbol}.csv"));
        Run::new("featgen")
            .args(["simulate", "--symbol", symbol, "--seed", "3", "--sessions", sessions, "-o", &csv])
            .succeeds();
    }
    place.text("in")
}

#[test]
fn verify_proves_presets_and_features_of_two_symbols() {
    let place = Place::new();
    let input = folder(&place, &["AAA", "BBB"], "5");
    let outcome = Run::new("featgen")
        .args(["verify", &input, "--features", "core,intraday,finrl,beta_to:BBB:20,pivot,rsi@rank:30"])
        .succeeds();
    assert!(outcome.stderr.contains("AAA: no look-ahead in "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("BBB: no look-ahead in "), "{}", outcome.stderr);
    let line = Run::new("featgen").args(["verify", &input, "-f", "beta_to:CCC"]).fails(2);
    assert!(line.contains("the batch has no symbol CCC"), "{line}");
}

#[test]
fn a_specification_may_stand_in_a_toml_file() {
    let place = Place::new();
    let input = folder(&place, &["AAA"], "3");
    let toml = place.write("features.toml", "features = [\"kmid\", \"rsi:21@lag:1\"]\n");
    let out = place.text("out.parquet");
    let outcome = Run::new("featgen").args([&input, "-o", &out, "-f", &toml]).succeeds();
    assert!(outcome.stderr.contains("2 features"), "{}", outcome.stderr);
    let toml = place.write("wrong.toml", "feature = 3\n");
    let line = Run::new("featgen").args([&input, "-o", &out, "-f", &toml]).fails(2);
    assert!(line.contains("wrong.toml: "), "{line}");
}

#[test]
fn what_never_forgets_its_start_cannot_be_stable() {
    let place = Place::new();
    let input = folder(&place, &["AAA"], "10");
    let out = place.text("out.parquet");
    let run =
        |features: &str| Run::new("featgen").args([&input, "-o", &out, "--stable", "1e-4", "-f", features]);
    run("rsi,sma:20").succeeds();
    let line = run("rsi,obv").fails(2);
    assert!(line.contains("--stable: obv never forgets where the series starts"), "{line}");
}

#[test]
fn a_batch_goes_on_without_bad_files_and_lists_them() {
    let place = Place::new();
    let input = folder(&place, &["AAA", "CCC"], "3");
    std::fs::write(place.path("in/BBB.csv"), "date,open\n2024-01-01,1\n").expect("a bad file");
    let out = place.text("out.parquet");
    let line = Run::new("featgen").args([&input, "-o", &out]).fails(1);
    assert!(line.contains("BBB.csv: line 1: no close column"), "{line}");
    let outcome = Run::new("featgen").args([&input, "-o", &out, "--on-error", "skip"]).ends();
    assert_eq!(outcome.status.code(), Some(3), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("2 symbols"), "{}", outcome.stderr);
    let list = std::fs::read_to_string(place.path("out.parquet.skipped.json")).expect("a list");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert!(list[0]["file"].as_str().expect("a path").ends_with("BBB.csv"), "{list}");
    assert_eq!(list.as_array().expect("a list").len(), 1);
    std::fs::remove_file(place.path("in/BBB.csv")).expect("a file");
    Run::new("featgen").args([&input, "-o", &out, "--on-error", "skip"]).succeeds();
    assert!(!place.path("out.parquet.skipped.json").exists(), "an old list stays");
}

#[test]
fn bars_and_features_go_through_pipes() {
    let place = Place::new();
    let input = folder(&place, &["AAA"], "3");
    let csv = format!("{input}/AAA.csv");
    let direct = Run::new("featgen").args(["-q", &csv, "-o", "-", "--format", "csv"]).succeeds().stdout;
    assert!(
        direct.starts_with("# simulated by market::simulate 1, seed 3\nts,symbol,session,open,"),
        "{direct:.200}"
    );
    assert_eq!(direct.lines().count(), 2 + 3 * 75);
    // Through Arrow IPC and back: the same bars, the same label, so the same features.
    let ipc = place.text("bars.arrow");
    Run::new("featgen").args(["-q", &csv, "-o", &ipc, "--format", "ipc", "-f", "kmid"]).succeeds();
    let list = place.write("list.txt", &format!("# one file\n{ipc}\n"));
    let args =
        ["-q", &format!("@{list}"), "--stamp", "close", "--timezone", "+05:30", "-o", "-", "--format", "csv"];
    assert_eq!(Run::new("featgen").args(args).succeeds().stdout, direct);
    let line = Run::new("featgen").args(["-q", &csv, "-o", "-"]).fails(2);
    assert!(line.contains("choose --format ipc or csv"), "{line}");
}

#[test]
fn strict_makes_every_oddity_an_error() {
    let place = Place::new();
    let input = folder(&place, &["AAA"], "3");
    let text = std::fs::read_to_string(format!("{input}/AAA.csv")).expect("bars");
    let short: Vec<&str> = text.lines().filter(|line| !line.contains(" 15:25:00")).collect();
    let fewer = text.lines().count() - short.len();
    assert_eq!(fewer, 3, "one bar less in each session");
    let dropped = text.lines().last().expect("a bar");
    let csv = place.write("AAA.csv", text.strip_suffix(&format!("{dropped}\n")).expect("the last line"));
    let out = place.text("out.parquet");
    let outcome = Run::new("featgen").args([&csv, "-o", &out]).succeeds();
    assert!(
        outcome.stderr.contains("sessions with fewer bars than usual: 1 (first: 74 bars"),
        "{}",
        outcome.stderr
    );
    let line = Run::new("featgen").args(["-q", &csv, "-o", &out, "--strict"]).fails(1);
    assert!(line.contains("(--strict)"), "{line}");
}

#[test]
fn megabytes_go_through_a_pipe_and_a_closed_one_ends_it() {
    let place = Place::new();
    let csv = place.text("A.csv");
    let featgen = bin("featgen").display().to_string();
    Run::new("featgen")
        .args(["simulate", "--symbol", "A", "--seed", "1", "--sessions", "60", "-o", &csv])
        .succeeds();
    for format in ["csv", "ipc"] {
        let script = format!("'{featgen}' -q '{csv}' -o - --format {format} | wc -c");
        let bytes = Run::program("bash").args(["-o", "pipefail", "-c", &script]).succeeds().stdout;
        assert!(bytes.trim().parse::<u64>().expect("a count") > 1 << 20, "{format}: {bytes}");
        let script = format!("'{featgen}' -q '{csv}' -o - --format {format} | head -c 1000 > /dev/null");
        Run::program("bash").args(["-o", "pipefail", "-c", &script]).succeeds();
    }
}
