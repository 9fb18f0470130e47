//! A loop over a block's lanes, as wide as the processor allows.

#![expect(clippy::inline_always, reason = "a pass is compiled anew for each kind of processor")]

/// A pass over a block. What it loops over is all in its fields, so that the loop keeps it in registers.
pub(super) trait Pass: Sized {
    /// What is found on the way.
    type Found;

    /// To be inlined always, so that it is compiled for the processor at hand.
    fn run(self) -> Self::Found;

    /// Runs it on four numbers of 64 bits at once where the processor can. Nothing is fused: the bits are the same.
    #[inline(always)]
    fn run_wide(self) -> Self::Found {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { run_with_avx2(self) };
        }
        run_narrow(self)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline(never)]
fn run_with_avx2<P: Pass>(pass: P) -> P::Found {
    pass.run()
}

#[inline(never)]
fn run_narrow<P: Pass>(pass: P) -> P::Found {
    pass.run()
}
