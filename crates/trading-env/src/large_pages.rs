//! Memory in large pages. A step reads a row here and a row there, and every row of a large table lies in another page
//! of 4 kB: the processor then spends as long on finding where a page is as on reading it. In pages of 2 MB it knows
//! all of them. It is a hint, which Linux takes where transparent huge pages are allowed to those who ask; Macs have
//! pages of 16 kB and no such hint.

/// Asks for large pages for `memory`, before it is written for the first time.
#[cfg(target_os = "linux")]
pub(crate) fn advise(memory: &mut [f32]) {
    use rustix::mm::{Advice, madvise};
    let page = rustix::param::page_size();
    let bytes = size_of_val(memory);
    let skipped = memory.as_ptr().align_offset(page).saturating_mul(size_of::<f32>());
    let whole = bytes.saturating_sub(skipped) / page * page;
    if whole > 0 {
        let start = memory.as_mut_ptr().wrapping_byte_add(skipped);
        // SAFETY: these are whole pages of memory that is borrowed for writing, and the advice changes none of it.
        // That nothing comes of it is of no harm.
        let _ = unsafe { madvise(start.cast(), whole, Advice::LinuxHugepage) };
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn advise(_memory: &mut [f32]) {}
