//! `featgen` in batch jobs: proof against look-ahead, rows that depend on where a series starts, other symbols.

use pipe_tests::{Place, Run};

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
