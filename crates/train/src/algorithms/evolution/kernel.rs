//! The product of a few observations with one layer of a pair of members, centre ± perturbation, which is never
//! written down: what is read is the centre, which all pairs share and which stays in the cache, and the
//! pair's perturbation, once for both members and all their episodes. A number of the perturbation costs two
//! additions and two fused products for its two members; with few episodes a member that is as fast as memory
//! delivers it.
//!
//! Every number is summed over the inputs in their order, whatever else is computed beside it, so that neither
//! the number of threads nor who else still plays changes a bit. Other vectors (with or without fused products)
//! may.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

use super::space::{LANES, Layer};
use crate::networks::functions::tanh;
use crate::networks::network::Activation;

/// What the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// What every processor of this architecture has.
    Baseline,
    /// 256 bits, and fused products.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// Rows of numbers, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// All of them.
    pub values: &'a [f32],
    /// From one row's start to the next one's.
    pub stride: usize,
}

impl Vectors {
    /// The best there is.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self::Avx2;
        }
        Self::Baseline
    }

    /// Puts the rows of `x`, one for each of `signs`, through the layers `centre + sign · perturbation` and the
    /// `activation`, if one follows; `y` gets rows of the layer's width.
    pub fn forward(
        self,
        layer: &Layer,
        activation: Option<Activation>,
        [centre, perturbation]: [&[f32]; 2],
        signs: &[f32],
        x: Rows<'_>,
        y: &mut [f32],
    ) {
        let tables = [&centre[..layer.range.len()], &perturbation[..layer.range.len()]];
        match self {
            Self::Baseline => {
                // Fused products are part of every 64-bit ARM; elsewhere they would be a call into a library.
                if cfg!(target_arch = "aarch64") {
                    forward::<true>(layer, activation, tables, signs, x, y);
                } else {
                    forward::<false>(layer, activation, tables, signs, x, y);
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `detect` makes this variant, where both features were found.
            Self::Avx2 => unsafe { forward_avx2(layer, activation, tables, signs, x, y) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn forward_avx2(
    layer: &Layer,
    activation: Option<Activation>,
    tables: [&[f32]; 2],
    signs: &[f32],
    x: Rows<'_>,
    y: &mut [f32],
) {
    forward::<true>(layer, activation, tables, signs, x, y);
}

/// Inlined into each caller, and so compiled for the vectors that it may use.
#[inline(always)]
fn forward<const FUSED: bool>(
    layer: &Layer,
    activation: Option<Activation>,
    tables: [&[f32]; 2],
    signs: &[f32],
    x: Rows<'_>,
    y: &mut [f32],
) {
    let mut row = 0;
    while row < signs.len() {
        let left = signs.len() - row;
        let y = &mut y[row * layer.width..];
        let x = Rows { values: &x.values[row * x.stride..], stride: x.stride };
        // As many sums at once as registers hold, and the wider in outputs the fewer rows there are.
        row += match left {
            1 => product::<FUSED, 1, 8>(layer, tables, &signs[row..], x, y),
            2 | 3 => product::<FUSED, 2, 4>(layer, tables, &signs[row..], x, y),
            _ => product::<FUSED, 4, 2>(layer, tables, &signs[row..], x, y),
        };
    }
    let y = &mut y[..signs.len() * layer.width];
    match activation {
        None => {}
        Some(Activation::Relu) => {
            for y in y {
                *y = y.max(0.0);
            }
        }
        Some(Activation::Tanh) => {
            for y in y {
                *y = tanh::<FUSED>(*y);
            }
        }
    }
}

/// The products of `N` rows; gives `N`.
#[inline(always)]
fn product<const FUSED: bool, const N: usize, const WIDE: usize>(
    layer: &Layer,
    tables: [&[f32]; 2],
    signs: &[f32],
    x: Rows<'_>,
    y: &mut [f32],
) -> usize {
    let (mut inputs, mut side): ([&[f32]; N], [f32; N]) = ([&[]; N], [0.0; N]);
    for n in 0..N {
        (inputs[n], side[n]) = (&x.values[n * x.stride..][..layer.inputs], signs[n]);
    }
    let mut at = 0;
    while at + WIDE * LANES <= layer.width {
        tile::<FUSED, N, WIDE>(layer, at, tables, side, inputs, y);
        at += WIDE * LANES;
    }
    while at < layer.width {
        tile::<FUSED, N, 1>(layer, at, tables, side, inputs, y);
        at += LANES;
    }
    N
}

/// Numbers that a processor holds in a register or two.
type Vector = [f32; LANES];

/// The products of `N` rows with `WIDTH` vectors of outputs from `at` on.
#[inline(always)]
fn tile<const FUSED: bool, const N: usize, const WIDTH: usize>(
    layer: &Layer,
    at: usize,
    [centre, perturbation]: [&[f32]; 2],
    signs: [f32; N],
    x: [&[f32]; N],
    y: &mut [f32],
) {
    // Loops throughout: what a closure does is compiled for the vectors that every processor has.
    let mut sums = [[[0.0; LANES]; WIDTH]; N];
    let bias = layer.inputs * layer.width + at;
    for v in 0..WIDTH {
        let (centre, perturbation) =
            (load(&centre[bias + v * LANES..]), load(&perturbation[bias + v * LANES..]));
        for n in 0..N {
            sums[n][v] = scaled_add::<FUSED>(signs[n], perturbation, centre);
        }
    }
    for input in 0..layer.inputs {
        let centre = &centre[input * layer.width + at..][..WIDTH * LANES];
        let perturbation = &perturbation[input * layer.width + at..][..WIDTH * LANES];
        for v in 0..WIDTH {
            let (centre, perturbation) = (load(&centre[v * LANES..]), load(&perturbation[v * LANES..]));
            for n in 0..N {
                // The sign is 1 or −1, so that its product is exact, fused or not.
                let weights = scaled_add::<FUSED>(signs[n], perturbation, centre);
                sums[n][v] = scaled_add::<FUSED>(x[n][input], weights, sums[n][v]);
            }
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        for (v, sums) in sums.iter().enumerate() {
            y[n * layer.width + at + v * LANES..][..LANES].copy_from_slice(sums);
        }
    }
}

#[inline(always)]
fn load(values: &[f32]) -> Vector {
    let mut vector = [0.0; LANES];
    vector.copy_from_slice(&values[..LANES]);
    vector
}

/// a · b + c.
#[inline(always)]
fn scaled_add<const FUSED: bool>(a: f32, b: Vector, c: Vector) -> Vector {
    let mut sum = [0.0; LANES];
    for lane in 0..LANES {
        sum[lane] = multiply_add::<FUSED>(a, b[lane], c[lane]);
    }
    sum
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::super::space::{Space, tests::shape};
    use super::*;
    use random::{Purpose, Stream};

    fn all() -> Vec<Vectors> {
        let mut all = vec![Vectors::Baseline];
        if Vectors::detect() != Vectors::Baseline {
            all.push(Vectors::detect());
        }
        all
    }

    #[test]
    fn products_are_those_of_double_precision_and_each_row_is_as_if_it_were_alone() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        for outputs in [3, 8, 72] {
            let space = Space::new(&shape(vec![outputs]));
            let layer = &space.layers[0];
            let mut drawn = |len: usize| {
                let mut values = vec![0.0; len];
                stream.fill_normal(&mut values);
                values
            };
            let (centre, perturbation, x) =
                (drawn(layer.range.len()), drawn(layer.range.len()), drawn(7 * 6));
            let signs = [1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0];
            for vectors in all() {
                for activation in [None, Some(Activation::Tanh), Some(Activation::Relu)] {
                    let forward = |rows: std::ops::Range<usize>| {
                        let mut y = vec![f32::NAN; rows.len() * layer.width];
                        let x = Rows { values: &x[6 * rows.start..], stride: 6 };
                        vectors.forward(layer, activation, [&centre, &perturbation], &signs[rows], x, &mut y);
                        y
                    };
                    let y = forward(0..7);
                    for row in 0..7 {
                        assert_eq!(forward(row..row + 1), y[row * layer.width..(row + 1) * layer.width]);
                        for output in 0..layer.outputs {
                            let weight = |input: usize| {
                                let i = input * layer.width + output;
                                f64::from(centre[i]) + f64::from(signs[row]) * f64::from(perturbation[i])
                            };
                            let sum = weight(5)
                                + (0..5).map(|i| f64::from(x[row * 6 + i]) * weight(i)).sum::<f64>();
                            let expected = match activation {
                                None => sum,
                                Some(Activation::Tanh) => sum.tanh(),
                                Some(Activation::Relu) => sum.max(0.0),
                            };
                            let found = f64::from(y[row * layer.width + output]);
                            assert!(
                                (found - expected).abs() < 4e-6,
                                "{vectors:?} {row} {output}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}
