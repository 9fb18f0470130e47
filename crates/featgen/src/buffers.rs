//! Series that were done with, used again: a series of a million bars fresh from the system costs more than most
//! indicators do, page by page. Each thread keeps a few.

use std::cell::RefCell;

use market::FeatureColumn;

/// Series of each kind that a thread keeps.
const KEPT: usize = 6;

thread_local! {
    static DOUBLES: RefCell<Vec<Vec<f64>>> = const { RefCell::new(Vec::new()) };
    static SINGLES: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A series of so many values, whatever they are: every one of them is to be written.
pub fn doubles(n: usize) -> Vec<f64> {
    let kept = DOUBLES.with_borrow_mut(Vec::pop);
    kept.map_or_else(|| vec![0.0; n], |series| resized(series, n))
}

/// The same in single precision.
pub fn singles(n: usize) -> Vec<f32> {
    let kept = SINGLES.with_borrow_mut(Vec::pop);
    kept.map_or_else(|| vec![0.0; n], |series| resized(series, n))
}

/// Gives back a series that nobody needs any more.
pub fn give_back(series: Vec<f64>) {
    DOUBLES.with_borrow_mut(|kept| keep(kept, series));
}

/// Gives back a column that nobody needs any more.
pub fn give_back_column(column: FeatureColumn) {
    match column {
        FeatureColumn::F32(series) => SINGLES.with_borrow_mut(|kept| keep(kept, series)),
        FeatureColumn::F64(series) => give_back(series),
    }
}

fn keep<T>(kept: &mut Vec<T>, series: T) {
    if kept.len() < KEPT {
        kept.push(series);
    }
}

fn resized<T: Clone + Default>(mut series: Vec<T>, n: usize) -> Vec<T> {
    if series.capacity() < n {
        // Growing would copy values that nobody reads.
        return vec![T::default(); n];
    }
    series.resize(n, T::default());
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_is_given_back_is_used_again_in_any_length() {
        let series = vec![7.0; 100];
        let place = series.as_ptr();
        give_back(series);
        let again = doubles(50);
        assert_eq!((again.len(), again.as_ptr()), (50, place));
        give_back(again);
        assert_eq!(doubles(1_000).len(), 1_000);
        give_back_column(FeatureColumn::F32(vec![1.0; 10]));
        assert_eq!(singles(10).len(), 10);
    }

    #[test]
    fn few_are_kept() {
        (0..100).for_each(|_| give_back(vec![0.0; 4]));
        assert!(DOUBLES.with_borrow(Vec::len) <= KEPT);
    }
}
