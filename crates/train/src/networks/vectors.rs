//! The same code compiled for several kinds of vectors, of which the processor's best is taken when it runs.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

/// Makes a function for the best vectors that the processor has of one that is generic over fused products.
macro_rules! for_the_best_vectors {
    ($(#[$words:meta])* $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $(#[$words])*
        pub fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($argument: $kind),*) {
                    $body::<true>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $kind),*) {
                    $body::<true>($($argument),*);
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    if is_x86_feature_detected!("avx512f") {
                        // SAFETY: the processor has what the function is compiled for.
                        return unsafe { avx512($($argument),*) };
                    }
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            // Fused products are part of every 64-bit ARM; elsewhere they would be a call into a library.
            if cfg!(target_arch = "aarch64") {
                $body::<true>($($argument),*);
            } else {
                $body::<false>($($argument),*);
            }
        }
    };
}
pub(crate) use for_the_best_vectors;

/// a · b + c; rounded once where products are fused.
#[inline(always)]
pub fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
