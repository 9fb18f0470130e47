//! What a policy learnt from. It is kept in every checkpoint and held against what the policy is judged on,
//! so that days it was trained on never pass for days it never saw, nor simulated bars for real ones.

use serde::{Deserialize, Serialize};
use wire::spec::{Market, Provenance, Rules};

/// The days, data and rules that a policy learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// SHA-256 of the feature tables.
    pub data_digest: String,
    /// Where the bars came from.
    pub provenance: Provenance,
    /// The first trading date that it saw, as `YYYY-MM-DD`.
    pub first_day: String,
    /// The last; days that chose among its checkpoints count as seen.
    pub last_day: String,
    /// How many there are.
    pub n_days: u32,
    /// How many of them, the last, taught nothing and chose among its checkpoints.
    #[serde(default)]
    pub n_validation_days: u32,
    /// The rules of the account.
    pub rules: Rules,
}

impl Origin {
    /// The origin of a policy that learns on the training days of `market`.
    pub fn of(market: &Market) -> Self {
        let last = market.validation.map_or(market.train.last, |days| days.last);
        let day = |session: u32| market.calendar.get(session as usize).cloned().unwrap_or_default();
        Self {
            data_digest: market.data_digest.clone(),
            provenance: market.provenance.clone(),
            first_day: day(market.train.first),
            last_day: day(last),
            n_days: last + 1 - market.train.first,
            n_validation_days: market.validation.map_or(0, |days| days.last + 1 - days.first),
            rules: market.rules.clone(),
        }
    }

    /// How many of the days that `market` holds out fall among the days that were learnt from, whatever the
    /// symbols: one day's news moves them all.
    pub fn seen_days(&self, market: &Market) -> u32 {
        let Some(test) = market.test else { return 0 };
        // Dates as YYYY-MM-DD sort as text.
        let seen = |session: u32| {
            market
                .calendar
                .get(session as usize)
                .is_some_and(|day| (&self.first_day..=&self.last_day).contains(&day))
        };
        (test.first..=test.last).filter(|&session| seen(session)).count() as u32
    }

    /// Whether the policy learnt on simulated bars and is judged on others.
    pub fn hides_simulation(&self, market: &Market) -> bool {
        self.provenance.kind == "simulated" && market.provenance.kind != "simulated"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::market;
    use wire::spec::Days;

    #[test]
    fn days_that_were_learnt_from_are_counted_by_date() {
        let learnt = market();
        let origin = Origin::of(&learnt);
        assert_eq!((origin.first_day.as_str(), origin.last_day.as_str()), ("2026-01-01", "2026-01-02"));
        assert_eq!((origin.n_days, origin.seen_days(&learnt)), (2, 0));
        // The same data with more days held out, and other data over the same dates.
        let mut judged = learnt.clone();
        judged.test = Some(Days { first: 1, last: 2 });
        assert_eq!(origin.seen_days(&judged), 1);
        judged.calendar = vec!["2025-12-31".into(), "2026-01-01".into(), "2026-01-02".into()];
        assert_eq!(origin.seen_days(&judged), 2);
        judged.test = None;
        assert_eq!(origin.seen_days(&judged), 0);
    }

    #[test]
    fn days_that_chose_among_checkpoints_count_as_seen() {
        let mut learnt = market();
        learnt.train = Days { first: 0, last: 0 };
        learnt.validation = Some(Days { first: 1, last: 1 });
        let origin = Origin::of(&learnt);
        assert_eq!((origin.last_day.as_str(), origin.n_days, origin.n_validation_days), ("2026-01-02", 2, 1));
    }

    #[test]
    fn simulated_bars_behind_a_policy_are_not_hidden_by_real_ones() {
        let learnt = market();
        let mut judged = learnt.clone();
        assert!(!Origin::of(&learnt).hides_simulation(&judged));
        judged.provenance = Provenance { kind: "real".into(), label: "real (NSE)".into() };
        assert!(Origin::of(&learnt).hides_simulation(&judged));
        assert!(!Origin::of(&judged).hides_simulation(&learnt));
    }
}
