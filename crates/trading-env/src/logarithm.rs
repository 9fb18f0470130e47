//! The natural logarithm of many numbers at once, with the bits of [`libm::log`]: the same operations in the same
//! order, without its branches, so that they are done on several numbers at a time, and one need not wait for
//! the one before.

#![expect(clippy::excessive_precision, reason = "the constants as their source has them")]
#![expect(clippy::inline_always, reason = "only what is inlined is vectorised with the loop around it")]

use crate::environment::BLOCK_LEN;

// FreeBSD's e_log.c, where the constants have these names.
const LN2_HI: f64 = 6.931_471_803_691_238_164_90e-01;
const LN2_LO: f64 = 1.908_214_929_270_587_700_02e-10;
const LG1: f64 = 6.666_666_666_666_735_130e-01;
const LG2: f64 = 3.999_999_999_940_941_908e-01;
const LG3: f64 = 2.857_142_874_366_239_149e-01;
const LG4: f64 = 2.222_219_843_214_978_396e-01;
const LG5: f64 = 1.818_357_216_161_805_012e-01;
const LG6: f64 = 1.531_383_769_920_937_332e-01;
const LG7: f64 = 1.479_819_860_511_658_591e-01;

/// The upper half of √½, and how far it lies below that of 1.
const ROOT_HALF: u64 = 0x3fe6_a09e << 32;
const TO_ONE: u64 = (0x3ff0_0000 - 0x3fe6_a09e) << 32;
const MANTISSA: u64 = (1 << 52) - 1;
/// 2⁵², above which whole numbers have the bits of their value.
const WHOLE: u64 = 0x4330_0000_0000_0000;

/// Puts its logarithm in the place of each number.
#[inline(always)]
pub(crate) fn logarithms(numbers: &mut [f64; BLOCK_LEN]) {
    if are_positive_and_normal(numbers) {
        for x in numbers {
            *x = logarithm(*x);
        }
    } else {
        logarithms_of_any(numbers);
    }
}

#[inline(never)]
fn logarithms_of_any(numbers: &mut [f64]) {
    for x in numbers {
        *x = libm::log(*x);
    }
}

/// Without comparing: whatever is below the least normal number's bits, above the largest's, or negative has the
/// uppermost bit in one of the three.
#[inline(always)]
fn are_positive_and_normal(numbers: &[f64]) -> bool {
    let (least, largest) = (f64::MIN_POSITIVE.to_bits(), f64::MAX.to_bits());
    let outside = numbers.iter().fold(0, |outside, x| {
        let bits = x.to_bits();
        outside | bits | bits.wrapping_sub(least) | largest.wrapping_sub(bits)
    });
    outside >> 63 == 0
}

#[inline(always)]
fn logarithm(x: f64) -> f64 {
    // x = 2ᵏ (1 + f), with 1 + f between √½ and √2.
    let shifted = x.to_bits() + TO_ONE;
    let f = f64::from_bits((shifted & MANTISSA) + ROOT_HALF) - 1.0;
    // The exponent as a number; the difference is exact.
    let k = f64::from_bits(WHOLE | shifted >> 52) - (f64::from_bits(WHOLE) + 1023.0);
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let t1 = w * (LG2 + w * (LG4 + w * LG6));
    let t2 = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)));
    let r = t2 + t1;
    s * (half_square + r) + k * LN2_LO - half_square + f + k * LN2_HI
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, Stream};

    fn check(numbers: &[f64]) {
        let mut found = [1.0; BLOCK_LEN];
        found[..numbers.len()].copy_from_slice(numbers);
        logarithms(&mut found);
        for (&x, found) in numbers.iter().zip(found) {
            assert_eq!(found.to_bits(), libm::log(x).to_bits(), "{x:e}");
        }
    }

    #[test]
    fn bits_are_those_of_libm() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        // Anywhere among the normal numbers, and where returns are.
        let anywhere: Vec<f64> = (0..200_000)
            .map(|_| {
                let exponent = 1 + stream.below(2046);
                f64::from_bits(exponent << 52 | stream.below(1 << 52))
            })
            .collect();
        let returns: Vec<f64> = (0..200_000).map(|_| 1.0 + 0.02 * stream.normal()).collect();
        for numbers in anywhere.chunks(32).chain(returns.chunks(7)) {
            check(numbers);
        }
        let root = std::f64::consts::SQRT_2;
        for x in [1.0, 2.0, 0.5, root, 1.0 / root, f64::MIN_POSITIVE, f64::MAX, 1e-3, std::f64::consts::E] {
            check(&[x.next_down().max(f64::MIN_POSITIVE), x, x.next_up().min(f64::MAX)]);
        }
    }

    #[test]
    fn numbers_that_are_not_normal_are_left_to_libm() {
        for x in [0.0, -0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MIN_POSITIVE.next_down()] {
            check(&[1.5, x, 2.5]);
        }
        for none in [f64::NAN, -f64::NAN, f64::from_bits(u64::MAX)] {
            let mut numbers = [1.5; BLOCK_LEN];
            numbers[3] = none;
            logarithms(&mut numbers);
            assert!(numbers[3].is_nan() && numbers[4] == libm::log(1.5));
        }
    }
}
