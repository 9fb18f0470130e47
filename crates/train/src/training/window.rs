//! Days to learn from and to be judged on other than the server's own: one window of a walk forward. They are
//! kept as dates, so that a configuration says by itself what it learnt from.

use anyhow::{Result, bail};
use cli::UsageError;
use serde::{Deserialize, Serialize};
use wire::Range;
use wire::spec::{Days, Market};

/// Ranges of dates, both ends included, as `2026-01-01..2026-01-31`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// To learn from.
    pub train: String,
    /// To choose among policies; none to take the last one.
    pub validation: Option<String>,
    /// To be judged on.
    pub test: String,
}

impl Window {
    /// Puts the window's days in place of those of `market`.
    ///
    /// # Errors
    /// If a range is none, holds no trading day, or is not in its order.
    pub fn lay_over(&self, market: &mut Market) -> Result<()> {
        market.train = dates(&self.train, market)?;
        market.validation = self.validation.as_deref().map(|text| dates(text, market)).transpose()?;
        let test = dates(&self.test, market)?;
        market.test = Some(test);
        let learnt = market.validation.map_or(market.train.last, |days| days.last);
        if market.validation.is_some_and(|days| days.first <= market.train.last) || test.first <= learnt {
            bail!("the days of the window overlap: {} before {}", self.train, self.test);
        }
        Ok(())
    }

    /// The window that learns from the first `n_train` days, validates on the last `n_validation` of them, and
    /// is judged on `test`.
    pub fn of(market: &Market, n_train: u32, n_validation: u32, test: Days) -> Self {
        let date = |day: u32| market.calendar.get(day as usize).cloned().unwrap_or_default();
        let between = |first: u32, last: u32| format!("{}..{}", date(first), date(last));
        let (first, end) = (market.train.first, market.train.first + n_train);
        Self {
            train: between(first, end - 1 - n_validation),
            validation: (n_validation > 0).then(|| between(end - n_validation, end - 1)),
            test: between(test.first, test.last),
        }
    }
}

/// The expanding windows of a walk forward: the held-out days of `market` in `count` parts, each to be judged by
/// a policy that learns from all days before it but the last `embargo`. The scaler of the server has seen none
/// of the held-out days, so that no window's features know what comes after it.
///
/// # Errors
/// If there are too few days.
pub fn expanding(market: &Market, count: u32, embargo: u32) -> Result<Vec<Window>> {
    let Some(test) = market.test else {
        bail!("the server holds out no days to walk over (give envpool --test-days 120)")
    };
    if test.count() < count {
        bail!("{count} windows over {} held-out days (hold out more, or make fewer)", test.count());
    }
    let n_validation = market.validation.map_or(0, Days::count);
    let edge = |part: u32| test.first + (u64::from(part) * u64::from(test.count()) / u64::from(count)) as u32;
    let window = |part: u32| {
        let days = Days { first: edge(part), last: edge(part + 1) - 1 };
        let n_train = (days.first - market.train.first).saturating_sub(embargo);
        if n_train <= n_validation {
            bail!(
                "an embargo of {embargo} days leaves nothing to learn from (give a smaller --embargo-days)"
            );
        }
        Ok(Window::of(market, n_train, n_validation, days))
    };
    (0..count).map(window).collect()
}

/// The range of a session over `days`.
pub fn range(days: Days) -> Range {
    Range::Sessions { first: days.first, last: days.last }
}

/// The days of `market` within `text`, of the form `2026-01-01..2026-01-31`.
///
/// # Errors
/// If it is of another form, or no trading day lies in it.
pub fn dates(text: &str, market: &Market) -> Result<Days> {
    let Some((from, to)) = text.split_once("..").filter(|(from, to)| is_date(from) && is_date(to)) else {
        return Err(
            UsageError(format!("{text:?} is no range of dates such as 2026-01-01..2026-01-31")).into()
        );
    };
    // Dates of this form sort as text.
    let first = market.calendar.partition_point(|date| date.as_str() < from) as u32;
    let end = market.calendar.partition_point(|date| date.as_str() <= to) as u32;
    if first >= end {
        bail!("no trading day lies in {text} (choose another --range)");
    }
    Ok(Days { first, last: end - 1 })
}

fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty days of January and February, the last twelve of them held out.
    fn market() -> Market {
        let days = |month: u32, count: u32| (1..=count).map(move |day| format!("2026-{month:02}-{day:02}"));
        Market {
            calendar: days(1, 28).chain(days(2, 12)).collect(),
            train: Days { first: 0, last: 27 },
            validation: None,
            test: Some(Days { first: 28, last: 39 }),
            ..crate::report::summary::tests::market()
        }
    }

    #[test]
    fn windows_expand_cover_the_held_out_days_once_and_keep_their_distance() {
        let windows = expanding(&market(), 3, 2).unwrap();
        let texts: Vec<_> = windows.iter().map(|w| (w.train.as_str(), w.test.as_str())).collect();
        let expected = [
            ("2026-01-01..2026-01-26", "2026-02-01..2026-02-04"),
            ("2026-01-01..2026-02-02", "2026-02-05..2026-02-08"),
            ("2026-01-01..2026-02-06", "2026-02-09..2026-02-12"),
        ];
        assert_eq!(texts, expected);
        for window in &windows {
            let mut market = market();
            window.lay_over(&mut market).unwrap();
            let test = market.test.unwrap();
            assert_eq!((test.first - market.train.last, test.count()), (3, 4));
        }
        assert!(expanding(&market(), 13, 1).unwrap_err().to_string().contains("13 windows"));
        assert!(expanding(&market(), 3, 28).unwrap_err().to_string().contains("--embargo-days"));
    }

    #[test]
    fn validation_days_are_the_last_before_the_embargo_and_overlaps_are_refused() {
        let mut with_validation = market();
        with_validation.train.last = 24;
        with_validation.validation = Some(Days { first: 25, last: 27 });
        let window = expanding(&with_validation, 3, 1).unwrap().remove(0);
        assert_eq!(window.train, "2026-01-01..2026-01-24");
        assert_eq!(window.validation.as_deref(), Some("2026-01-25..2026-01-27"));
        let late = Window { train: "2026-01-01..2026-02-01".into(), ..window };
        assert!(late.lay_over(&mut with_validation).unwrap_err().to_string().contains("overlap"));
    }
}
