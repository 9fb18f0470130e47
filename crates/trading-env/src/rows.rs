//! The rows of a table as steps read them: scaled features and the bar's own numbers side by side, so that a
//! step looks at one place in memory. A row begins with a cache line, which costs up to a line's length a row and
//! saves a line a look.

#![expect(clippy::inline_always, reason = "what every step does is to stand in its loop, in registers")]

use market::Bars;

use crate::large_pages;
use crate::prefetch::{LINE_LEN, prefetch};

/// Numbers of 32 bits that a bar takes: two prices of 64, and what is left of the session.
pub(crate) const BAR_LEN: usize = 5;
const SIGN: u32 = 1 << 31;

/// What a step needs to know of one bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepBar {
    /// First price.
    pub open: f64,
    /// Last price.
    pub close: f64,
    /// How much of the session is left after the bar, from just under 1 down to 0.
    pub session_left: f32,
    /// Whether it is the last bar of its session.
    pub ends_session: bool,
}

/// The rows of all symbols, one symbol after the other: whoever knows a row's number need not ask whose it is.
#[derive(Debug, Clone)]
pub struct Rows {
    numbers: Vec<f32>,
    /// Where the first row begins: at a cache line.
    first: usize,
    stride: usize,
    n_features: usize,
    len: usize,
}

/// A look at all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowsView<'a> {
    numbers: &'a [f32],
    stride: usize,
}

/// Rows that follow each other, to be filled.
#[derive(Debug)]
pub struct RowsMut<'a> {
    numbers: &'a mut [f32],
    stride: usize,
    n_features: usize,
}

impl Rows {
    /// As many rows, of zeros.
    pub fn zeros(len: usize, n_features: usize) -> Self {
        let stride = (n_features + BAR_LEN).next_multiple_of(LINE_LEN);
        let mut numbers = vec![0.0; len * stride + LINE_LEN - 1];
        large_pages::advise(&mut numbers);
        let to_a_line = numbers.as_ptr().align_offset(LINE_LEN * size_of::<f32>());
        // It is a matter of speed alone, so that an address that cannot be aligned is as good as any.
        let first = if to_a_line < LINE_LEN { to_a_line } else { 0 };
        Self { numbers, first, stride, n_features, len }
    }

    /// Cuts the rows into pieces of these lengths, so that several threads can fill them.
    pub fn split_mut(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<RowsMut<'_>> {
        let (stride, n_features) = (self.stride, self.n_features);
        let mut left = &mut self.numbers[self.first..][..self.len * stride];
        lengths
            .map(|length| {
                let (numbers, rest) = std::mem::take(&mut left).split_at_mut(length * stride);
                left = rest;
                RowsMut { numbers, stride, n_features }
            })
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The features of `row`.
    #[inline]
    pub fn features(&self, row: usize) -> &[f32] {
        &self.row(row)[..self.n_features]
    }

    /// The features of `row` and its bar.
    #[inline(always)]
    pub fn at(&self, row: usize) -> (&[f32], StepBar) {
        let (features, rest) = self.row(row).split_at(self.n_features);
        // Every row has its bar; whoever knows that need not look at each number's place.
        (features, rest.first_chunk().copied().map_or(StepBar::NONE, StepBar::unpack))
    }

    /// The bar of `row`.
    #[inline]
    pub fn bar(&self, row: usize) -> StepBar {
        self.at(row).1
    }

    /// The same rows without a detour, for loops that would ask for the way to them again after whatever they write.
    #[inline(always)]
    pub(crate) fn view(&self) -> RowsView<'_> {
        RowsView { numbers: &self.numbers[self.first..], stride: self.stride }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.numbers[self.first + row * self.stride..][..self.stride]
    }
}

impl RowsMut<'_> {
    /// Fills them with `bars`, as many as there are rows; `feature(row, feature_idx)` is a scaled feature, and
    /// `session_bars` the usual number of bars in a session.
    pub fn fill(self, bars: &Bars, session_bars: u32, feature: impl Fn(usize, usize) -> f32) {
        let session_left = session_left(&bars.session, session_bars);
        for (row, slot) in self.numbers.chunks_exact_mut(self.stride).enumerate() {
            let (features, rest) = slot.split_at_mut(self.n_features);
            for (feature_idx, number) in features.iter_mut().enumerate() {
                *number = feature(row, feature_idx);
            }
            let ends_session = bars.session.get(row + 1) != Some(&bars.session[row]);
            let bar = StepBar {
                open: bars.open[row],
                close: bars.close[row],
                session_left: session_left[row],
                ends_session,
            };
            rest[..BAR_LEN].copy_from_slice(&bar.pack());
        }
    }
}

impl RowsView<'_> {
    /// Asks memory for `row`, should there be such a row.
    #[inline(always)]
    pub(crate) fn prefetch(self, row: usize) {
        prefetch(self.numbers, row * self.stride, self.stride);
    }

    /// Copies the features of `row` into `out`, and after them the bar's [`BAR_LEN`] numbers, to be written over: in whole
    /// lines it is done sooner. Returns the bar.
    ///
    /// # Panics
    /// If `out` has room for more than a row.
    #[inline(always)]
    pub(crate) fn copy_with_bar(self, row: usize, out: &mut [f32]) -> StepBar {
        let row = &self.numbers[row * self.stride..][..out.len()];
        copy(row, out);
        row.last_chunk().copied().map_or(StepBar::NONE, StepBar::unpack)
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        let is_alike = (self.len, self.n_features) == (other.len, other.n_features);
        is_alike && (0..self.len).all(|row| self.at(row) == other.at(row))
    }
}

impl StepBar {
    const NONE: Self = Self { open: 0.0, close: 0.0, session_left: 0.0, ends_session: false };

    /// The sign of what is left tells the session's end.
    fn pack(self) -> [f32; BAR_LEN] {
        let halves = |price: f64| {
            let bits = price.to_bits();
            [bits as u32, (bits >> 32) as u32].map(f32::from_bits)
        };
        let ([a, b], [c, d]) = (halves(self.open), halves(self.close));
        let sign = if self.ends_session { SIGN } else { 0 };
        [a, b, c, d, f32::from_bits(self.session_left.to_bits() | sign)]
    }

    #[inline(always)]
    fn unpack([a, b, c, d, left]: [f32; BAR_LEN]) -> Self {
        let price =
            |low: f32, high: f32| f64::from_bits(u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32);
        Self {
            open: price(a, b),
            close: price(c, d),
            session_left: f32::from_bits(left.to_bits() & !SIGN),
            ends_session: left.to_bits() & SIGN != 0,
        }
    }
}

/// Copies in pieces of a known length, without the call and the questions of a copy of any length: rows are short.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "numbers of a row");
    let ((pieces_from, _), (pieces_to, _)) = (from.as_chunks::<LINE_LEN>(), to.as_chunks_mut::<LINE_LEN>());
    for (to, from) in pieces_to.iter_mut().zip(pieces_from) {
        *to = *from;
    }
    // The last piece may overlap the one before.
    match (from.last_chunk::<LINE_LEN>(), to.last_chunk_mut::<LINE_LEN>()) {
        (Some(from), Some(to)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

fn session_left(session: &[i32], session_bars: u32) -> Vec<f32> {
    session
        .chunk_by(|a, b| a == b)
        .flat_map(|bars| (1..=bars.len()).map(|seen| (1.0 - seen as f32 / session_bars as f32).max(0.0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random_walk_table;

    #[test]
    fn a_session_runs_out_bar_by_bar() {
        assert_eq!(session_left(&[3, 3, 3, 3, 4, 4], 4), [0.75, 0.5, 0.25, 0.0, 0.75, 0.5]);
        // A session longer than usual has nothing left; a daily bar never has.
        assert_eq!(session_left(&[0, 0], 1), [0.0, 0.0]);
    }

    #[test]
    fn rows_give_back_what_was_put_in_whatever_their_length() {
        let mut table = random_walk_table(2, 4, 5, 1, 7);
        let bars = &mut table.symbols[1].bars;
        // Halves of a price can look like anything, numbers that are none among it.
        bars.close[3] = f64::from_bits(0x7ff0_0001_7fa0_0001);
        bars.open[4] = -0.0;
        for n_features in [0, 1, 10, 11, 12, 27, 59] {
            let mut rows = Rows::zeros(40, n_features);
            for (symbol, piece) in table.symbols.iter().zip(rows.split_mut([20, 20].into_iter())) {
                let first = if symbol.bars.symbol == table.symbols[0].bars.symbol { 0 } else { 20 };
                piece.fill(&symbol.bars, 5, |row, feature_idx| ((first + row) * 100 + feature_idx) as f32);
            }
            assert_eq!(rows.len(), 40);
            for row in 0..40 {
                let ((features, bar), bars) = (rows.at(row), &table.symbols[row / 20].bars);
                let feature = |idx: usize| (row * 100 + idx) as f32;
                assert!(features.iter().enumerate().all(|(idx, &value)| value == feature(idx)));
                assert_eq!(features.len(), n_features);
                assert_eq!(bar.open.to_bits(), bars.open[row % 20].to_bits());
                assert_eq!(bar.close.to_bits(), bars.close[row % 20].to_bits());
                assert_eq!(bar.ends_session, row % 5 == 4);
                assert_eq!(bar.session_left, 1.0 - (row % 5 + 1) as f32 / 5.0);
                assert_eq!(rows.row(row).as_ptr().addr() % 64, 0, "a row begins with a line");
            }
        }
    }
}
