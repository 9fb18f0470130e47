//! What running episodes remember, one by one and in blocks.

use crate::account::{Account, Ledger};
use crate::environment::{self, BLOCK_LEN};
use crate::reward::Moments;

/// One number a lane.
pub(super) type Lane = [f64; BLOCK_LEN];

/// One running episode.
#[derive(Debug, Clone, Copy)]
pub struct State {
    pub(super) symbol_idx: u32,
    /// The row whose close was seen last, among those of all symbols.
    pub(super) row: u32,
    /// The row that the last step ends with.
    pub(super) last_row: u32,
    pub(super) bars_held: u32,
    pub(super) account: Account,
    pub(super) held_target: f64,
    /// Equity at `row`'s close, net of every cost so far.
    pub(super) equity: f64,
    pub(super) peak: f64,
    pub(super) max_drawdown: f64,
    pub(super) seldom: Seldom,
}

/// What orders and rarer rewards remember.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seldom {
    pub(super) ledger: Ledger,
    pub(super) moments: Moments,
}

/// The episodes of a block.
#[derive(Debug)]
pub struct States {
    pub(super) often: Often,
    /// Apart, so that what every step reads of thousands of episodes fits into a cache.
    seldom: Box<[Seldom; BLOCK_LEN]>,
}

/// What every step reads and writes: one array a quantity, so that a step works on several episodes at once. The
/// quantities are those of [`State`].
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Often {
    pub(super) symbol_idx: [u32; BLOCK_LEN],
    pub(super) row: [u32; BLOCK_LEN],
    pub(super) last_row: [u32; BLOCK_LEN],
    /// In double precision, as arithmetic needs it.
    pub(super) bars_held: Lane,
    pub(super) cash: Lane,
    pub(super) shares: Lane,
    pub(super) entry_price: Lane,
    pub(super) held_target: Lane,
    pub(super) equity: Lane,
    pub(super) peak: Lane,
    pub(super) max_drawdown: Lane,
}

impl States {
    #[inline]
    fn get(&self, lane: usize) -> State {
        let often = &self.often;
        State {
            symbol_idx: often.symbol_idx[lane],
            row: often.row[lane],
            last_row: often.last_row[lane],
            bars_held: often.bars_held[lane] as u32,
            account: Account {
                cash: often.cash[lane],
                shares: often.shares[lane],
                entry_price: often.entry_price[lane],
            },
            held_target: often.held_target[lane],
            equity: often.equity[lane],
            peak: often.peak[lane],
            max_drawdown: often.max_drawdown[lane],
            seldom: self.seldom[lane],
        }
    }

    #[inline]
    fn set(&mut self, lane: usize, state: &State) {
        self.often.set(lane, state);
        self.seldom[lane] = state.seldom;
    }
}

impl Often {
    #[inline]
    fn set(&mut self, lane: usize, state: &State) {
        self.symbol_idx[lane] = state.symbol_idx;
        self.row[lane] = state.row;
        self.last_row[lane] = state.last_row;
        self.bars_held[lane] = f64::from(state.bars_held);
        self.cash[lane] = state.account.cash;
        self.shares[lane] = state.account.shares;
        self.entry_price[lane] = state.account.entry_price;
        self.held_target[lane] = state.held_target;
        self.equity[lane] = state.equity;
        self.peak[lane] = state.peak;
        self.max_drawdown[lane] = state.max_drawdown;
    }

    /// Takes a lane over from `other`.
    pub(super) fn take(&mut self, lane: usize, other: &Self) {
        self.symbol_idx[lane] = other.symbol_idx[lane];
        self.row[lane] = other.row[lane];
        self.last_row[lane] = other.last_row[lane];
        self.bars_held[lane] = other.bars_held[lane];
        self.cash[lane] = other.cash[lane];
        self.shares[lane] = other.shares[lane];
        self.entry_price[lane] = other.entry_price[lane];
        self.held_target[lane] = other.held_target[lane];
        self.equity[lane] = other.equity[lane];
        self.peak[lane] = other.peak[lane];
        self.max_drawdown[lane] = other.max_drawdown[lane];
    }
}

impl environment::States for States {
    type State = State;

    fn from_fn(mut state: impl FnMut(usize) -> State) -> Self {
        let none = [0; BLOCK_LEN];
        let zeros = [0.0; BLOCK_LEN];
        let often = Often {
            symbol_idx: none,
            row: none,
            last_row: none,
            bars_held: zeros,
            cash: zeros,
            shares: zeros,
            entry_price: zeros,
            held_target: zeros,
            equity: zeros,
            peak: zeros,
            max_drawdown: zeros,
        };
        let mut states = Self { often, seldom: Box::new([Seldom::default(); BLOCK_LEN]) };
        (0..BLOCK_LEN).for_each(|lane| states.set(lane, &state(lane)));
        states
    }

    fn with<T>(&self, lane: usize, look: impl FnOnce(&State) -> T) -> T {
        look(&self.get(lane))
    }

    fn with_mut<T>(&mut self, lane: usize, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.get(lane);
        let changed = change(&mut state);
        self.set(lane, &state);
        changed
    }
}
