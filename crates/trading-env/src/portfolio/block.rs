//! A step of a block's environments at once, under the rules that nearly everybody plays.
//!
//! Most steps place no order: nothing but a price changes. So a step is made of passes over all lanes: the first
//! reads each environment's next bar and copies its features, the second finds those that trade, which are then
//! played by the rules of everybody, and the last one does the arithmetic of all lanes together, so that no quotient
//! or logarithm waits for the one before. The bits are those of one environment at a time.
//!
//! # Layout
//! - [`bars`], [`orders`], [`account`]: the passes.
//! - [`pass`]: what a pass is, and how it comes to be as wide as the processor allows.

mod account;
mod bars;
mod orders;
mod pass;

use super::states::{Lane, States};
use super::{Portfolio, Targets};
use crate::batch::Actions;
use crate::environment::{self, BLOCK_LEN, BlockOutputs, States as _, step_each};
use crate::rows::StepBar;
use account::Settle;
use bars::{Bars, ShowBars};
use orders::FindOrders;
use pass::Pass;

/// Fewer environments than this are played one at a time.
const MIN_LANES: usize = 8;

type Block<'a> = environment::Block<'a, States>;

impl Portfolio {
    /// One step of some environments of a block, by rules that are [`Portfolio::is_plain`].
    pub(super) fn step_plain_block(
        &self,
        states: &mut States,
        block: &Block<'_>,
        out: &mut BlockOutputs<'_>,
    ) {
        if block.lanes.len() < MIN_LANES {
            step_each(self, states, block, out);
        } else if block.is_whole {
            self.step_all_lanes(states, block, out);
        } else {
            let before = states.often;
            self.step_all_lanes(states, block, out);
            for lane in (0..BLOCK_LEN).filter(|&lane| !block.lanes.contains(lane)) {
                states.often.take(lane, &before);
            }
        }
    }

    /// The same; what becomes of the lanes that are not stepped is of no matter.
    fn step_all_lanes(&self, states: &mut States, block: &Block<'_>, out: &mut BlockOutputs<'_>) {
        let mut bars = Bars::default();
        let observations = &mut *out.observations;
        ShowBars { portfolio: self, block, often: &mut states.often, observations, bars: &mut bars }
            .run_wide();
        let target = self.choose(states, block);
        let shares_before = states.often.shares;
        let places_order =
            FindOrders { rules: &self.rules, often: &states.often, target: &target, bars: &bars }.run_wide();
        let mut ruined_at_open = 0;
        for lane in block.lanes.of(places_order) {
            ruined_at_open |= u32::from(self.play_orders(states, lane, target[lane])) << lane;
        }
        Settle {
            portfolio: self,
            block,
            often: &mut states.often,
            out,
            bars: &bars,
            shares_before: &shares_before,
            ruined_at_open,
        }
        .run_wide();
    }

    /// The targets that the actions mean; that which is held where no environment is stepped.
    fn choose(&self, states: &States, block: &Block<'_>) -> Lane {
        let (rules, held_target) = (&self.rules, &states.often.held_target);
        let mut target = *held_target;
        if let (Targets::Levels(levels), Actions::Discrete(choices)) = (&rules.targets, block.actions) {
            for (lane, &choice) in block.lanes.iter().zip(choices) {
                target[lane] = levels[choice as usize];
            }
            return target;
        }
        for (at, lane) in block.lanes.iter().enumerate() {
            let action = block.actions.at(at, block.action_len);
            target[lane] = rules.targets.target(action, held_target[lane], rules.allows_short);
        }
        target
    }

    /// Plays the orders in a lane; returns whether its account was ruined at the open. Apart, so that what few steps
    /// need takes no place in the loop of all.
    #[inline(never)]
    fn play_orders(&self, states: &mut States, lane: usize, target: f64) -> bool {
        states.with_mut(lane, |state| {
            let bar = self.data.rows.bar(state.row as usize);
            self.play_bar::<true>(state, target, bar).ruined_at_open
        })
    }

    /// Writes the features of the rows that the agent sees at `row`, and returns that row's bar.
    #[inline(never)]
    pub(super) fn show_rows(&self, row: usize, out: &mut [f32]) -> StepBar {
        let (rows, window) = (&self.data.rows, self.rules.window);
        let n_features = self.data.feature_names.len();
        let first_row = row + 1 - window;
        // There may be none.
        let n_rows = if n_features == 0 { 0 } else { window };
        for (row_idx, out) in out.chunks_exact_mut(n_features.max(1)).take(n_rows).enumerate() {
            out.copy_from_slice(rows.features(first_row + row_idx));
        }
        rows.bar(row)
    }
}
