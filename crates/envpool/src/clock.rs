//! Time, for those who may not look at a clock themselves.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds since this was first asked.
pub fn nanoseconds() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
