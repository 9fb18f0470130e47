//! Observations where they lie: in a session's own memory, or in memory that the server writes.
//!
//! They are most of what an exchange brings, and whoever learns from them keeps them in memory of its own anyway;
//! so they are copied there at once, and not into a private slab before. Nothing else is read in place: rewards,
//! ends and records are copied first and then checked.
//!
//! A server that keeps to the protocol writes only between a request and its answer. Then there is nothing to
//! be read here, and a view that is held borrows the session, without which nothing can be asked; the server's
//! counter, stored and loaded in sequentially consistent order, puts its writes before our reads. So there is no
//! race. Against a server that does not keep to it: it is another program, and like a device it can choose which
//! bytes we read, at any moment. Therefore no reference to them is ever made, by which the compiler could believe
//! that they stay as they are; they are copied, and every pattern of bits is a number.

use std::marker::PhantomData;

/// The observations of one exchange, `n_envs × obs_len` numbers.
#[derive(Debug, Clone, Copy)]
pub struct Observations<'a> {
    start: *const f32,
    len: usize,
    memory: PhantomData<&'a [f32]>,
}

impl Observations<'_> {
    /// Those that another process writes.
    ///
    /// # Safety
    /// `len` numbers from `start` on, aligned, can be read for as long as `'a`; a server that keeps to the protocol
    /// does not write them meanwhile.
    pub(crate) unsafe fn written_elsewhere(start: *const f32, len: usize) -> Self {
        Self { start, len, memory: PhantomData }
    }

    /// How many numbers.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none: in shared memory, while a step is in flight.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Copies them.
    ///
    /// # Panics
    /// If `out` has not as many numbers, as slices do.
    pub fn copy_to(self, out: &mut [f32]) {
        assert_eq!(out.len(), self.len, "observations are copied whole, and not while a step is in flight");
        // SAFETY: readable for `'a`, as whoever made this value promised; `out` is exclusively ours and so lies
        // elsewhere. A write by a server that breaks the protocol is discussed at the top: some of its bits.
        unsafe { std::ptr::copy_nonoverlapping(self.start, out.as_mut_ptr(), self.len) };
    }

    /// Copies them into a buffer, which is made to have their length.
    pub fn copy_into(self, out: &mut Vec<f32>) {
        out.resize(self.len, 0.0);
        self.copy_to(out);
    }

    /// A copy.
    pub fn to_vec(self) -> Vec<f32> {
        let mut numbers = Vec::new();
        self.copy_into(&mut numbers);
        numbers
    }

    /// Where they begin, for a reader that is not Rust, such as a tensor library that wraps memory: to be read
    /// only, as [`Observations::len`] numbers, and only for as long as this value may live. A Rust slice of
    /// them would have to promise that no server writes them meanwhile, which only a trusted server can keep.
    pub fn as_ptr(self) -> *const f32 {
        self.start
    }
}

impl<'a> From<&'a [f32]> for Observations<'a> {
    fn from(numbers: &'a [f32]) -> Self {
        Self { start: numbers.as_ptr(), len: numbers.len(), memory: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_the_same_bits_whatever_they_are() {
        let numbers = [1.5, f32::from_bits(0x7fa0_0001), -0.0, f32::MIN_POSITIVE / 4.0];
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let seen = Observations::from(&numbers[..]);
        assert_eq!(bits(&seen.to_vec()), bits(&numbers));
        assert_eq!((seen.len(), seen.is_empty(), seen.as_ptr()), (4, false, numbers.as_ptr()));
    }

    #[test]
    #[should_panic(expected = "copied whole")]
    fn a_copy_of_another_length_is_a_mistake() {
        Observations::from(&[1.0, 2.0][..]).copy_to(&mut [0.0]);
    }
}
