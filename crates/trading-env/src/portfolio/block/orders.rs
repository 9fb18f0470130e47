//! Which environments place an order.

#![expect(clippy::inline_always, reason = "a pass is compiled anew for each kind of processor")]

use super::Lane;
use super::bars::Bars;
use super::pass::Pass;
use crate::portfolio::PortfolioRules;
use crate::portfolio::states::Often;

/// The second pass: finds a bit for each lane that trades, or whose account is ruined at the open; anything in lanes
/// that are not stepped.
pub(super) struct FindOrders<'a> {
    pub(super) rules: &'a PortfolioRules,
    pub(super) often: &'a Often,
    pub(super) target: &'a Lane,
    pub(super) bars: &'a Bars,
}

impl Pass for FindOrders<'_> {
    type Found = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let Self { rules, often, target, bars } = self;
        let ruin = rules.ruin * rules.capital;
        let mut places_order = 0;
        for (lane, (&target, &held_target)) in target.iter().zip(&often.held_target).enumerate() {
            let must_close = u64::from(held_target != 0.0) & bars.must_be_flat[lane];
            let is_ruined = often.cash[lane] + often.shares[lane] * bars.open[lane] <= ruin;
            let places = u64::from(target != held_target) | must_close | u64::from(is_ruined);
            places_order |= places << lane;
        }
        places_order as u32
    }
}
