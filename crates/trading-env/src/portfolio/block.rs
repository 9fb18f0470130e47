//! A step of many states at once, under the rules that nearly everybody plays.
//!
//! Most steps place no order: nothing but a price changes. A first pass over the block reads each state's next
//! bar, plays the few that trade by the rules of everybody, copies features, and leaves the numbers that the
//! others need in lanes; a second one does the arithmetic of all lanes together, so that no quotient or logarithm
//! waits for the one before; a third writes it where it belongs. The bits are those of one state at a time.

use super::{EQUITY_FLOOR, HALF_HELD_BARS, Portfolio, State, clip};
use crate::environment::{BLOCK_LEN, Block, BlockOutputs};
use crate::logarithm::logarithms;
use crate::rows::StepBar;

/// One number a state of the block.
type Lane = [f64; BLOCK_LEN];

/// What the passes hand on.
struct Lanes {
    equity_before: Lane,
    equity: Lane,
    peak: Lane,
    value: Lane,
    unrealised: Lane,
    bars_held: Lane,
    session_left: [f32; BLOCK_LEN],
}

impl Portfolio {
    /// One step of every state of the block, by rules that are [`Portfolio::is_plain`].
    pub(super) fn step_plain_block(
        &self,
        states: &mut [State],
        block: &Block<'_>,
        out: &mut BlockOutputs<'_>,
    ) {
        let mut lanes = Lanes {
            equity_before: [1.0; BLOCK_LEN],
            equity: [1.0; BLOCK_LEN],
            peak: [1.0; BLOCK_LEN],
            value: [0.0; BLOCK_LEN],
            unrealised: [0.0; BLOCK_LEN],
            bars_held: [0.0; BLOCK_LEN],
            session_left: [0.0; BLOCK_LEN],
        };
        self.play(states, block, out, &mut lanes);
        let Lanes { equity_before, equity, peak, value, unrealised, bars_held, session_left } = &lanes;
        let mut growth: Lane = std::array::from_fn(|at| equity[at] / equity_before[at]);
        logarithms(&mut growth);
        let fallen: Lane = std::array::from_fn(|at| 1.0 - equity[at] / peak[at]);
        let position: [f32; BLOCK_LEN] = std::array::from_fn(|at| clip(value[at] / equity[at]));
        let result: [f32; BLOCK_LEN] =
            std::array::from_fn(|at| clip(unrealised[at] / equity[at] / self.result_unit));
        let held: [f32; BLOCK_LEN] =
            std::array::from_fn(|at| (bars_held[at] / (bars_held[at] + HALF_HELD_BARS)) as f32);
        let drawdown: [f32; BLOCK_LEN] = std::array::from_fn(|at| clip(fallen[at] / self.result_unit));
        out.rewards.copy_from_slice(&growth[..block.places.len()]);
        let features_len = self.rules.window * self.data.feature_names.len();
        let rows = out.observations.chunks_exact_mut(features_len + super::ACCOUNT_NAMES.len());
        for (at, (&place, row)) in block.places.iter().zip(rows).enumerate() {
            let state = &mut states[place as usize];
            state.max_drawdown = state.max_drawdown.max(fallen[at]);
            let account = [position[at], result[at], held[at], drawdown[at], session_left[at]];
            row[features_len..].copy_from_slice(&account);
        }
    }

    /// The first pass.
    fn play(&self, states: &mut [State], block: &Block<'_>, out: &mut BlockOutputs<'_>, lanes: &mut Lanes) {
        let rules = &self.rules;
        let (ruin, floor) = (rules.ruin * rules.capital, EQUITY_FLOOR * rules.capital);
        let observation_len = rules.window * self.data.feature_names.len() + super::ACCOUNT_NAMES.len();
        let rows = out.observations.chunks_exact_mut(observation_len);
        for (at, (&place, row_out)) in block.places.iter().zip(rows).enumerate() {
            if let Some(&next) = block.upcoming.get(at) {
                let next = &states[next as usize];
                self.symbol(next).rows.prefetch(next.row as usize + 1);
            }
            let state = &mut states[place as usize];
            let action = block.actions.at(at, block.action_len);
            let target = rules.targets.target(action, state.held_target, rules.allows_short);
            state.row += 1;
            let bar = self.show_rows(state, row_out);
            let StepBar { open, close, session_left, ends_session } = bar;
            let shares_before = state.account.shares;
            let is_last = state.row == state.last_row;
            let must_be_flat =
                (rules.square_off && ends_session) || (is_last && self.episodes.liquidate_at_end);
            let places_no_order = target == state.held_target && (state.held_target == 0.0 || !must_be_flat);
            let (equity, ruined_at_open) = if places_no_order && state.account.equity(open) > ruin {
                (state.account.equity(close), false)
            } else {
                self.play_orders(state, target, bar)
            };
            let equity = equity.max(floor);
            lanes.equity_before[at] = state.equity;
            lanes.equity[at] = equity;
            state.equity = equity;
            state.peak = state.peak.max(equity);
            lanes.peak[at] = state.peak;
            state.count_bars_held(shares_before);
            lanes.value[at] = state.account.shares * close;
            lanes.unrealised[at] = state.account.unrealised(close);
            lanes.bars_held[at] = f64::from(state.bars_held);
            lanes.session_left[at] = session_left;
            out.terminated[at] = (ruined_at_open || equity <= ruin).into();
            out.truncated[at] = is_last.into();
        }
    }

    /// Apart, so that what few steps need takes no place in the loop of all.
    #[inline(never)]
    fn play_orders(&self, state: &mut State, target: f64, bar: StepBar) -> (f64, bool) {
        let played = self.play_bar::<true>(state, target, bar);
        (played.equity, played.ruined_at_open)
    }

    /// Writes the features of the rows that the agent sees, and returns the last row's bar.
    #[inline(always)]
    pub(super) fn show_rows(&self, state: &State, out: &mut [f32]) -> StepBar {
        let rows = &self.symbol(state).rows;
        let row = state.row as usize;
        let n_features = self.data.feature_names.len();
        let (features, bar) = rows.at(row);
        let window = self.rules.window;
        for (row_idx, out) in out.chunks_exact_mut(n_features.max(1)).take(window - 1).enumerate() {
            out.copy_from_slice(rows.features(row + 1 + row_idx - window));
        }
        copy(features, &mut out[(window - 1) * n_features..][..n_features]);
        bar
    }
}

/// Copies in pieces of known lengths, without the call and the questions of a copy of any length: rows are short.
#[inline(always)]
fn copy(mut from: &[f32], mut to: &mut [f32]) {
    let n_whole = from.len() / 64 * 64;
    if n_whole > 0 {
        let (from_whole, to_whole);
        (from_whole, from) = from.split_at(n_whole);
        (to_whole, to) = to.split_at_mut(n_whole);
        to_whole.copy_from_slice(from_whole);
    }
    copy_if::<32>(&mut from, &mut to);
    copy_if::<16>(&mut from, &mut to);
    copy_if::<8>(&mut from, &mut to);
    copy_if::<4>(&mut from, &mut to);
    copy_if::<2>(&mut from, &mut to);
    copy_if::<1>(&mut from, &mut to);
}

/// Copies the first `LEN` numbers, if there are as many, and leaves the rest.
#[inline(always)]
fn copy_if<const LEN: usize>(from: &mut &[f32], to: &mut &mut [f32]) {
    if let Some((first, rest)) = from.split_first_chunk::<LEN>()
        && let Some((slot, others)) = std::mem::take(to).split_first_chunk_mut::<LEN>()
    {
        *slot = *first;
        (*from, *to) = (rest, others);
    }
}
