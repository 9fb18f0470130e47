//! Which rows an episode may touch: days held out, ranges of sessions, and the draw of a start.

use crate::EnvError;
use crate::environment::EpisodeKey;
use crate::market_data::{MarketData, SymbolData};

/// Trading dates of the calendar by ordinal, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRange {
    /// The first session.
    pub first: i32,
    /// The last session.
    pub last: i32,
}

impl SessionRange {
    /// The rows whose session is in the range; `session` is a symbol's column, which never falls.
    pub fn rows_of(self, session: &[i32]) -> std::ops::Range<usize> {
        session.partition_point(|&s| s < self.first)..session.partition_point(|&s| s <= self.last)
    }

    /// How many sessions there are.
    pub fn count(self) -> u32 {
        (self.last - self.first + 1) as u32
    }
}

/// The calendar cut into what is trained on, what chooses among policies, and what judges them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// All sessions before the others.
    pub train: SessionRange,
    /// The sessions between.
    pub validation: Option<SessionRange>,
    /// The last sessions.
    pub test: Option<SessionRange>,
}

impl Split {
    /// Holds out the last `test_days` of `n_sessions`, and `validation_days` before them. The `embargo_days`
    /// before each of these parts belong to none, so that nothing fitted or chosen borders on what judges it.
    pub fn new(
        n_sessions: usize,
        validation_days: u32,
        test_days: u32,
        embargo_days: u32,
    ) -> Result<Self, EnvError> {
        let embargo = |days: u32| if days > 0 { embargo_days } else { 0 };
        let (validation_embargo, test_embargo) = (embargo(validation_days), embargo(test_days));
        let held_out: u64 =
            [validation_days, test_days, validation_embargo, test_embargo].map(u64::from).iter().sum();
        if held_out >= n_sessions as u64 {
            return Err(EnvError::HeldOut { held_out, validation_days, test_days, embargo_days, n_sessions });
        }
        let test_first = (n_sessions - test_days as usize) as i32;
        let validation_end = test_first - test_embargo as i32;
        let validation_first = validation_end - validation_days as i32;
        let range = |first: i32, end: i32| (end > first).then_some(SessionRange { first, last: end - 1 });
        Ok(Self {
            train: SessionRange { first: 0, last: validation_first - validation_embargo as i32 - 1 },
            validation: range(validation_first, validation_end),
            test: range(test_first, n_sessions as i32),
        })
    }
}

/// Where episodes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Drawn uniformly over the whole range, symbols in proportion to their rows.
    Random,
    /// Drawn among the decisions before each session's first bar.
    EverySession,
    /// At the first decision of the range; environment i plays symbol i modulo the number of symbols.
    First,
}

/// How long episodes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpisodeLength {
    /// This many steps, or to the end of the range.
    Bars(u32),
    /// To the end of the session, from the decision before its first bar on.
    Session,
    /// To the end of the range.
    Full,
}

/// Which episodes a session plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodeRules {
    /// The sessions whose bars may be traded and shown.
    pub range: SessionRange,
    /// Where episodes start.
    pub start: Start,
    /// How long they last.
    pub length: EpisodeLength,
    /// Whether the position is closed at the last bar's close, so that no cost is left out.
    pub liquidate_at_end: bool,
}

/// The rows of one episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodeRows {
    /// Which symbol.
    pub symbol_idx: u32,
    /// The row of the first decision.
    pub first_row: u32,
    /// The row that the last step ends with.
    pub last_row: u32,
}

/// All starts that a range allows, ready to draw from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    start: Start,
    max_steps: u32,
    /// The sum of steps (of starts, where they are few) of the symbols up to and including each.
    steps_upto: Vec<u64>,
    symbols: Vec<Vec<Stretch>>,
}

/// Consecutive complete rows; starts are numbered through a symbol's stretches.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    first_row: u32,
    last_row: u32,
    starts_upto: u64,
}

impl Plan {
    /// Finds every start in `data` for observations of `window` rows. A range's first decision is at the last
    /// row before its first bar, where there is one, so that its first open can be bought; that row is seen
    /// but not traded on.
    pub(crate) fn new(data: &MarketData, rules: &EpisodeRules, window: usize) -> Result<Self, EnvError> {
        let range = rules.range;
        if range.first < 0 || range.last < range.first || range.last as usize >= data.n_sessions {
            return Err(EnvError::OutsideCalendar { range, n_sessions: data.n_sessions });
        }
        let max_steps = match rules.length {
            EpisodeLength::Bars(steps) => steps.max(1),
            EpisodeLength::Session | EpisodeLength::Full => u32::MAX,
        };
        let mut steps_upto = Vec::new();
        let mut symbols = Vec::new();
        let mut n_steps = 0_u64;
        for symbol in &data.symbols {
            let mut stretches = Vec::new();
            let mut n_starts = 0;
            for (first_row, last_row) in playable_stretches(symbol, rules, window) {
                if rules.start == Start::EverySession {
                    for start in session_starts(data, symbol, first_row, last_row) {
                        n_starts += 1;
                        n_steps += 1;
                        stretches.push(Stretch { first_row: start, last_row, starts_upto: n_starts });
                    }
                    continue;
                }
                let steps = u64::from(last_row - first_row);
                n_steps += steps;
                n_starts += match rules.length {
                    // Every start that leaves a whole episode; the stretch's first if none does.
                    EpisodeLength::Bars(_) => (steps + 1).saturating_sub(u64::from(max_steps)).max(1),
                    EpisodeLength::Session => 1,
                    EpisodeLength::Full => steps,
                };
                stretches.push(Stretch { first_row, last_row, starts_upto: n_starts });
            }
            if rules.start == Start::First {
                let Some(first) = stretches.first() else {
                    return Err(nothing_to_play(std::slice::from_ref(symbol), range));
                };
                // A judgement that ended early would pass for one of all days.
                let last_bar = range.rows_of(&symbol.session).end as u32 - 1;
                if rules.length == EpisodeLength::Full && first.last_row < last_bar {
                    let (symbol, row) = (symbol.name.clone(), first.last_row + 1);
                    return Err(EnvError::Interrupted { symbol, row, range });
                }
            }
            steps_upto.push(n_steps);
            symbols.push(stretches);
        }
        if n_steps == 0 {
            return Err(nothing_to_play(&data.symbols, range));
        }
        Ok(Self { start: rules.start, max_steps, steps_upto, symbols })
    }

    /// The rows of the episode named by `key`.
    pub(crate) fn draw(&self, key: EpisodeKey) -> EpisodeRows {
        let (symbol_idx, first_row, stretch) = match self.start {
            Start::First => {
                let symbol_idx = (key.env % self.symbols.len() as u64) as usize;
                let stretch = self.symbols[symbol_idx][0];
                (symbol_idx, stretch.first_row, stretch)
            }
            Start::Random | Start::EverySession => {
                let mut stream = key.stream();
                let step = stream.below(self.steps_upto[self.steps_upto.len() - 1]);
                let symbol_idx = self.steps_upto.partition_point(|&upto| upto <= step);
                let stretches = &self.symbols[symbol_idx];
                let start = stream.below(stretches[stretches.len() - 1].starts_upto);
                let stretch_idx = stretches.partition_point(|stretch| stretch.starts_upto <= start);
                let starts_before =
                    stretch_idx.checked_sub(1).map_or(0, |before| stretches[before].starts_upto);
                let stretch = stretches[stretch_idx];
                (symbol_idx, stretch.first_row + (start - starts_before) as u32, stretch)
            }
        };
        let last_row = first_row.saturating_add(self.max_steps).min(stretch.last_row);
        EpisodeRows { symbol_idx: symbol_idx as u32, first_row, last_row }
    }
}

/// The rows before the first bar of each session that starts between two rows.
fn session_starts<'a>(
    data: &'a MarketData,
    symbol: &'a SymbolData,
    first_row: u32,
    last_row: u32,
) -> impl Iterator<Item = u32> + 'a {
    (first_row..last_row).filter(|&row| data.rows.bar((symbol.first_row + row) as usize).ends_session)
}

/// First decision and last row of each run of steps that may be played in one piece.
fn playable_stretches(symbol: &SymbolData, rules: &EpisodeRules, window: usize) -> Vec<(u32, u32)> {
    let rows = rules.range.rows_of(&symbol.session);
    if rows.is_empty() {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    if rules.length == EpisodeLength::Session {
        let mut first = rows.start;
        for bars in symbol.session[rows].chunk_by(|a, b| a == b) {
            pieces.push((first, first + bars.len() - 1));
            first += bars.len();
        }
    } else {
        pieces.push((rows.start, rows.end - 1));
    }
    let mut stretches = Vec::new();
    for (first_bar, last_bar) in pieces {
        for &(run_first, run_last) in &symbol.complete_runs {
            let first_row = (first_bar.saturating_sub(1) as u32).max(run_first + window as u32 - 1);
            let last_row = run_last.min(last_bar as u32);
            if first_row < last_row {
                stretches.push((first_row, last_row));
            }
        }
    }
    stretches
}

pub(crate) fn nothing_to_play(symbols: &[SymbolData], range: SessionRange) -> EnvError {
    let mut n_rows = 0;
    let mut n_complete = 0;
    for symbol in symbols {
        let rows = range.rows_of(&symbol.session);
        n_rows += rows.len();
        n_complete += symbol
            .complete_runs
            .iter()
            .map(|&(first, last)| {
                rows.end.min(last as usize + 1).saturating_sub(rows.start.max(first as usize))
            })
            .sum::<usize>();
    }
    EnvError::NothingToPlay { range, n_rows, n_complete }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scaler;
    use crate::testing::random_walk_table;
    use market::FeatureColumn;

    fn data(n_symbols: usize, n_sessions: usize) -> MarketData {
        let table = random_walk_table(n_symbols, n_sessions, 5, 2, 1);
        MarketData::new(&table, Scaler::fit(&table, SessionRange { first: 0, last: 0 }))
    }

    fn rules(first: i32, last: i32, start: Start, length: EpisodeLength) -> EpisodeRules {
        EpisodeRules { range: SessionRange { first, last }, start, length, liquidate_at_end: false }
    }

    fn draws(data: &MarketData, rules: &EpisodeRules, window: usize) -> Vec<EpisodeRows> {
        let plan = Plan::new(data, rules, window).unwrap();
        (0..2000).map(|env| plan.draw(EpisodeKey { seed: 1, env, episode: 0 })).collect()
    }

    #[test]
    fn a_split_holds_out_the_last_days() {
        let split = Split::new(10, 2, 3, 0).unwrap();
        assert_eq!(split.train, SessionRange { first: 0, last: 4 });
        assert_eq!(split.validation, Some(SessionRange { first: 5, last: 6 }));
        assert_eq!(split.test, Some(SessionRange { first: 7, last: 9 }));
        assert_eq!(Split::new(1, 0, 0, 0).unwrap().test, None);
        let error = Split::new(10, 3, 7, 0).unwrap_err().to_string();
        assert!(error.contains("the data has 10 sessions"), "{error}");
        assert!(Split::new(10, u32::MAX, u32::MAX, u32::MAX).is_err());
    }

    #[test]
    fn an_embargo_keeps_the_parts_apart() {
        let split = Split::new(10, 2, 3, 1).unwrap();
        assert_eq!(split.train, SessionRange { first: 0, last: 2 });
        assert_eq!(split.validation, Some(SessionRange { first: 4, last: 5 }));
        assert_eq!(split.test, Some(SessionRange { first: 7, last: 9 }));
        assert_eq!(Split::new(10, 0, 3, 2).unwrap().train.last, 4);
        assert_eq!(Split::new(10, 0, 0, 5).unwrap().train.last, 9, "nothing is held out");
        let error = Split::new(10, 2, 3, 3).unwrap_err().to_string();
        assert!(error.contains("embargo"), "{error}");
    }

    #[test]
    fn episodes_start_with_a_session_if_asked_for() {
        // Sessions of 5 bars; the features need 2 rows, so that the first session has no start in it.
        for (length, expected) in [
            (EpisodeLength::Bars(7), vec![(4, 11), (9, 16), (14, 21), (19, 24)]),
            (EpisodeLength::Session, vec![(4, 9), (9, 14), (14, 19), (19, 24)]),
            (EpisodeLength::Full, vec![(4, 24), (9, 24), (14, 24), (19, 24)]),
        ] {
            let drawn = draws(&data(1, 6), &rules(0, 4, Start::EverySession, length), 1);
            let distinct: std::collections::BTreeSet<_> =
                drawn.iter().map(|rows| (rows.first_row, rows.last_row)).collect();
            assert_eq!(distinct, expected.into_iter().collect(), "{length:?}");
        }
    }

    #[test]
    fn training_covers_its_range_and_touches_nothing_after_it() {
        // 10 sessions of 5 bars; the features need 2 rows, so that row 2 is the first decision.
        let drawn = draws(&data(1, 10), &rules(0, 6, Start::Random, EpisodeLength::Bars(8)), 1);
        let first: std::collections::BTreeSet<u32> = drawn.iter().map(|rows| rows.first_row).collect();
        assert_eq!(first, (2..=34 - 8).collect());
        assert!(drawn.iter().all(|rows| rows.last_row == rows.first_row + 8 && rows.last_row <= 34));
    }

    #[test]
    fn a_window_starts_later_and_a_null_is_never_spanned() {
        let mut table = random_walk_table(1, 10, 5, 2, 1);
        let FeatureColumn::F32(values) = &mut table.symbols[0].columns[0] else { unreachable!() };
        values[20] = f32::NAN;
        let data = MarketData::new(&table, Scaler::fit(&table, SessionRange { first: 0, last: 6 }));
        for rows in draws(&data, &rules(0, 9, Start::Random, EpisodeLength::Bars(30)), 3) {
            assert!(
                (4..=19).contains(&rows.first_row) && rows.last_row <= 19 || rows.first_row >= 23,
                "{rows:?}"
            );
        }
    }

    #[test]
    fn an_evaluation_that_a_null_would_cut_short_is_refused() {
        let mut table = random_walk_table(1, 10, 5, 2, 1);
        let FeatureColumn::F32(values) = &mut table.symbols[0].columns[0] else { unreachable!() };
        values[42] = f32::NAN;
        let data = MarketData::new(&table, Scaler::fit(&table, SessionRange { first: 0, last: 6 }));
        let plan = |first, last| Plan::new(&data, &rules(first, last, Start::First, EpisodeLength::Full), 1);
        let error = plan(7, 9).unwrap_err();
        assert!(matches!(error, EnvError::Interrupted { row: 42, .. }), "{error}");
        assert!(plan(3, 7).is_ok(), "days without the null can be judged");
    }

    #[test]
    fn an_evaluation_is_one_episode_a_symbol_from_the_decision_before_the_first_bar() {
        let drawn = draws(&data(2, 10), &rules(7, 9, Start::First, EpisodeLength::Full), 1);
        assert_eq!(drawn[0], EpisodeRows { symbol_idx: 0, first_row: 34, last_row: 49 });
        assert_eq!(drawn[1], EpisodeRows { symbol_idx: 1, first_row: 34, last_row: 49 });
        assert_eq!(drawn[2], drawn[0]);
    }

    #[test]
    fn a_session_episode_plays_one_whole_session() {
        let drawn = draws(&data(1, 4), &rules(1, 3, Start::Random, EpisodeLength::Session), 1);
        let distinct: std::collections::BTreeSet<_> =
            drawn.iter().map(|rows| (rows.first_row, rows.last_row)).collect();
        assert_eq!(distinct, [(4, 9), (9, 14), (14, 19)].into());
    }

    #[test]
    fn ranges_that_cannot_be_played_are_errors() {
        let data = data(1, 4);
        for (first, last) in [(0, 4), (-1, 2), (3, 2)] {
            let rules = rules(first, last, Start::Random, EpisodeLength::Full);
            assert!(matches!(Plan::new(&data, &rules, 1), Err(EnvError::OutsideCalendar { .. })));
        }
        let error = Plan::new(&data, &rules(0, 0, Start::Random, EpisodeLength::Full), 4).unwrap_err();
        assert!(error.to_string().contains("5 rows, 3 of them complete"), "{error}");
    }
}
