//! `featgen --partition`: a part for each symbol, made anew or brought up to date, all in one calendar, whole whatever
//! happens.

mod table;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use pipe_tests::{Outcome, Place, Run};
use rustix::process::Signal;
use table::{info, read};

fn simulate(place: &Place, path: &str, symbol: &str, seed: &str, sessions: &str) {
    let csv = place.text(path);
    fs::create_dir_all(place.path(path).parent().expect("a folder")).expect("a folder");
    Run::new("featgen")
        .args(["simulate", "--symbol", symbol, "--seed", seed, "--sessions", sessions, "-o", &csv])
        .succeeds();
}

/// The paths of all files below a folder, hidden ones too, without the folder's own.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Which file stands behind each path: a file that was written again is another one.
fn identities(folder: &Path) -> BTreeMap<String, u64> {
    let inode = |path: &String| fs::metadata(folder.join(path)).expect("a file").ino();
    files(folder).into_iter().map(|path| (path.clone(), inode(&path))).collect()
}

/// Runs a job into the partition `out`; gives what it said as JSON.
fn job(place: &Place, input: &str, out: &str, options: &[&str]) -> serde_json::Value {
    let (input, out) = (place.text(input), place.text(out));
    let outcome: Outcome = Run::new("featgen")
        .args(["-q", "--json", &input, "-o", &out, "--partition"])
        .args(options)
        .succeeds();
    assert_eq!(outcome.stderr, "");
    serde_json::from_str(&outcome.stdout).expect("one object")
}

/// Holds a partition to another: the same files, values and descriptions.
fn same(one: &Path, other: &Path) {
    assert_eq!(files(one), files(other));
    for file in files(one) {
        assert!(read(one.join(&file)) == read(other.join(&file)), "{file}: other values");
        assert_eq!(info(one.join(&file)), info(other.join(&file)), "{file}");
    }
}

#[test]
fn a_symbol_stands_in_the_path_alone_whatever_it_is_called() {
    let place = Place::new();
    let names = [
        ("BPCL", "symbol=BPCL"),
        ("M&M", "symbol=M&M"),
        ("L&T FH", "symbol=L&T FH"),
        ("USD/INR=X", "symbol=USD%2FINR%3DX"),
        ("100%", "symbol=100%25"),
        ("..", "symbol=.."),
    ];
    let mut rows = String::from("symbol,date,open,high,low,close,volume\n");
    for (symbol, _) in names {
        rows += &(1..=28)
            .fold(String::new(), |rows, day| rows + &format!("{symbol},2024-01-{day:02},5,6,4,5,1\n"));
    }
    place.write("all.csv", &rows);
    let said = job(&place, "all.csv", "out", &["-f", "sma:5,rsi"]);
    assert_eq!(
        (&said["symbols"], &said["symbols_written"], &said["rows"]),
        (&6.into(), &6.into(), &168.into())
    );
    let mut expected: Vec<String> =
        names.iter().map(|(_, folder)| format!("{folder}/part-0.parquet")).collect();
    expected.sort();
    assert_eq!(files(&place.path("out")), expected);
    let columns = read(place.path("out/symbol=M&M/part-0.parquet"));
    assert!(!columns.contains_key("symbol") && columns.contains_key("sma_5"), "{:?}", columns.keys());
    // Bars in parts are bars again, under the name that their folder says.
    let part = place.text("out/symbol=USD%2FINR%3DX/part-0.parquet");
    let csv = Run::new("featgen")
        .args(["-q", &part, "-f", "sma:5", "-o", "-", "--format", "csv"])
        .succeeds()
        .stdout;
    assert!(csv.contains(",USD/INR=X,0,"), "{csv:.200}");
    // The names that differ in case alone would be one on a Mac.
    place.write("case.csv", &rows.replace("\n100%", "\nbpcl"));
    let out = place.text("case");
    let line = Run::new("featgen").args(["-q", &place.text("case.csv"), "-o", &out, "--partition"]).fails(1);
    assert!(line.contains("BPCL and bpcl would share a folder"), "{line}");
    assert!(!place.path("case").exists(), "a folder of a job that failed");
}

#[test]
fn envpool_reads_a_partition_as_it_reads_one_file() {
    let place = Place::new();
    for symbol in ["AAA", "M&M"] {
        simulate(&place, &format!("in/{symbol}.csv"), symbol, "3", "12");
    }
    job(&place, "in", "out", &[]);
    let (input, whole) = (place.text("in"), place.text("whole.parquet"));
    Run::new("featgen").args(["-q", &input, "-o", &whole]).succeeds();
    let describe = |path: &str| Run::new("envpool").args(["describe", path]).succeeds().stdout;
    assert_eq!(describe(&place.text("out")), describe(&whole));
    let part = describe(&place.text("out/symbol=M&M/part-0.parquet"));
    assert!(part.contains("M&M (900 rows)"), "{part}");
}

#[test]
fn what_would_come_out_as_it_is_stays() {
    let place = Place::new();
    for symbol in ["AAA", "BBB", "CCC"] {
        simulate(&place, &format!("in/{symbol}.csv"), symbol, "3", "6");
    }
    let out = place.path("out");
    let update = |options: &[&str]| job(&place, "in", "out", &[&["--update"], options].concat());
    let counts = |said: &serde_json::Value| {
        ["symbols_written", "symbols_unchanged", "symbols_kept"]
            .map(|name| said[name].as_u64().expect("a count"))
    };
    assert_eq!(counts(&update(&[])), [3, 0, 0]);
    let first = identities(&out);
    assert_eq!(counts(&update(&[])), [0, 3, 0]);
    assert_eq!(identities(&out), first);

    // One input with more bars is one part written again, and no other knows of the new date.
    simulate(&place, "in/BBB.csv", "BBB", "3", "7");
    let said = update(&[]);
    assert_eq!(counts(&said), [1, 2, 0]);
    assert!(
        said["outputs"][0]["path"].as_str().expect("a path").ends_with("symbol=BBB/part-0.parquet"),
        "{said}"
    );
    let second = identities(&out);
    let differing: Vec<_> = first.iter().filter(|(path, inode)| second[*path] != **inode).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    // Of two seeds, the whole batch is of two seeds, as every part must say.
    simulate(&place, "in/BBB.csv", "BBB", "4", "7");
    assert_eq!(counts(&update(&[])), [3, 0, 0]);
    assert!(info(out.join("symbol=AAA/part-0.parquet"))["provenance"].to_string().contains("seed 4"));

    // Features, options that change values, and strictness that was not asked for then.
    for options in [
        &["-f", "core,rsi:21"][..],
        &["-f", "core,rsi:21", "--double"],
        &["-f", "rsi", "--stable", "1e-4"],
        &["-f", "rsi"],
        &["-f", "rsi", "--stamp", "close"],
        &["-f", "rsi", "--strict"],
    ] {
        assert_eq!(counts(&update(options)), [3, 0, 0], "{options:?}");
        assert_eq!(counts(&update(options)), [0, 3, 0], "{options:?}");
    }
    assert_eq!(counts(&update(&["-f", "rsi", "--threads", "1"])), [0, 3, 0]);

    // A part that a crash cut short is made again; one that is not ours is spared.
    let part = out.join("symbol=AAA/part-0.parquet");
    let bytes = fs::read(&part).expect("a part");
    fs::write(&part, &bytes[..bytes.len() / 2]).expect("a part");
    assert_eq!(counts(&update(&["-f", "rsi", "--strict"])), [1, 2, 0]);
    assert!(fs::read(&part).expect("a part") == bytes);
    fs::write(out.join("symbol=AAA/mine.parquet"), "x").expect("a file");
    let args = ["-q", &place.text("in"), "-o", &place.text("out"), "--partition", "--update"];
    let line = Run::new("featgen").args(args).fails(1);
    assert!(line.contains("mine.parquet: is no file of featgen's"), "{line}");
}

#[test]
fn one_file_is_left_alone_by_the_same_rules() {
    let place = Place::new();
    for symbol in ["AAA", "BBB"] {
        simulate(&place, &format!("in/{symbol}.csv"), symbol, "3", "6");
    }
    let (input, out) = (place.text("in"), place.text("out.parquet"));
    let inode = || fs::metadata(&out).expect("a file").ino();
    let update = |options: &[&str]| {
        let outcome = Run::new("featgen").args([&input, "-o", &out, "--update"]).args(options).succeeds();
        (outcome.stderr.contains("2 unchanged, nothing to write"), inode())
    };
    let (is_unchanged, first) = update(&[]);
    assert!(!is_unchanged);
    assert_eq!(update(&[]), (true, first));
    assert!(!update(&["-f", "rsi"]).0);
    assert!(!update(&[]).0);
    simulate(&place, "in/CCC.csv", "CCC", "3", "6");
    assert!(!update(&[]).0);
    // What was left out may be mended by now.
    fs::write(place.path("in/CCC.csv"), "date\n").expect("a file");
    let run = || Run::new("featgen").args([&input, "-o", &out, "--update", "--on-error", "skip"]).ends();
    for _ in 0..2 {
        assert_eq!(run().status.code(), Some(3));
    }
    let csv = place.text("out.csv");
    let line = Run::new("featgen").args([&input, "-o", &csv, "--format", "csv", "--update"]).fails(2);
    assert!(line.contains("--update: only Parquet files"), "{line}");
}

#[test]
fn a_date_in_between_moves_the_ordinals_of_all_parts() {
    let place = Place::new();
    simulate(&place, "all/AAA.csv", "AAA", "3", "10");
    simulate(&place, "all/BBB.csv", "BBB", "3", "10");
    simulate(&place, "all/CCC.csv", "CCC", "3", "10");
    // AAA begins late, and BBB knows nothing of two dates in the middle and of the last two.
    let text = fs::read_to_string(place.path("all/AAA.csv")).expect("bars");
    let without = |dates: &[&str]| {
        let is_kept = |line: &&str| dates.iter().all(|date| !line.starts_with(date));
        text.lines().filter(is_kept).collect::<Vec<_>>().join("\n") + "\n"
    };
    let dates: Vec<&str> = {
        let mut dates: Vec<&str> =
            text.lines().filter(|line| line.starts_with("20")).map(|line| &line[..10]).collect();
        dates.dedup();
        dates
    };
    assert_eq!(dates.len(), 10);
    fs::create_dir_all(place.path("some")).expect("a folder");
    fs::write(place.path("all/AAA.csv"), without(&dates[..4])).expect("bars");
    fs::copy(place.path("all/AAA.csv"), place.path("some/AAA.csv")).expect("bars");
    let b = [&dates[4..6], &dates[8..]].concat();
    fs::write(place.path("all/BBB.csv"), without(&[&b[..], &dates[..4]].concat())).expect("bars");
    fs::copy(place.path("all/BBB.csv"), place.path("some/BBB.csv")).expect("bars");
    fs::write(place.path("all/CCC.csv"), without(&dates[9..])).expect("bars");

    let session = |out: &str| read(place.path(out).join("symbol=AAA/part-0.parquet"))["session"][0];
    for how in [&["--update"][..], &["--append"], &[]] {
        let _ = fs::remove_dir_all(place.path("out"));
        let _ = fs::remove_dir_all(place.path("full"));
        job(&place, "some", "out", &[]);
        assert_eq!(session("out"), Some(0));
        // CCC alone is given, and has earlier dates.
        let said = job(&place, "all/CCC.csv", "out", how);
        assert_eq!((&said["symbols"], &said["symbols_written"]), (&3.into(), &3.into()), "{how:?}");
        assert_eq!(session("out"), Some(4));
        job(&place, "all", "full", &[]);
        same(&place.path("out"), &place.path("full"));
        let before = identities(&place.path("out"));
        let said = job(&place, "all", "out", &["--update"]);
        assert_eq!(said["symbols_unchanged"], 3, "{how:?}");
        assert_eq!(identities(&place.path("out")), before);
    }
}

#[test]
fn parts_that_are_kept_must_fit() {
    let place = Place::new();
    simulate(&place, "in/AAA.csv", "AAA", "3", "4");
    simulate(&place, "more/BBB.csv", "BBB", "3", "4");
    job(&place, "in", "out", &["-f", "rsi"]);
    let run = |options: &[&str]| {
        let (input, out) = (place.text("more"), place.text("out"));
        Run::new("featgen").args([&input, "-o", &out, "--partition"]).args(options)
    };
    let before = identities(&place.path("out"));
    let line = run(&["-q", "-f", "kmid"]).fails(1);
    assert!(line.contains("symbol=AAA/part-0.parquet: holds other features (make it anew"), "{line}");
    assert_eq!(identities(&place.path("out")), before);
    let outcome = run(&["-f", "rsi"]).succeeds();
    assert!(
        outcome.stderr.contains("keeps a symbol that the inputs do not have, such as AAA"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("1 of 2 symbols written, 1 kept"), "{}", outcome.stderr);
    let line = run(&["-q", "-f", "rsi", "--format", "csv"]).fails(2);
    assert!(line.contains("--partition: parts are Parquet files"), "{line}");
    run(&["-q", "--update", "--append"])
        .ends()
        .status
        .code()
        .filter(|&code| code == 2)
        .expect("a usage error");
    let input = place.text("out/symbol=AAA/part-0.parquet");
    let line = Run::new("featgen").args(["-q", &input, "-o", &place.text("out"), "--partition"]).fails(2);
    assert!(line.contains("is an input inside the output folder"), "{line}");
}

#[test]
fn a_batch_leaves_out_what_is_bad_and_keeps_its_part() {
    let place = Place::new();
    for symbol in ["AAA", "BBB"] {
        simulate(&place, &format!("in/{symbol}.csv"), symbol, "3", "4");
    }
    job(&place, "in", "out", &[]);
    let before = identities(&place.path("out"));
    fs::write(place.path("in/BBB.csv"), "date,open\n2024-01-01,1\n").expect("a file");
    let (input, out) = (place.text("in"), place.text("out"));
    let args = ["-q", "--json", &input, "-o", &out, "--partition", "--update", "--on-error", "skip"];
    let outcome = Run::new("featgen").args(args).ends();
    assert_eq!(outcome.status.code(), Some(3), "{}", outcome.stderr);
    let said: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("one object");
    assert_eq!((&said["symbols_unchanged"], &said["symbols_kept"]), (&1.into(), &1.into()), "{said}");
    assert!(said["left_out"][0]["file"].as_str().expect("a path").ends_with("BBB.csv"), "{said}");
    assert!(place.path("out.skipped.json").exists());
    assert_eq!(identities(&place.path("out")), before);
}

#[test]
fn whoever_is_stopped_or_killed_leaves_whole_files() {
    let place = Place::new();
    for symbol in 0..16 {
        simulate(&place, &format!("in/S{symbol}.csv"), &format!("S{symbol}"), "3", "30");
    }
    job(&place, "in", "out", &["-f", "core"]);
    let expected = files(&place.path("out"));
    let mut stream = random::Stream::new(7, random::Purpose::Test, 0, 0);
    let (input, out) = (place.text("in"), place.text("out"));
    let mut n_stopped = 0;
    for round in 0..20 {
        let features = ["core,alpha158", "core,intraday"][round % 2];
        let mut guard = Run::new("featgen").args([&input, "-o", &out, "--partition", "-f", features]).start();
        sleep(Duration::from_micros(stream.below(400_000)));
        let signal = [Signal::TERM, Signal::INT, Signal::HUP, Signal::TERM, Signal::KILL][round % 5];
        if guard.child.try_wait().expect("a child").is_none() {
            guard.signal(signal);
        }
        let status = guard.wait(Duration::from_secs(60));
        n_stopped += usize::from(!status.success());
        if signal != Signal::KILL {
            assert!(status.success() || status.code() == Some(130), "{status}");
            let left: Vec<_> =
                files(&place.path("out")).into_iter().filter(|file| !expected.contains(file)).collect();
            assert!(left.is_empty() || round > 0, "{left:?}");
            assert!(!left.iter().any(|file| file.contains("partial") && round % 5 == 0), "{left:?}");
        }
        // All parts are of one job: none or all are new.
        let columns: Vec<usize> =
            expected.iter().map(|file| read(place.path("out").join(file)).len()).collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{columns:?}");
    }
    assert!(n_stopped > 5, "only {n_stopped} of 20 were stopped in time");
    // What a kill without a word leaves behind goes with the next job.
    job(&place, "in", "out", &["-f", "rsi"]);
    assert_eq!(files(&place.path("out")), expected);
}

#[test]
fn two_jobs_at_once_do_not_mix() {
    let place = Place::new();
    for symbol in ["AAA", "BBB", "CCC", "DDD"] {
        simulate(&place, &format!("in/{symbol}.csv"), symbol, "3", "40");
    }
    let (input, out, whole) = (place.text("in"), place.text("out"), place.text("whole.parquet"));
    let run = |features: &str, out: &str, more: &[&str]| {
        Run::new("featgen").args(["-q", &input, "-o", out, "-f", features]).args(more)
    };
    let mut guards: Vec<_> =
        (0..4).map(|at| run(["core", "alpha158"][at % 2], &out, &["--partition"]).start()).collect();
    let codes: Vec<_> = guards.iter_mut().map(|guard| guard.wait(Duration::from_secs(60)).code()).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
    let columns: Vec<usize> =
        files(&place.path("out")).iter().map(|file| read(place.path("out").join(file)).len()).collect();
    assert_eq!(columns.len(), 4);
    assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{columns:?}");

    let mut guards: Vec<_> =
        (0..4).map(|at| run(["core", "alpha158"][at % 2], &whole, &[]).start()).collect();
    for guard in &mut guards {
        assert!(guard.wait(Duration::from_secs(60)).success());
    }
    assert!(read(&whole).len() > 40);
    assert_eq!(place.names(), ["in", "out", "whole.parquet"]);
}

#[test]
fn a_place_that_cannot_be_written_is_one_line_and_no_file() {
    let place = Place::new();
    simulate(&place, "in/AAA.csv", "AAA", "3", "30");
    let input = place.text("in");
    let fails = |out: &str, more: &[&str], code: i32| {
        Run::new("featgen").args(["-q", &input, "-o", out]).args(more).fails(code)
    };
    // A folder where a file is to stand, and the other way round.
    fs::create_dir_all(place.path("folder")).expect("a folder");
    assert!(fails(&place.text("folder"), &[], 2).contains("add --partition"));
    place.write("file", "x");
    assert!(fails(&place.text("file"), &["--partition"], 2).contains("name a folder"));
    assert!(fails(&place.text("file/out"), &["--partition"], 1).contains("file/out"));
    // A link is not replaced, where it would be one part or the whole; a link to a folder is that folder.
    place.write("mine", "x");
    symlink(place.path("mine"), place.path("link.parquet")).expect("a link");
    assert!(fails(&place.text("link.parquet"), &[], 1).contains("is not a plain file"));
    symlink(place.path("folder"), place.path("linked")).expect("a link");
    job(&place, "in", "linked", &[]);
    assert_eq!(files(&place.path("folder")), ["symbol=AAA/part-0.parquet"]);
    // Names that a shell would stumble over.
    let odd = place.text("odd name\n50%");
    Run::new("featgen").args(["-q", &input, "-o", &odd, "--partition"]).succeeds();
    Run::new("featgen").args(["-q", &input, "-o", &format!("{odd}.parquet")]).succeeds();
    assert_eq!(files(Path::new(&odd)), ["symbol=AAA/part-0.parquet"]);
    // A disk that is full: a limit on the size of files is as good.
    for (out, more) in [("full", "--partition"), ("full.parquet", "--double")] {
        let script = format!(
            "ulimit -f 40; exec '{}' -q '{input}' -o '{}' -f alpha158 {more}",
            pipe_tests::bin("featgen").display(),
            place.text(out)
        );
        let line = Run::program("bash").args(["-c", &script]).fails(1);
        assert!(line.contains("File too large"), "{line}");
        assert!(!place.path(out).exists(), "{out} was left");
    }
    // Nobody but root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        fs::create_dir_all(place.path("locked")).expect("a folder");
        fs::set_permissions(place.path("locked"), fs::Permissions::from_mode(0o555)).expect("permissions");
        assert!(fails(&place.text("locked/out.parquet"), &[], 1).contains("Permission denied"));
        assert!(fails(&place.text("locked"), &["--partition"], 1).contains("Permission denied"));
    }
    let hidden: Vec<String> = place.names().into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn thousands_of_threads_are_capped_in_one_line() {
    let place = Place::new();
    simulate(&place, "in/AAA.csv", "AAA", "3", "4");
    let (input, out) = (place.text("in"), place.text("out.parquet"));
    let outcome = Run::new("featgen").args([&input, "-o", &out, "-j", "3000"]).succeeds();
    assert!(outcome.stderr.starts_with("featgen: --threads 3000: "), "{}", outcome.stderr);
    let few = place.text("few.parquet");
    Run::new("featgen").args(["-q", &input, "-o", &few, "-j", "2"]).succeeds();
    assert!(fs::read(&out).expect("a file") == fs::read(&few).expect("a file"));
}

#[test]
fn what_was_done_is_one_object_where_no_data_goes() {
    let place = Place::new();
    simulate(&place, "in/AAA.csv", "AAA", "3", "4");
    let (input, out) = (place.text("in"), place.text("out.parquet"));
    let outcome = Run::new("featgen").args([&input, "-o", &out, "--json"]).succeeds();
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (1, ""));
    let said: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("one object");
    assert_eq!((&said["symbols"], &said["rows"], &said["features"]), (&1.into(), &300.into(), &44.into()));
    assert_eq!(said["provenance"]["kind"], "simulated");
    let digest = Run::program("openssl").args(["dgst", "-sha256", "-r", &out]).ends().stdout;
    if let Some(digest) = digest.split_whitespace().next() {
        assert_eq!(said["outputs"][0]["sha256"], digest);
    }
    let outcome = Run::new("featgen").args([&input, "-q", "-o", "-", "--format", "csv", "--json"]).succeeds();
    let said: serde_json::Value = serde_json::from_str(&outcome.stderr).expect("one object");
    assert_eq!((&said["rows"], outcome.stdout.lines().count()), (&300.into(), 302));
}
