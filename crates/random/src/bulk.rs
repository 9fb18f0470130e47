//! Normal deviates by the million: 32-bit ones, sixteen at a time, by arithmetic that compilers vectorise.
//!
//! Box and Muller's method on sixteen 32-bit words of the stream: the first eight choose the radii, the last
//! eight the angles. Logarithm, sine and cosine are polynomials (Moshier's Cephes), and nothing but IEEE
//! additions, products, quotients and roots goes in, so that every machine gives the same bits, whatever its
//! vectors' width. With 24 bits a radius goes up to 5.77; the deviates of [`crate::Stream::normal`] are other
//! ones, and finer.

#![expect(clippy::inline_always, reason = "only what is inlined is vectorised with the loop around it")]

use core::f32::consts::{FRAC_PI_2, LN_2, SQRT_2};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Deviates that are made together: as many as a block of the generator has words.
pub const GROUP: usize = 16;
const HALF: usize = GROUP / 2;
/// Groups whose words are drawn at once.
const GROUPS: usize = 16;

/// Fills `out`; a last group that is cut short draws its sixteen words all the same.
pub fn fill(rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let mut bytes = [0_u8; 4 * GROUP * GROUPS];
    for out in out.chunks_mut(GROUP * GROUPS) {
        let bytes = &mut bytes[..4 * out.len().next_multiple_of(GROUP)];
        rng.fill_bytes(bytes);
        for (words, out) in bytes.chunks_exact(4 * GROUP).zip(out.chunks_mut(GROUP)) {
            let deviates = group(words);
            out.copy_from_slice(&deviates[..out.len()]);
        }
    }
}

fn group(bytes: &[u8]) -> [f32; GROUP] {
    let mut words = [0_u32; GROUP];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    // One plain loop a quantity, so that each becomes a few vectors' work.
    let (radius_words, angle_words) = words.split_at(HALF);
    let (mut radii, mut sines, mut cosines) = ([0.0_f32; HALF], [0.0_f32; HALF], [0.0_f32; HALF]);
    for (radius, word) in radii.iter_mut().zip(radius_words) {
        // In (0, 1], where the logarithm is finite.
        let uniform = ((word >> 8) as i32 + 1) as f32 * (1.0 / 16_777_216.0);
        *radius = (-2.0 * logarithm(uniform)).sqrt();
    }
    for ((sine, cosine), word) in sines.iter_mut().zip(&mut cosines).zip(angle_words) {
        (*sine, *cosine) = sine_and_cosine_of_turn(*word);
    }
    let mut deviates = [0.0; GROUP];
    for i in 0..HALF {
        deviates[i] = radii[i] * cosines[i];
        deviates[HALF + i] = radii[i] * sines[i];
    }
    deviates
}

/// ln x for normal numbers above 0, within 1e-7 of it.
#[inline(always)]
fn logarithm(x: f32) -> f32 {
    let bits = x.to_bits();
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let is_large = mantissa > SQRT_2;
    let f = (if is_large { 0.5 * mantissa } else { mantissa }) - 1.0;
    let exponent = ((bits >> 23) as i32 - 127 + i32::from(is_large)) as f32;
    let mut y = 7.037_683_6e-2;
    for coefficient in [
        -0.115_146_1,
        0.116_769_98,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_14,
        -0.249_999_94,
        0.333_333_3,
    ] {
        y = y * f + coefficient;
    }
    let square = f * f;
    f + (y * f * square - 0.5 * square) + exponent * LN_2
}

/// Sine and cosine of the angle whose part of a full turn the upper 24 bits of `word` are: the first two
/// choose the quarter, the rest an angle within an eighth of its middle.
#[inline(always)]
fn sine_and_cosine_of_turn(word: u32) -> (f32, f32) {
    let quarter = word >> 30;
    let within = (((word >> 8) & 0x003f_ffff) as i32 as f32 + 0.5) * (1.0 / 4_194_304.0) - 0.5;
    let angle = within * FRAC_PI_2;
    let z = angle * angle;
    let sine = angle + angle * z * (-0.166_666_55 + z * (8.332_161e-3 - z * 1.951_529_6e-4));
    let cosine = 1.0 - 0.5 * z + z * z * (4.166_664_6e-2 + z * (-1.388_731_6e-3 + z * 2.443_315_7e-5));
    let is_odd = quarter & 1 == 1;
    let (a, b) = if is_odd { (cosine, sine) } else { (sine, cosine) };
    // Quarters 2 and 3 have negative sines here, quarters 1 and 2 negative cosines.
    let sine_sign = (quarter & 2) << 30;
    let cosine_sign = ((quarter ^ (quarter >> 1)) & 1) << 31;
    (f32::from_bits(a.to_bits() ^ sine_sign), f32::from_bits(b.to_bits() ^ cosine_sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, Stream};

    fn draw(n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n];
        Stream::new(3, Purpose::Test, 9, 0).fill_normal(&mut out);
        out
    }

    #[test]
    fn logarithm_sine_and_cosine_are_within_a_few_units_in_the_last_place() {
        for n in (1_u32..=1 << 24).step_by(997) {
            let x = n as f32 / 16_777_216.0;
            let (found, expected) = (f64::from(logarithm(x)), libm::log(f64::from(x)));
            assert!(
                (found - expected).abs() <= 2e-7 * expected.abs().max(0.05),
                "ln {x}: {found} {expected}"
            );
            let word = n.wrapping_mul(0x9e37_79b9);
            let turn = (f64::from(word >> 8) + 0.5) / 16_777_216.0;
            let angle = 2.0 * core::f64::consts::PI * (turn - 0.125);
            let (sine, cosine) = sine_and_cosine_of_turn(word);
            let (s, c) = libm::sincos(angle);
            assert!((f64::from(sine) - s).abs() < 2e-7 && (f64::from(cosine) - c).abs() < 2e-7, "{word:08x}");
        }
        assert_eq!(logarithm(1.0), 0.0);
    }

    #[test]
    fn deviates_are_distributed_as_a_normal() {
        let mut draws = draw(1 << 20);
        let n = draws.len() as f64;
        let moment = |k: i32| draws.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.004 && (moment(2) - 1.0).abs() < 0.006, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.012 && (moment(4) - 3.0).abs() < 0.05, "{} {}", moment(3), moment(4));
        let lagged =
            |lag: usize| draws.windows(lag + 1).map(|w| f64::from(w[0]) * f64::from(w[lag])).sum::<f64>() / n;
        for lag in [1, 7, 8, 16] {
            assert!(lagged(lag).abs() < 0.004, "lag {lag}: {}", lagged(lag));
        }
        // Kolmogorov and Smirnov: 1.95 / √n is passed once in a thousand times.
        draws.sort_by(f32::total_cmp);
        let distance = draws.iter().enumerate().fold(0.0_f64, |worst, (i, &x)| {
            let expected = 0.5 * libm::erfc(-f64::from(x) / core::f64::consts::SQRT_2);
            worst.max((expected - i as f64 / n).abs()).max((expected - (i + 1) as f64 / n).abs())
        });
        assert!(distance * n.sqrt() < 1.95, "{}", distance * n.sqrt());
        assert!(draws[0] < -4.4 && draws[draws.len() - 1] > 4.4);
    }

    #[test]
    fn any_group_can_be_made_by_itself() {
        let whole = draw(400);
        for (start, len) in [(0, 7), (16, 16), (32, 200), (384, 16)] {
            let mut stream = Stream::new(3, Purpose::Test, 9, 0);
            let mut part = vec![0.0; len];
            stream.go_to_normal(start as u64);
            stream.fill_normal(&mut part);
            assert_eq!(part, whole[start..start + len], "from {start}");
        }
    }

    #[test]
    fn the_bits_are_those_of_every_machine() {
        let digest = draw(4096)
            .iter()
            .fold(0_u64, |digest, x| (digest ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3));
        assert_eq!(digest, 0xb213_ff92_7363_b1c7, "{digest:#x}");
    }
}
