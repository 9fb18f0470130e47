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
#[derive(Debug, Clone, Copy, Default)]
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
        self.often.get(lane, self.seldom[lane])
    }

    #[inline]
    fn set(&mut self, lane: usize, state: &State) {
        self.often.set(lane, state);
        self.seldom[lane] = state.seldom;
    }
}

impl Often {
    /// The state in a lane, whose rest is `seldom`.
    #[inline]
    fn get(&self, lane: usize, seldom: Seldom) -> State {
        State {
            symbol_idx: self.symbol_idx[lane],
            row: self.row[lane],
            last_row: self.last_row[lane],
            bars_held: self.bars_held[lane] as u32,
            account: Account {
                cash: self.cash[lane],
                shares: self.shares[lane],
                entry_price: self.entry_price[lane],
            },
            held_target: self.held_target[lane],
            equity: self.equity[lane],
            peak: self.peak[lane],
            max_drawdown: self.max_drawdown[lane],
            seldom,
        }
    }

    /// Takes a lane over from `other`.
    pub(super) fn take(&mut self, lane: usize, other: &Self) {
        self.set(lane, &other.get(lane, Seldom::default()));
    }

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
}

impl environment::States for States {
    type State = State;

    fn from_fn(mut state: impl FnMut(usize) -> State) -> Self {
        let seldom = Box::new([Seldom::default(); BLOCK_LEN]);
        let mut states = Self { often: Often::default(), seldom };
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
