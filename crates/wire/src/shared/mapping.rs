//! Mapped memory. The words by which both sides tell each other whose turn it is are atomics. What lies beside them is
//! copied as a whole, and only by whose turn it is: the counters, stored and loaded in sequentially consistent order, put
//! one side's copy before the other's. Against a side that does not keep to the protocol: it is another program, and like a
//! device it can choose which bytes are copied, at any moment. So no reference is ever made to memory that it may write,
//! and everything is looked at in the copy alone, whose checks must hold for whatever bits it has. Only memory that
//! nobody else may write is ever a plain slice.

use std::ffi::c_void;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rustix::mm::{MapFlags, ProtFlags};

use crate::observations::Observations;

/// A piece of memory that another process may have mapped too.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
    is_writable: bool,
}

// SAFETY: a mapping is not tied to the thread that made it, and all access through a shared reference is atomic or reads.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` bytes of `memory` to be read.
    pub(crate) fn read_only(memory: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::map(memory, bytes, ProtFlags::READ)
    }

    /// Maps the first `bytes` bytes of `memory` to be read and written.
    pub(crate) fn read_write(memory: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::map(memory, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map(memory: impl AsFd, bytes: usize, access: ProtFlags) -> io::Result<Self> {
        // A page that is mapped but not there would be a SIGBUS.
        let there = rustix::fs::fstat(&memory)?.st_size;
        if bytes == 0 || u64::try_from(there).is_ok_and(|there| there < bytes as u64) {
            let what = format!("{there} bytes of shared memory, where {bytes} are due");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        // SAFETY: a new mapping at a place of the kernel's choice aliases nothing of this process.
        let start = unsafe { rustix::mm::mmap(null_mut(), bytes, access, MapFlags::SHARED, memory, 0) }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes, is_writable: access.contains(ProtFlags::WRITE) })
    }

    /// The word at byte `at`, a multiple of 4.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.bytes, "word {at} of {} bytes", self.bytes);
        // SAFETY: in bounds of a mapping that lives as long as the reference, and aligned, as mappings start at a
        // page. It is only ever accessed atomically; a read-only mapping is only loaded from.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().byte_add(at).cast()) }
    }

    /// Copies what stands from byte `at` on, a multiple of 8, into `out`. If the other side writes there out of its
    /// turn, it is some of its bits.
    pub(crate) fn copy_out(&self, at: usize, out: &mut [u64]) {
        assert!(at.is_multiple_of(8) && at + size_of_val(out) <= self.bytes, "{at} of {} bytes", self.bytes);
        // SAFETY: readable, in bounds of a mapping that lives as long as `self`; `out` is exclusively ours and so lies
        // elsewhere. What the other side may write meanwhile is discussed at the top.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.start.as_ptr().byte_add(at).cast(),
                out.as_mut_ptr(),
                out.len(),
            );
        }
    }

    /// Copies `bytes` to byte `at` of a mapping that may be written.
    pub(crate) fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.bytes, "{at} of {} bytes", self.bytes);
        assert!(self.is_writable, "a mapping that is only to be read");
        // SAFETY: in bounds of a mapping that is borrowed exclusively and writable; `bytes` are of this
        // process's own memory.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.start.as_ptr().byte_add(at).cast(),
                bytes.len(),
            );
        }
    }
}

impl Mapping {
    /// `len` numbers from byte `at` on, a multiple of 4, which only a server writes, and only in its turn.
    pub(crate) fn observations(&self, at: usize, len: usize) -> Observations<'_> {
        assert!(at.is_multiple_of(4) && at + 4 * len <= self.bytes, "{at} of {} bytes", self.bytes);
        // SAFETY: in bounds of a mapping that lives as long as the reference, and aligned, as mappings start at a
        // page.
        unsafe { Observations::written_elsewhere(self.start.as_ptr().byte_add(at).cast(), len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing refers to it any more. A failure leaves it mapped.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// Words that this process alone may write: the other side was given no right to.
#[derive(Debug)]
pub(crate) struct OwnWords {
    memory: Arc<Mapping>,
    /// No two values have a word of one mapping in common.
    words: Range<usize>,
}

impl OwnWords {
    /// `mapping`, which must be writable here and nowhere else.
    ///
    /// # Safety
    /// No other process may have, or get, the right to write this memory, nor to make it shorter.
    pub(crate) unsafe fn new(mapping: Mapping) -> Self {
        let words = 0..mapping.bytes / 8;
        Self { memory: Arc::new(mapping), words }
    }

    /// The same in pieces of `n_words`; what is left over belongs to nobody.
    pub(crate) fn split(self, n_words: usize) -> Vec<Self> {
        let Range { start, end } = self.words;
        let pieces = (start..end).step_by(n_words.max(1)).take((end - start) / n_words.max(1));
        pieces.map(|first| Self { memory: self.memory.clone(), words: first..first + n_words }).collect()
    }
}

impl Deref for OwnWords {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: in bounds, mapped for as long as `self`, aligned to a page, and nobody else writes it.
        unsafe {
            let start = self.memory.start.as_ptr().cast::<u64>().add(self.words.start);
            std::slice::from_raw_parts(start, self.words.len())
        }
    }
}

impl DerefMut for OwnWords {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above; `self` is borrowed exclusively, and no other value has these words. That another
        // process reads is no alias of ours.
        unsafe {
            let start = self.memory.start.as_ptr().cast::<u64>().add(self.words.start);
            std::slice::from_raw_parts_mut(start, self.words.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_a_file_see_the_same_bytes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let (mut one, other) =
            (Mapping::read_write(&file, 4096).unwrap(), Mapping::read_only(&file, 4096).unwrap());
        one.word(8).store(7, Ordering::Release);
        one.word(12).store(1, Ordering::Release);
        assert_eq!(other.word(8).load(Ordering::Acquire), 7);
        let mut out = [0; 2];
        other.copy_out(8, &mut out);
        assert_eq!(out, [7 | 1 << 32, 0]);
        one.copy_in(10, &[2, 0, 3]);
        other.copy_out(8, &mut out);
        assert_eq!(out, [7 | 2 << 16 | 3 << 32, 0]);
        assert!(Mapping::read_only(&file, 4097).is_err(), "more than there is");
    }

    #[test]
    fn pieces_of_own_words_have_nothing_in_common() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: nobody else writes this file.
        let words = unsafe { OwnWords::new(Mapping::read_write(&file, 4096).unwrap()) };
        let mut pieces = words.split(170);
        assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [170; 3]);
        for (value, piece) in (1..).zip(&mut pieces) {
            piece.fill(value);
        }
        pieces.remove(0);
        let mut seen = [0; 512];
        Mapping::read_only(&file, 4096).unwrap().copy_out(0, &mut seen);
        assert_eq!((seen[169], seen[170], seen[339], seen[340], seen[510]), (1, 2, 2, 3, 0));
        assert_eq!((pieces[0][0], pieces[1][169]), (2, 3));
    }
}
