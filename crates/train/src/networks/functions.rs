//! Exponentials, logarithms and hyperbolic tangents of many numbers at a time, to the last bits of 32, and the same on
//! every machine with the same vectors.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

use crate::networks::vectors::{for_the_best_vectors, multiply_add};

for_the_best_vectors! {
    /// e to each of `values`; to the last bits of 32, and finite from −87 to 88, within which values are held.
    exponentials = exponentials_body(values: &mut [f32])
}

for_the_best_vectors! {
    /// The natural logarithm of each of `values`, which are normal numbers above 0.
    logarithms = logarithms_body(values: &mut [f32])
}

/// The hyperbolic tangent as a quotient of two polynomials, within a few units in the last place of it; its
/// coefficients are those of Eigen's.
#[inline(always)]
pub fn tanh<const FUSED: bool>(x: f32) -> f32 {
    // Where it is 1 to the last bit.
    let x = x.clamp(-7.905_311, 7.905_311);
    let z = x * x;
    let mut p = -2.760_768_5e-16;
    for coefficient in
        [2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619e-4, 4.893_524_6e-3]
    {
        p = multiply_add::<FUSED>(p, z, coefficient);
    }
    let mut q = 1.198_258_4e-6;
    for coefficient in [1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3] {
        q = multiply_add::<FUSED>(q, z, coefficient);
    }
    x * p / q
}

/// 1.5 · 2²³: added to a number, it leaves the nearest integer in the last bits.
const ROUNDER: f32 = 12_582_912.0;

#[inline(always)]
fn exponentials_body<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        let x = value.clamp(-87.0, 88.0);
        let rounded = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUNDER);
        let n = rounded - ROUNDER;
        // What is left of x after n times ln 2, whose first part has few enough bits for exact products.
        let r = multiply_add::<FUSED>(n, 2.121_944_4e-4, multiply_add::<FUSED>(n, -0.693_359_4, x));
        // The coefficients are those of Cephes' expf.
        let mut p = 1.987_569_1e-4;
        for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = multiply_add::<FUSED>(p, r, coefficient);
        }
        let e = multiply_add::<FUSED>(p * r, r, r) + 1.0;
        let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
        *value = e * power;
    }
}

#[inline(always)]
fn logarithms_body<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        // m · 2^e with m from √½ to √2: the bits of √½ are taken for the boundary between exponents.
        let bits = value.to_bits().wrapping_sub(0x3f35_04f3);
        let exponent = (bits as i32 >> 23) as f32;
        let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
        let square = f * f;
        // The coefficients are those of Cephes' logf.
        let mut p = 7.037_683_6e-2;
        for coefficient in [
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ] {
            p = multiply_add::<FUSED>(p, f, coefficient);
        }
        let y = multiply_add::<FUSED>(-0.5, square, p * f * square);
        *value = multiply_add::<FUSED>(exponent, std::f32::consts::LN_2, f + y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangent_is_right_everywhere() {
        for i in -100_000..=100_000 {
            let x = i as f32 * 1e-4;
            for found in [tanh::<false>(x), tanh::<true>(x)] {
                let expected = f64::from(x).tanh();
                assert!(
                    (f64::from(found) - expected).abs() <= 4e-7 * expected.abs(),
                    "{x}: {found} {expected}"
                );
            }
        }
        assert_eq!(tanh::<false>(0.0), 0.0);
        assert!(tanh::<false>(f32::INFINITY) <= 1.0 && tanh::<false>(f32::NEG_INFINITY) >= -1.0);
    }

    #[test]
    fn exponentials_and_logarithms_are_within_a_few_units_in_the_last_place() {
        let x: Vec<f32> = (-86_900..=87_900).map(|i| i as f32 * 1e-3).collect();
        let mut found = x.clone();
        exponentials(&mut found);
        for (x, &found) in x.iter().zip(&found) {
            let expected = f64::from(*x).exp();
            assert!((f64::from(found) - expected).abs() <= 3e-7 * expected, "e^{x}: {found} {expected}");
        }
        logarithms(&mut found);
        for (x, found) in x.iter().zip(&found) {
            assert!((x - found).abs() <= 3e-7 * x.abs().max(1.0), "ln e^{x}: {found}");
        }
        let mut edges = [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        exponentials(&mut edges);
        assert_eq!(edges[0], 1.0);
        assert!(edges[1] < 1e-37 && edges[2] > 1e38 && edges[3].is_nan(), "{edges:?}");
    }
}
