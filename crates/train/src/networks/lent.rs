//! Parameters and moments on loan. To copy those of a large network takes longer than a training may stand still
//! for a checkpoint, so another thread copies them while this one goes on acting, which only reads them. Before
//! anything changes them, the lender waits until they are returned.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Result;

type Copy = Box<dyn FnOnce(&mut [f32]) -> Result<()> + Send>;

/// Numbers that stay as they are until this value is dropped.
pub struct Lent {
    len: usize,
    copy: Copy,
}

impl Lent {
    /// `len` numbers that `copy` copies. The loan lasts as long as `copy` does.
    pub fn new(len: usize, copy: impl FnOnce(&mut [f32]) -> Result<()> + Send + 'static) -> Self {
        Self { len, copy: Box::new(copy) }
    }

    /// Puts a copy into `values`, whose memory is used again, and ends the loan.
    ///
    /// # Errors
    /// If the device fails.
    pub fn copy_to(self, values: &mut Vec<f32>) -> Result<()> {
        values.resize(self.len, 0.0);
        (self.copy)(values)
    }
}

impl From<Vec<f32>> for Lent {
    /// Numbers that belong to nobody else.
    fn from(numbers: Vec<f32>) -> Self {
        Self::new(numbers.len(), move |values| {
            values.copy_from_slice(&numbers);
            Ok(())
        })
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} numbers on loan", self.len)
    }
}

/// What its owner has lent.
#[derive(Debug, Default)]
pub struct Loans {
    open: Arc<(Mutex<usize>, Condvar)>,
}

/// One loan; it ends when this is dropped.
#[derive(Debug)]
pub struct Loan {
    open: Arc<(Mutex<usize>, Condvar)>,
}

impl Loans {
    /// Begins a loan.
    pub fn begin(&self) -> Loan {
        *self.open.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Loan { open: Arc::clone(&self.open) }
    }

    /// Waits for the end of all loans: as long as it takes to copy them, as whoever has one does nothing else.
    pub fn wait_until_returned(&self) {
        let (open, returned) = &*self.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        while *open > 0 {
            open = returned.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let (open, returned) = &*self.open;
        *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn the_owner_waits_until_the_copy_is_made_or_given_up() {
        let loans = Loans::default();
        let copied = Arc::new(AtomicBool::new(false));
        let (loan, done) = (loans.begin(), Arc::clone(&copied));
        let lent = Lent::new(2, move |values| {
            thread::yield_now();
            values.copy_from_slice(&[1.0, 2.0]);
            done.store(true, Ordering::SeqCst);
            drop(loan);
            Ok(())
        });
        let copier = thread::spawn(move || {
            let mut values = vec![7.0; 5];
            lent.copy_to(&mut values).map(|()| values)
        });
        loans.wait_until_returned();
        assert!(copied.load(Ordering::SeqCst));
        assert_eq!(copier.join().unwrap().unwrap(), [1.0, 2.0]);

        let loan = loans.begin();
        drop(Lent::new(2, move |_| {
            drop(loan);
            Ok(())
        }));
        loans.wait_until_returned();
    }
}
