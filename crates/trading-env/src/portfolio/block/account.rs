//! What a bar did to the accounts, what it pays, and what the agents see of it.

#![expect(clippy::inline_always, reason = "a pass is compiled anew for each kind of processor")]

use super::bars::Bars;
use super::pass::Pass;
use super::{Block, Lane};
use crate::environment::{BLOCK_LEN, BlockOutputs};
use crate::logarithm::logarithms;
use crate::portfolio::states::Often;
use crate::portfolio::{ACCOUNT_NAMES, EQUITY_FLOOR, HALF_HELD_BARS, Portfolio, clip};

/// The last pass: the arithmetic of all lanes, then each number to its place.
pub(super) struct Settle<'a, 'b, 'o> {
    pub(super) portfolio: &'a Portfolio,
    pub(super) block: &'a Block<'b>,
    pub(super) often: &'a mut Often,
    pub(super) out: &'a mut BlockOutputs<'o>,
    pub(super) bars: &'a Bars,
    pub(super) shares_before: &'a Lane,
    /// A bit for each lane.
    pub(super) ruined_at_open: u32,
}

impl Pass for Settle<'_, '_, '_> {
    type Found = ();

    #[inline(always)]
    fn run(self) {
        let Self { portfolio, block, often, out, bars, shares_before, ruined_at_open } = self;
        let rules = &portfolio.rules;
        let (ruin, floor) = (rules.ruin * rules.capital, EQUITY_FLOOR * rules.capital);
        let per_unit = portfolio.per_unit;
        let (mut growth, mut fallen): (Lane, Lane) = ([0.0; BLOCK_LEN], [0.0; BLOCK_LEN]);
        let mut is_ruined = 0;
        for lane in 0..BLOCK_LEN {
            let (shares, close) = (often.shares[lane], bars.close[lane]);
            let equity = larger(often.cash[lane] + shares * close, floor);
            is_ruined |= u64::from(equity <= ruin) << lane;
            growth[lane] = equity / often.equity[lane];
            often.equity[lane] = equity;
            often.peak[lane] = larger(equity, often.peak[lane]);
            fallen[lane] = 1.0 - equity / often.peak[lane];
            often.max_drawdown[lane] = larger(fallen[lane], often.max_drawdown[lane]);
            let is_held_on = shares * shares_before[lane] > 0.0;
            let bars_held = if is_held_on { often.bars_held[lane] + 1.0 } else { 1.0 };
            often.bars_held[lane] = if shares == 0.0 { 0.0 } else { bars_held };
        }
        logarithms(&mut growth);
        let mut account = [[0.0_f32; BLOCK_LEN]; 4];
        for lane in 0..BLOCK_LEN {
            let (shares, close) = (often.shares[lane], bars.close[lane]);
            let equity = often.equity[lane] as f32;
            let bars_held = often.bars_held[lane] as f32;
            account[0][lane] = clip((shares * close) as f32 / equity);
            account[1][lane] = clip((shares * (close - often.entry_price[lane])) as f32 / equity * per_unit);
            account[2][lane] = bars_held / (bars_held + HALF_HELD_BARS);
            account[3][lane] = clip(fallen[lane] as f32 * per_unit);
        }
        let (terminated, truncated) = (is_ruined as u32 | ruined_at_open, bars.is_last);
        let features_len = portfolio.observation_len - ACCOUNT_NAMES.len();
        let n = block.lanes.len();
        let observations = &mut out.observations[..n * portfolio.observation_len];
        for at in 0..n {
            let lane = block.lanes.at(at);
            let [position, result, held, drawdown] = &account;
            observations[at * portfolio.observation_len + features_len..][..ACCOUNT_NAMES.len()]
                .copy_from_slice(&[
                    position[lane],
                    result[lane],
                    held[lane],
                    drawdown[lane],
                    bars.session_left[lane],
                ]);
        }
        if block.is_whole {
            out.rewards[..n].copy_from_slice(&growth[..n]);
        } else {
            block.lanes.iter().zip(&mut *out.rewards).for_each(|(lane, reward)| *reward = growth[lane]);
        }
        for (flags, bits) in [(&mut *out.terminated, terminated), (&mut *out.truncated, truncated)] {
            flags[..n].fill(0);
            if bits != 0 {
                for (lane, flag) in block.lanes.iter().zip(flags) {
                    *flag = (bits >> lane & 1) as u8;
                }
            }
        }
    }
}

/// The larger one; `b` where `a` is no number. That is one instruction, where [`f64::max`] takes three.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}
