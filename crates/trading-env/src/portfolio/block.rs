//! A step of many states at once, under the rules that nearly everybody plays.
//!
//! Most steps place no order: nothing but a price changes. A first pass over the block reads each state's next
//! bar, plays the few that trade by the rules of everybody, copies features, and leaves the numbers that the
//! others need in lanes; a second one does the arithmetic of all lanes together, so that no quotient or logarithm
//! waits for the one before; a third writes it where it belongs. The bits are those of one state at a time.

#![expect(clippy::inline_always, reason = "what every step does is to stand in its loop, in registers")]

use super::{EQUITY_FLOOR, HALF_HELD_BARS, Portfolio, State, Targets, clip};
use crate::batch::Actions;
use crate::environment::{BLOCK_LEN, Block, BlockOutputs};
use crate::logarithm::logarithms;
use crate::rows::StepBar;

/// One number a state of the block.
type Lane = [f64; BLOCK_LEN];

/// What the passes hand on. What is beyond the block's states is nobody's, and its arithmetic harmless.
struct Lanes {
    target: Lane,
    equity_before: Lane,
    /// Before the floor.
    equity: Lane,
    /// The highest equity before the step.
    peak: Lane,
    max_drawdown: Lane,
    /// Shares times the close, and times what the close is above the price at which they came in.
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
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { self.step_plain_block_in_wide_lanes(states, block, out) };
        }
        self.step_lanes(states, block, out);
    }

    /// The same where four numbers of 64 bits are worked on at once. Nothing is fused, so that the bits are the same.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn step_plain_block_in_wide_lanes(
        &self,
        states: &mut [State],
        block: &Block<'_>,
        out: &mut BlockOutputs<'_>,
    ) {
        self.step_lanes(states, block, out);
    }

    #[inline(always)]
    fn step_lanes(&self, states: &mut [State], block: &Block<'_>, out: &mut BlockOutputs<'_>) {
        let mut lanes = Lanes {
            target: [0.0; BLOCK_LEN],
            equity_before: [1.0; BLOCK_LEN],
            equity: [1.0; BLOCK_LEN],
            peak: [1.0; BLOCK_LEN],
            max_drawdown: [0.0; BLOCK_LEN],
            value: [0.0; BLOCK_LEN],
            unrealised: [0.0; BLOCK_LEN],
            bars_held: [0.0; BLOCK_LEN],
            session_left: [0.0; BLOCK_LEN],
        };
        self.choose(states, block, &mut lanes.target);
        self.play(states, block, out, &mut lanes);
        self.write(states, block, out, &mut lanes);
    }

    /// The targets that the actions mean.
    #[inline(always)]
    fn choose(&self, states: &[State], block: &Block<'_>, target: &mut Lane) {
        let rules = &self.rules;
        if let (Targets::Levels(levels), Actions::Discrete(choices)) = (&rules.targets, block.actions) {
            for (target, &choice) in target.iter_mut().zip(choices) {
                *target = levels[choice as usize];
            }
            return;
        }
        for (at, (target, &place)) in target.iter_mut().zip(block.places).enumerate() {
            let action = block.actions.at(at, block.action_len);
            *target = rules.targets.target(action, states[place as usize].held_target, rules.allows_short);
        }
    }

    /// The first pass: bars, orders and features.
    #[inline(always)]
    fn play(&self, states: &mut [State], block: &Block<'_>, out: &mut BlockOutputs<'_>, lanes: &mut Lanes) {
        let rules = &self.rules;
        let ruin = rules.ruin * rules.capital;
        let (squares_off, liquidates) = (rules.square_off, self.episodes.liquidate_at_end);
        // Lengths that the compiler sees, so that nothing is checked twice.
        let n = block.places.len().min(BLOCK_LEN);
        let (places, upcoming) = (&block.places[..n], block.upcoming);
        let (terminated, truncated) = (&mut out.terminated[..n], &mut out.truncated[..n]);
        let mut rows_out = out.observations.chunks_exact_mut(self.observation_len);
        for at in 0..n {
            if let Some(&next) = upcoming.get(at) {
                let next = &states[next as usize];
                self.data.rows.prefetch(next.row as usize + 1);
            }
            let (state, target) = (&mut states[places[at] as usize], lanes.target[at]);
            state.row += 1;
            let Some(row_out) = rows_out.next() else { return };
            let bar = self.show_rows(state, row_out);
            let StepBar { open, close, session_left, ends_session } = bar;
            let (held_target, shares_before) = (state.held_target, state.account.shares);
            let is_last = state.row == state.last_row;
            let must_be_flat = (squares_off && ends_session) || (liquidates && is_last);
            let places_no_order = target == held_target && (held_target == 0.0 || !must_be_flat);
            let (equity, ruined_at_open) = if places_no_order && state.account.equity(open) > ruin {
                (state.account.equity(close), false)
            } else {
                self.play_orders(state, target)
            };
            state.count_bars_held(shares_before);
            lanes.equity_before[at] = state.equity;
            lanes.equity[at] = equity;
            lanes.peak[at] = state.peak;
            lanes.max_drawdown[at] = state.max_drawdown;
            lanes.value[at] = state.account.shares * close;
            lanes.unrealised[at] = state.account.unrealised(close);
            lanes.bars_held[at] = f64::from(state.bars_held);
            lanes.session_left[at] = session_left;
            terminated[at] = ruined_at_open.into();
            truncated[at] = is_last.into();
        }
    }

    /// The other passes: the arithmetic of all lanes, then each number to its place.
    #[inline(always)]
    fn write(&self, states: &mut [State], block: &Block<'_>, out: &mut BlockOutputs<'_>, lanes: &mut Lanes) {
        let (ruin, floor) = (self.rules.ruin * self.rules.capital, EQUITY_FLOOR * self.rules.capital);
        let unit = self.result_unit;
        let Lanes { equity_before, equity, peak, max_drawdown, value, unrealised, bars_held, .. } = lanes;
        let (mut growth, mut fallen): (Lane, Lane) = ([0.0; BLOCK_LEN], [0.0; BLOCK_LEN]);
        let mut account = [[0.0_f32; BLOCK_LEN]; 4];
        for at in 0..BLOCK_LEN {
            equity[at] = equity[at].max(floor);
            growth[at] = equity[at] / equity_before[at];
            peak[at] = peak[at].max(equity[at]);
            fallen[at] = 1.0 - equity[at] / peak[at];
            max_drawdown[at] = max_drawdown[at].max(fallen[at]);
        }
        logarithms(&mut growth);
        for at in 0..BLOCK_LEN {
            account[0][at] = clip(value[at] / equity[at]);
            account[1][at] = clip(unrealised[at] / equity[at] / unit);
            account[2][at] = (bars_held[at] / (bars_held[at] + HALF_HELD_BARS)) as f32;
            account[3][at] = clip(fallen[at] / unit);
        }
        let n = block.places.len().min(BLOCK_LEN);
        let (places, terminated) = (&block.places[..n], &mut out.terminated[..n]);
        out.rewards[..n].copy_from_slice(&growth[..n]);
        let features_len = self.observation_len - super::ACCOUNT_NAMES.len();
        let mut rows_out = out.observations.chunks_exact_mut(self.observation_len);
        for at in 0..n {
            let state = &mut states[places[at] as usize];
            state.equity = equity[at];
            state.peak = peak[at];
            state.max_drawdown = max_drawdown[at];
            terminated[at] |= u8::from(equity[at] <= ruin);
            let Some(row) = rows_out.next() else { return };
            if let Some(numbers) = row[features_len..].first_chunk_mut() {
                let [position, result, held, drawdown] = &account;
                *numbers = [position[at], result[at], held[at], drawdown[at], lanes.session_left[at]];
            }
        }
    }

    /// Apart, so that what few steps need takes no place in the loop of all.
    #[inline(never)]
    fn play_orders(&self, state: &mut State, target: f64) -> (f64, bool) {
        let bar = self.data.rows.bar(state.row as usize);
        let played = self.play_bar::<true>(state, target, bar);
        (played.equity, played.ruined_at_open)
    }

    /// Writes the features of the rows that the agent sees, and returns the last row's bar.
    #[inline(always)]
    pub(super) fn show_rows(&self, state: &State, out: &mut [f32]) -> StepBar {
        let (features, bar) = self.data.rows.at(state.row as usize);
        if self.rules.window == 1 {
            copy(features, &mut out[..features.len()]);
        } else {
            self.show_window(state, out);
        }
        bar
    }

    #[inline(never)]
    fn show_window(&self, state: &State, out: &mut [f32]) {
        let (rows, window) = (&self.data.rows, self.rules.window);
        let first_row = state.row as usize + 1 - window;
        let n_features = self.data.feature_names.len();
        for (row_idx, out) in out.chunks_exact_mut(n_features.max(1)).take(window).enumerate() {
            out.copy_from_slice(rows.features(first_row + row_idx));
        }
    }
}

/// Copies in pieces of known lengths, without the call and the questions of a copy of any length: rows are short.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    if from.len() >= 64 {
        to.copy_from_slice(from);
        return;
    }
    let (from, to) = copy_if::<32>(from, to);
    let (from, to) = copy_if::<16>(from, to);
    let (from, to) = copy_if::<8>(from, to);
    let (from, to) = copy_if::<4>(from, to);
    let (from, to) = copy_if::<2>(from, to);
    copy_if::<1>(from, to);
}

/// Copies the first `LEN` numbers, if there are as many, and returns what is left to copy.
#[inline(always)]
fn copy_if<'a, const LEN: usize>(from: &'a [f32], to: &'a mut [f32]) -> (&'a [f32], &'a mut [f32]) {
    if from.len() < LEN || to.len() < LEN {
        return (from, to);
    }
    let (first, from) = from.split_at(LEN);
    let (slot, to) = to.split_at_mut(LEN);
    slot.copy_from_slice(first);
    (from, to)
}
