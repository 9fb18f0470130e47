//! Known answers for whole files, through [`load`].

use super::*;
use crate::Provenance;
use crate::timestamp;

/// A folder of its own that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("market-load-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const FIVE_MINUTES: &str = "date,open,high,low,close,volume\n\
    2024-01-01 09:15:00+05:30,1,1,1,1,5\n2024-01-01 09:20:00+05:30,2,2,2,2,5\n2024-01-01 09:25:00+05:30,2,2,2,2,5\n\
    2024-01-02 09:15:00+05:30,2,2,2,2,5\n2024-01-02 09:20:00+05:30,2,2,2,2,5\n2024-01-02 09:25:00+05:30,2,2,2,2,5\n";

fn load_all(paths: &[PathBuf], options: &LoadOptions) -> std::result::Result<Batch, String> {
    load(paths, options, &|| true).map_err(|error| error.to_string())
}

#[test]
fn intraday_bars_are_known_an_interval_after_their_stamp() {
    let folder = Folder::new("intraday");
    let path = folder.file("BPCL.csv", FIVE_MINUTES);
    let batch = load_all(std::slice::from_ref(&path), &LoadOptions::default()).unwrap();
    assert_eq!((batch.scan.bar_seconds, batch.scan.timezone.as_str()), (300, "+05:30"));
    assert_eq!(batch.scan.calendar, ["2024-01-01", "2024-01-02"]);
    let bars = &batch.symbols[0];
    assert_eq!((bars.symbol.as_str(), bars.session.as_slice()), ("BPCL", [0, 0, 0, 1, 1, 1].as_slice()));
    let zone = timestamp::zone_by_name("+05:30").unwrap();
    assert_eq!(timestamp::display(bars.ts[0], &zone), "2024-01-01 09:20");
    assert!(batch.scan.notes.is_empty() && batch.findings[0].is_empty(), "{:?}", batch.scan.notes);
    let close = LoadOptions { stamp: Some(StampMeaning::Close), ..LoadOptions::default() };
    let batch = load_all(&[path], &close).unwrap();
    assert_eq!(timestamp::display(batch.symbols[0].ts[0], &zone), "2024-01-01 09:15");
}

#[test]
fn daily_bars_are_known_at_the_close_of_the_session() {
    let folder = Folder::new("daily");
    let text =
        "Date,Open,High,Low,Close,Volume\n2024-01-01,1,1,1,1,1\n2024-01-02,1,1,1,1,1\n2024-01-03,1,1,1,1,1\n";
    let batch = load_all(&[folder.file("X.csv", text)], &LoadOptions::default()).unwrap();
    assert_eq!(batch.scan.bar_seconds, 86_400);
    let zone = timestamp::zone_by_name("Asia/Kolkata").unwrap();
    assert_eq!(timestamp::display(batch.symbols[0].ts[1], &zone), "2024-01-02 15:30");
    assert!(
        batch.scan.notes[0].ends_with("taken for Asia/Kolkata (change it with --timezone)"),
        "{:?}",
        batch.scan.notes
    );
}

#[test]
fn several_files_share_one_calendar_and_are_sorted() {
    let folder = Folder::new("batch");
    let other = FIVE_MINUTES.replace("2024-01-01", "2023-12-29");
    let paths = [folder.file("B.csv", FIVE_MINUTES), folder.file("A.csv", &other)];
    let batch = load_all(&paths, &LoadOptions::default()).unwrap();
    assert_eq!(batch.scan.calendar, ["2023-12-29", "2024-01-01", "2024-01-02"]);
    let sessions: Vec<_> = batch.symbols.iter().map(|bars| (bars.symbol.as_str(), bars.session[0])).collect();
    assert_eq!(sessions, [("A", 0), ("B", 1)]);
}

#[test]
fn a_repeated_day_is_dropped_and_reported() {
    let folder = Folder::new("repeated");
    let first_day: Vec<&str> = FIVE_MINUTES.lines().skip(1).take(3).collect();
    let path = folder.file("A.csv", &format!("{FIVE_MINUTES}{}\n", first_day.join("\n")));
    let batch = load_all(&[path], &LoadOptions::default()).unwrap();
    assert_eq!(batch.symbols[0].len(), 6);
    assert_eq!(batch.findings[0][0].to_string(), "exact copies of rows dropped: 3 (first: line 8)");
}

#[test]
fn simulated_bars_cannot_be_called_real() {
    let folder = Folder::new("label");
    let labelled = format!("# simulated by market::simulate 1, seed 7\n{FIVE_MINUTES}");
    let real = LoadOptions { source: Some("NSE".into()), ..LoadOptions::default() };
    let error = load_all(&[folder.file("A.csv", &labelled)], &real).unwrap_err();
    assert!(error.contains("--source cannot call it real"), "{error}");
    let batch = load_all(&[folder.file("B.csv", FIVE_MINUTES)], &real).unwrap();
    assert_eq!(batch.scan.provenance, Provenance::Real { source: "NSE".into() });
}

#[test]
fn what_does_not_fit_together_is_one_line() {
    let folder = Folder::new("misfit");
    let daily = "Date,Open,High,Low,Close\n2024-01-01,1,1,1,1\n2024-01-02,1,1,1,1\n";
    let a = folder.file("A.csv", FIVE_MINUTES);
    let b = folder.file("B.csv", daily);
    let error = load_all(&[a.clone(), b], &LoadOptions::default()).unwrap_err();
    assert_eq!(error, "A has bars of 300 s and B of 86400 s (run them apart)");
    let error = load_all(&[a.clone(), a], &LoadOptions::default()).unwrap_err();
    assert!(error.contains("holds A, as"), "{error}");
    let missing = folder.0.join("missing.csv");
    assert!(load_all(&[missing], &LoadOptions::default()).unwrap_err().contains("missing.csv: No such file"));
}

#[test]
fn files_beyond_the_budget_are_read_again_and_give_the_same_bars() {
    let folder = Folder::new("budget");
    let paths = ["A.csv", "B.csv"].map(|name| folder.file(name, FIVE_MINUTES));
    let options = LoadOptions::default();
    let all = load(&paths, &options, &|| true).unwrap();
    let frugal = scan::scan_within(&paths, &options, 0, &|| true).unwrap();
    assert_eq!((frugal.calendar.clone(), frugal.bars_per_year), (all.scan.calendar, all.scan.bars_per_year));
    for (place, bars) in all.symbols.iter().enumerate() {
        assert_eq!(frugal.bars(place).unwrap(), (bars.clone(), Vec::new()));
    }
    folder.file("B.csv", &FIVE_MINUTES.replace(",5\n", ",6\n"));
    let error = frugal.bars(1).unwrap_err().to_string();
    assert!(error.ends_with("B.csv: changed while it was being read (run again)"), "{error}");
}

#[test]
fn bad_files_are_listed_when_they_may_be_skipped() {
    let folder = Folder::new("skip");
    let paths = [folder.file("A.csv", FIVE_MINUTES), folder.file("B.csv", "date,open\n")];
    let options = LoadOptions { skip_bad_files: true, ..LoadOptions::default() };
    let scan = scan(&paths, &options, &|| true).unwrap();
    assert_eq!(scan.symbols().collect::<Vec<_>>(), ["A"]);
    assert_eq!((scan.bad_files.len(), &scan.bad_files[0].0), (1, &paths[1]));
    assert!(super::scan(&paths[1..], &options, &|| true).is_err());
}

#[test]
fn the_last_bar_of_an_hour_ends_with_the_session() {
    let folder = Folder::new("hours");
    let mut text = "date,open,high,low,close,volume\n".to_owned();
    for day in 1..=3 {
        for hour in 9..=15 {
            text.extend([format!("2024-01-0{day} {hour:02}:15,1,1,1,1,5\n")]);
        }
    }
    let path = folder.file("A.csv", &text);
    let last = |options: LoadOptions| {
        let batch = load_all(std::slice::from_ref(&path), &options).unwrap();
        assert_eq!(batch.scan.bar_seconds, 3_600);
        let zone = timestamp::zone_by_name(&batch.scan.timezone).unwrap();
        let bars = &batch.symbols[0];
        [5, 6].map(|bar| timestamp::display(bars.ts[bar], &zone))
    };
    assert_eq!(last(LoadOptions::default()), ["2024-01-01 15:15", "2024-01-01 15:30"]);
    // Elsewhere the close is not known unless it is said, and a bar is better known late than early.
    let new_york = || LoadOptions { timezone: Some("America/New_York".into()), ..LoadOptions::default() };
    assert_eq!(last(new_york()), ["2024-01-01 15:15", "2024-01-01 16:15"]);
    let close = Some(jiff::civil::Time::constant(16, 0, 0, 0));
    assert_eq!(
        last(LoadOptions { session_close: close, ..new_york() }),
        ["2024-01-01 15:15", "2024-01-01 16:00"]
    );
}

#[test]
fn gaps_are_filled_when_asked_and_counted() {
    let folder = Folder::new("fill");
    let path = folder.file("A.csv", &FIVE_MINUTES.replace("2024-01-02 09:20:00+05:30,2,2,2,2,5\n", ""));
    let gap = load_all(std::slice::from_ref(&path), &LoadOptions::default()).unwrap();
    assert_eq!(gap.symbols[0].len(), 5);
    let options = LoadOptions { fill: Fill::Session, ..LoadOptions::default() };
    let batch = load_all(&[path], &options).unwrap();
    let bars = &batch.symbols[0];
    assert_eq!((bars.len(), bars.close[4], bars.volume[4]), (6, 2.0, 0.0));
    assert_eq!(bars.session, [0, 0, 0, 1, 1, 1]);
    assert_eq!(
        batch.findings[0][0].to_string(),
        "bars filled in where they were missing: 1 (first: 2024-01-02 09:25)"
    );
}

#[test]
fn splits_tell_the_past_in_the_shares_after_them() {
    let folder = Folder::new("splits");
    let path = folder.file("A.csv", FIVE_MINUTES);
    let list = folder.file("splits.csv", "symbol,date,ratio\nA,2024-01-02,2:1\nB,2024-01-02,5\n");
    let options = LoadOptions { splits: Some(Splits::read(&list).unwrap()), ..LoadOptions::default() };
    let batch = load_all(&[path], &options).unwrap();
    assert_eq!(batch.symbols[0].close, [0.5, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(batch.symbols[0].volume, [10.0, 10.0, 10.0, 5.0, 5.0, 5.0]);
    assert_eq!(
        batch.scan.notes,
        ["splits.csv: 3 rows of 1 symbol adjusted for later splits; 1 listed symbol is not among the inputs"]
    );
}
