//! Asking memory for a row before it is needed. A table larger than the cache answers after a hundred
//! nanoseconds, but many rows at once: whoever knows the next rows asks for all of them first. It is a hint:
//! nothing is read, and machines that this file does not know do without.
//!
//! Steps out of a table in the last cache gain by it as those out of one far beyond it do (`cargo bench -p trading-env --
//! rows=18000,1000000`).

/// Numbers in a cache line of most machines; where lines are longer, every second hint is for nothing.
pub(crate) const LINE_LEN: usize = 16;

/// Asks for `len` of `numbers` from `first` on, which begins with a line; they need not be there.
#[inline]
pub(crate) fn prefetch(numbers: &[f32], first: usize, len: usize) {
    // Lines are fetched in pairs anyway.
    let first = numbers.as_ptr().wrapping_add(first);
    for at in (0..len).step_by(2 * LINE_LEN) {
        prefetch_line(first.wrapping_add(at));
        prefetch_line(first.wrapping_add(at + LINE_LEN));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(line: *const f32) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction is part of every x86-64 and cannot fault, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn prefetch_line(line: *const f32) {
    // SAFETY: the instruction is part of every AArch64, cannot fault, and changes neither memory nor registers.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{line}]",
            line = in(reg) line,
            options(readonly, nostack, preserves_flags)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn prefetch_line(_line: *const f32) {}
