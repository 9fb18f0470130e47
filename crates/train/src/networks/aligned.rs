//! Memory that starts on a cache line. Matrix kernels choose their path by the alignment of what they
//! read, so equal bits from run to run need equal alignment from run to run.

use std::ops::{Deref, DerefMut};

const CACHE_LINE_BYTES: usize = 64;

/// Floats, the first of them on a cache line.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let storage = vec![0.0; len + CACHE_LINE_BYTES / size_of::<f32>()];
        let start = storage.as_ptr().align_offset(CACHE_LINE_BYTES);
        Self { storage, start, len }
    }

    /// The buffer with `len` values; the memory is kept unless it is too small. What they are is of no
    /// interest: the caller writes them all.
    pub fn of_len(&mut self, len: usize) -> &mut [f32] {
        if self.start + len > self.storage.len() {
            *self = Self::zeros(len);
        }
        self.len = len;
        self
    }

    /// Appends `values`.
    pub fn extend(&mut self, values: &[f32]) {
        let (old, new) = (self.len, self.len + values.len());
        if self.start + new > self.storage.len() {
            let mut grown = Self::zeros(2 * new);
            grown[..old].copy_from_slice(self);
            *self = grown;
        }
        self.len = new;
        self[old..].copy_from_slice(values);
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_any_length_start_on_a_cache_line() {
        let mut buffer = AlignedBuffer::default();
        for len in [1, 7, 64, 1000, 3] {
            assert_eq!(buffer.of_len(len).len(), len);
            assert_eq!(buffer.as_ptr() as usize % CACHE_LINE_BYTES, 0);
        }
    }

    #[test]
    fn a_buffer_grows_with_what_is_appended_and_stays_aligned() {
        let mut buffer = AlignedBuffer::default();
        let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        values.chunks(9).for_each(|chunk| buffer.extend(chunk));
        assert_eq!(*buffer, *values);
        assert_eq!(buffer.as_ptr() as usize % CACHE_LINE_BYTES, 0);
    }
}
