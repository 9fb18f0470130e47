//! The bars that a step ends with.

#![expect(clippy::inline_always, reason = "a pass is compiled anew for each kind of processor")]

use super::pass::Pass;
use super::{Block, Lane, StepBar};
use crate::environment::BLOCK_LEN;
use crate::portfolio::states::Often;
use crate::portfolio::{ACCOUNT_NAMES, Portfolio};
use crate::rows::BAR_LEN;

// A row that is copied with its bar leaves the place of the account's numbers to be written over, and no other.
const _: () = assert!(ACCOUNT_NAMES.len() == BAR_LEN);

/// What a bar brought. Lanes that are not stepped have prices of 0 and anything for the rest.
#[derive(Default)]
pub(super) struct Bars {
    pub(super) open: Lane,
    pub(super) close: Lane,
    pub(super) session_left: [f32; BLOCK_LEN],
    /// Whether the account must be flat after the bar: 0 or 1, as wide as the prices that it is compared beside, so that
    /// the comparisons of four lanes stay in one vector.
    pub(super) must_be_flat: [u64; BLOCK_LEN],
    /// A bit for each lane whose episode ends with the bar.
    pub(super) is_last: u32,
}

/// The first pass: goes on to each environment's next row and shows its features.
pub(super) struct ShowBars<'a, 'b> {
    pub(super) portfolio: &'a Portfolio,
    pub(super) block: &'a Block<'b>,
    pub(super) often: &'a mut Often,
    pub(super) observations: &'a mut [f32],
    pub(super) bars: &'a mut Bars,
}

impl Pass for ShowBars<'_, '_> {
    type Found = ();

    #[inline(always)]
    fn run(self) {
        let Self { portfolio, block, often, observations, bars } = self;
        let mut is_last = 0;
        for (lane, (row, &last_row)) in often.row.iter_mut().zip(&often.last_row).enumerate() {
            *row = row.wrapping_add(1);
            is_last |= u32::from(*row == last_row) << lane;
        }
        bars.is_last = is_last;
        let squares_off = portfolio.rules.square_off;
        let rows = portfolio.data.rows.view();
        // Hints, for the lanes that are stepped here: in a partial batch those of the next block may be others. After the
        // last block there is none to ask for, and its own rows of the next step are.
        let upcoming = block.upcoming.map_or(&often.row, |upcoming| &upcoming.often.row);
        let rows_out = observations.chunks_exact_mut(portfolio.observation_len);
        if portfolio.rules.window == 1 {
            for (lane, row_out) in block.lanes.iter().zip(rows_out) {
                rows.prefetch(upcoming[lane] as usize + 1);
                bars.set(lane, rows.copy_with_bar(often.row[lane] as usize, row_out), squares_off);
            }
        } else {
            for (lane, row_out) in block.lanes.iter().zip(rows_out) {
                rows.prefetch(upcoming[lane] as usize + 1);
                bars.set(lane, portfolio.show_rows(often.row[lane] as usize, row_out), squares_off);
            }
        }
        if portfolio.episodes.liquidate_at_end {
            block.lanes.of(bars.is_last).for_each(|lane| bars.must_be_flat[lane] = 1);
        }
    }
}

impl Bars {
    #[inline(always)]
    fn set(&mut self, lane: usize, bar: StepBar, squares_off: bool) {
        self.open[lane] = bar.open;
        self.close[lane] = bar.close;
        self.session_left[lane] = bar.session_left;
        self.must_be_flat[lane] = u64::from(squares_off & bar.ends_session);
    }
}
