//! Feature files into one table. Several files are one batch only if they hold the same features of bars of
//! one kind; their calendars are merged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use market::parquet::partition;
use market::{FeatureTable, FileInfo};

/// Reads `paths` into one table, symbols ascending.
pub fn load(paths: &[PathBuf]) -> Result<FeatureTable> {
    let mut tables = Vec::new();
    for path in paths {
        let table = market::parquet::read_features(path)?;
        check_order(&table).with_context(|| path.display().to_string())?;
        tables.push((path.as_path(), table));
    }
    merge(tables)
}

/// One table out of several.
pub fn merge(tables: Vec<(&Path, FeatureTable)>) -> Result<FeatureTable> {
    let mut tables = tables.into_iter();
    let Some((first_path, mut whole)) = tables.next() else { bail!("no feature file given") };
    for (path, mut table) in tables {
        if let Some(difference) = difference(&whole.info, &table.info) {
            bail!(
                "{}: {difference} than {} (make one file of all inputs with featgen)",
                path.display(),
                first_path.display()
            );
        }
        let known: BTreeSet<&str> = whole.symbols.iter().map(|symbol| symbol.bars.symbol.as_str()).collect();
        if let Some(twice) = table.symbols.iter().find(|s| known.contains(s.bars.symbol.as_str())) {
            bail!(
                "{}: symbol {} is in another file too (give one of them)",
                path.display(),
                twice.bars.symbol
            );
        }
        let calendar: Vec<String> = whole
            .info
            .calendar
            .iter()
            .chain(&table.info.calendar)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        renumber(&mut whole, &calendar).with_context(|| first_path.display().to_string())?;
        renumber(&mut table, &calendar).with_context(|| path.display().to_string())?;
        // The most bars that any symbol has in a year: a symbol that skips sessions says too few.
        whole.info.bars_per_year = whole.info.bars_per_year.max(table.info.bars_per_year);
        whole.info.inputs.append(&mut table.info.inputs);
        whole.symbols.append(&mut table.symbols);
    }
    whole.symbols.sort_by(|a, b| a.bars.symbol.cmp(&b.bars.symbol));
    Ok(whole)
}

/// Whether rows are in the order that ranges of days are found by. featgen writes no other, but somebody's own
/// program may have had the file in hand, and days held out would no longer be those that they are said to be.
fn check_order(table: &FeatureTable) -> Result<()> {
    let n_sessions = table.info.calendar.len();
    for symbol in &table.symbols {
        let bars = &symbol.bars;
        let name = &bars.symbol;
        ensure!(!name.is_empty(), "has rows without a symbol (make it anew with featgen)");
        if let Some(row) = bars.ts.windows(2).position(|pair| pair[0] >= pair[1]) {
            let row = row + 1;
            bail!("{name}: row {row} is not later than the one before (make it anew with featgen)");
        }
        let is_known = |session: i32| usize::try_from(session).is_ok_and(|session| session < n_sessions);
        let is_wrong = |row: usize| {
            !is_known(bars.session[row]) || (row > 0 && bars.session[row] < bars.session[row - 1])
        };
        if let Some(row) = (0..bars.session.len()).find(|&row| is_wrong(row)) {
            let session = bars.session[row];
            bail!(
                "{name}: row {row}: session {session} is before the one of the row before, or not in the calendar \
                 of {n_sessions} (make it anew with featgen)"
            );
        }
    }
    Ok(())
}

/// In what two files differ; parts of a partition may differ in lookbacks, files may not.
fn difference(one: &FileInfo, other: &FileInfo) -> Option<&'static str> {
    (one.features != other.features)
        .then_some("holds other features")
        .or_else(|| partition::difference(one, other))
}

/// Rewrites the sessions of `table` as ordinals of `calendar`, which holds all of its dates.
fn renumber(table: &mut FeatureTable, calendar: &[String]) -> Result<()> {
    for symbol in &mut table.symbols {
        partition::renumber(&mut symbol.bars, &table.info.calendar, calendar)
            .context("its sessions are not in its calendar (make it anew with featgen)")?;
    }
    table.info.calendar = calendar.to_vec();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use trading_env::testing::random_walk_table;

    fn named(symbol: &str, dates: &[&str]) -> FeatureTable {
        let mut table = random_walk_table(1, dates.len(), 2, 2, 1);
        table.symbols[0].bars.symbol = symbol.into();
        table.info.calendar = dates.iter().map(ToString::to_string).collect();
        table
    }

    #[test]
    fn calendars_are_merged_and_sessions_renumbered() {
        let whole = merge(vec![
            (Path::new("b"), named("B", &["2025-01-02", "2025-01-06"])),
            (Path::new("a"), named("A", &["2025-01-01", "2025-01-02", "2025-01-03"])),
        ])
        .unwrap();
        assert_eq!(whole.info.calendar, ["2025-01-01", "2025-01-02", "2025-01-03", "2025-01-06"]);
        assert_eq!(whole.symbols[0].bars.symbol, "A");
        assert_eq!(whole.symbols[0].bars.session, [0, 0, 1, 1, 2, 2]);
        assert_eq!(whole.symbols[1].bars.session, [1, 1, 3, 3]);
    }

    #[test]
    fn rows_that_are_not_in_order_are_refused() {
        let table = || random_walk_table(2, 4, 3, 2, 1);
        assert!(check_order(&table()).is_ok());
        let check = |alter: &dyn Fn(&mut market::Bars), expected: &str| {
            let mut altered = table();
            alter(&mut altered.symbols[1].bars);
            let error = check_order(&altered).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|bars| bars.ts.swap(4, 5), "SYM1: row 5 is not later");
        check(&|bars| bars.ts[11] = bars.ts[10], "SYM1: row 11 is not later");
        check(&|bars| bars.session[6] = 0, "SYM1: row 6: session 0 is before");
        check(&|bars| bars.session[11] = 4, "not in the calendar of 4");
        check(&|bars| bars.session[0] = -1, "row 0: session -1");
        check(&|bars| bars.symbol.clear(), "without a symbol");
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let base = || named("A", &["2025-01-01"]);
        let check = |alter: &dyn Fn(&mut FeatureTable), expected: &str| {
            let mut other = named("B", &["2025-01-01"]);
            alter(&mut other);
            let error =
                merge(vec![(Path::new("a"), base()), (Path::new("b"), other)]).unwrap_err().to_string();
            assert!(error.starts_with("b: ") && error.contains(expected), "{error}");
        };
        check(&|table| table.info.features[0].name = "other".into(), "other features");
        check(&|table| table.info.bar_seconds = 60, "another interval");
        check(&|table| table.info.timezone = "UTC".into(), "another time zone");
        check(&|table| table.info.provenance = market::Provenance::Unlabelled, "another provenance");
        check(&|table| table.symbols[0].bars.symbol = "A".into(), "symbol A");
        let mut other = named("B", &["2025-01-01"]);
        other.symbols[0].bars.session[0] = 7;
        let error = merge(vec![(Path::new("a"), base()), (Path::new("b"), other)]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "b: its sessions are not in its calendar (make it anew with featgen)"
        );
    }
}
