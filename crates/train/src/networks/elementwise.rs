//! What lies between the matrix products of small networks, for the processor: heads of a few outputs, activations and
//! the way back through them. A library takes a call for each of these, and for a few hundred rows the calls took as
//! long as the arithmetic.
//!
//! Sums run over rows, and over lanes, in an order that nothing but the sizes decides.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

use crate::networks::functions::tanh;
use crate::networks::network::Activation;
use crate::networks::vectors::{for_the_best_vectors, multiply_add};

/// Numbers that are computed side by side.
const LANES: usize = 16;

/// Columns of a matrix: in each row, rows being `stride` apart, `width` numbers from `start` on.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// The first of them.
    pub start: usize,
    /// How many.
    pub width: usize,
    /// From one row's start to the next one's.
    pub stride: usize,
}

impl Columns {
    #[inline(always)]
    fn of_row(self, row: usize) -> std::ops::Range<usize> {
        let start = row * self.stride + self.start;
        start..start + self.width
    }
}

for_the_best_vectors! {
    /// Puts `columns` of `x` through a dense layer of few outputs: `y`, row by row, becomes `weight · x + bias`.
    project = project_body(x: &[f32], columns: Columns, weight: &[f32], bias: &[f32], y: &mut [f32])
}

for_the_best_vectors! {
    /// Adds to `weight` and `bias` their gradients in that layer, where `gradient` is that by `y`.
    add_gradients = add_gradients_body(
        gradient: &[f32],
        x: &[f32],
        columns: Columns,
        weight: &mut [f32],
        bias: &mut [f32],
    )
}

for_the_best_vectors! {
    /// The way back through that layer and the activation before it: `delta`, in `columns`, becomes the gradient by
    /// what went into the activation, whose output `x` was. Its sums over rows are added to `sums`.
    pull_back = pull_back_body(
        gradient: &[f32],
        weight: &[f32],
        activation: Activation,
        x: &[f32],
        columns: Columns,
        delta: &mut [f32],
        sums: &mut [f32],
    )
}

for_the_best_vectors! {
    /// Puts `columns` of so many rows through an activation.
    activate = activate_body(activation: Activation, columns: Columns, rows: usize, values: &mut [f32])
}

for_the_best_vectors! {
    /// The way back through an activation whose output `x` was: `columns` of so many rows of `delta` are multiplied by
    /// the slope, and their sums over rows are added to `sums`.
    through_activation = through_activation_body(
        activation: Activation,
        x: &[f32],
        columns: Columns,
        rows: usize,
        delta: &mut [f32],
        sums: &mut [f32],
    )
}

#[inline(always)]
fn slope(activation: Activation, output: f32) -> f32 {
    match activation {
        Activation::Tanh => 1.0 - output * output,
        Activation::Relu => f32::from(u8::from(output > 0.0)),
    }
}

#[inline(always)]
fn project_body<const FUSED: bool>(x: &[f32], columns: Columns, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    for (row, y) in y.chunks_exact_mut(bias.len()).enumerate() {
        let x = &x[columns.of_row(row)];
        for (output, y) in y.iter_mut().enumerate() {
            let weight = &weight[output * columns.width..][..columns.width];
            *y = dot::<FUSED>(x, weight) + bias[output];
        }
    }
}

#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_left), (b, b_left)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[lane]);
        }
    }
    let mut sum = total(sums);
    for (a, b) in a_left.iter().zip(b_left) {
        sum = multiply_add::<FUSED>(*a, *b, sum);
    }
    sum
}

/// The sum of all lanes, halves onto halves; by value, so that they stay in registers.
#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    for i in 0..4 {
        four[i] = eight[i] + eight[i + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

#[inline(always)]
fn add_gradients_body<const FUSED: bool>(
    gradient: &[f32],
    x: &[f32],
    columns: Columns,
    weight: &mut [f32],
    bias: &mut [f32],
) {
    for (row, gradient) in gradient.chunks_exact(bias.len()).enumerate() {
        let x = &x[columns.of_row(row)];
        for (output, &gradient) in gradient.iter().enumerate() {
            bias[output] += gradient;
            let weight = &mut weight[output * columns.width..][..columns.width];
            for (weight, x) in weight.iter_mut().zip(x) {
                *weight = multiply_add::<FUSED>(gradient, *x, *weight);
            }
        }
    }
}

#[inline(always)]
fn pull_back_body<const FUSED: bool>(
    gradient: &[f32],
    weight: &[f32],
    activation: Activation,
    x: &[f32],
    columns: Columns,
    delta: &mut [f32],
    sums: &mut [f32],
) {
    let outputs = weight.len() / columns.width;
    let whole = columns.width - columns.width % LANES;
    for (row, gradient) in gradient.chunks_exact(outputs).enumerate() {
        let (x, delta) = (&x[columns.of_row(row)], &mut delta[columns.of_row(row)]);
        for at in (0..whole).step_by(LANES) {
            pull_lanes::<FUSED, LANES>(gradient, weight, activation, x, at, delta, sums);
        }
        for at in whole..columns.width {
            pull_lanes::<FUSED, 1>(gradient, weight, activation, x, at, delta, sums);
        }
    }
}

#[inline(always)]
fn pull_lanes<const FUSED: bool, const N: usize>(
    gradient: &[f32],
    weight: &[f32],
    activation: Activation,
    x: &[f32],
    at: usize,
    delta: &mut [f32],
    sums: &mut [f32],
) {
    let width = x.len();
    let mut pulled = [0.0; N];
    for (output, &gradient) in gradient.iter().enumerate() {
        let weight = &weight[output * width + at..][..N];
        for lane in 0..N {
            pulled[lane] = multiply_add::<FUSED>(gradient, weight[lane], pulled[lane]);
        }
    }
    let (x, delta, sums) = (&x[at..][..N], &mut delta[at..][..N], &mut sums[at..][..N]);
    for lane in 0..N {
        delta[lane] = pulled[lane] * slope(activation, x[lane]);
        sums[lane] += delta[lane];
    }
}

#[inline(always)]
fn activate_body<const FUSED: bool>(
    activation: Activation,
    columns: Columns,
    rows: usize,
    values: &mut [f32],
) {
    for row in 0..rows {
        let values = &mut values[columns.of_row(row)];
        match activation {
            Activation::Tanh => {
                for value in values {
                    *value = tanh::<FUSED>(*value);
                }
            }
            Activation::Relu => {
                for value in values {
                    *value = value.max(0.0);
                }
            }
        }
    }
}

#[inline(always)]
fn through_activation_body<const FUSED: bool>(
    activation: Activation,
    x: &[f32],
    columns: Columns,
    rows: usize,
    delta: &mut [f32],
    sums: &mut [f32],
) {
    for row in 0..rows {
        let (x, delta) = (&x[columns.of_row(row)], &mut delta[columns.of_row(row)]);
        for ((delta, x), sum) in delta.iter_mut().zip(x).zip(sums.iter_mut()) {
            *delta *= slope(activation, *x);
            *sum += *delta;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, Stream};

    fn drawn(len: usize, stream: &mut Stream) -> Vec<f32> {
        (0..len).map(|_| stream.normal() as f32).collect()
    }

    fn close(found: f32, expected: f64) {
        assert!((f64::from(found) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{found} {expected}");
    }

    #[test]
    fn heads_and_their_gradients_are_those_of_double_precision() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let (rows, outputs) = (9, 3);
        // Widths below, above and between multiples of the lanes.
        for width in [1, 5, 16, 37, 64] {
            let columns = Columns { start: 2, width, stride: width + 3 };
            let x: Vec<f32> = drawn(rows * columns.stride, &mut stream).iter().map(|x| x.tanh()).collect();
            let (weight, bias) = (drawn(outputs * width, &mut stream), drawn(outputs, &mut stream));
            let gradient = drawn(rows * outputs, &mut stream);
            let wide = |values: &[f32], i: usize| f64::from(values[i]);
            let x_at = |row: usize, i: usize| f64::from(x[row * columns.stride + 2 + i]);
            let mut y = vec![f32::NAN; rows * outputs];
            project(&x, columns, &weight, &bias, &mut y);
            let (mut by_weight, mut by_bias) = (vec![1.0; outputs * width], vec![1.0; outputs]);
            add_gradients(&gradient, &x, columns, &mut by_weight, &mut by_bias);
            for output in 0..outputs {
                for row in 0..rows {
                    let sum: f64 = (0..width).map(|i| x_at(row, i) * wide(&weight, output * width + i)).sum();
                    close(y[row * outputs + output], sum + wide(&bias, output));
                }
                let over_rows = |factor: &dyn Fn(usize) -> f64| -> f64 {
                    (0..rows).map(|row| wide(&gradient, row * outputs + output) * factor(row)).sum()
                };
                close(by_bias[output], 1.0 + over_rows(&|_| 1.0));
                for i in 0..width {
                    close(by_weight[output * width + i], 1.0 + over_rows(&|row| x_at(row, i)));
                }
            }
            for activation in [Activation::Tanh, Activation::Relu] {
                let (mut delta, mut sums) = (vec![7.0; x.len()], vec![1.0; width]);
                pull_back(&gradient, &weight, activation, &x, columns, &mut delta, &mut sums);
                for i in 0..width {
                    let mut expected_sum = 1.0;
                    for row in 0..rows {
                        let pulled: f64 = (0..outputs)
                            .map(|output| {
                                wide(&gradient, row * outputs + output) * wide(&weight, output * width + i)
                            })
                            .sum();
                        let slope = match activation {
                            Activation::Tanh => 1.0 - x_at(row, i).powi(2),
                            Activation::Relu => f64::from(u8::from(x_at(row, i) > 0.0)),
                        };
                        close(delta[row * columns.stride + 2 + i], pulled * slope);
                        expected_sum += pulled * slope;
                    }
                    close(sums[i], expected_sum);
                }
                // What belongs to other columns stays as it was.
                assert!(delta.iter().step_by(columns.stride).all(|&d| d == 7.0));
            }
        }
    }

    #[test]
    fn the_way_back_through_an_activation_multiplies_by_its_slope() {
        let mut stream = Stream::new(2, Purpose::Test, 0, 0);
        let (rows, width) = (5, 19);
        let x: Vec<f32> = drawn(rows * width, &mut stream).iter().map(|x| x.tanh()).collect();
        let before = drawn(rows * width, &mut stream);
        for activation in [Activation::Tanh, Activation::Relu] {
            let (mut delta, mut sums) = (before.clone(), vec![0.0; width]);
            let columns = Columns { start: 0, width, stride: width };
            through_activation(activation, &x, columns, rows, &mut delta, &mut sums);
            for (i, &found) in sums.iter().enumerate() {
                let mut sum = 0.0;
                for at in (i..rows * width).step_by(width) {
                    let expected = f64::from(before[at]) * f64::from(slope(activation, x[at]));
                    close(delta[at], expected);
                    sum += expected;
                }
                close(found, sum);
            }
        }
    }

    #[test]
    fn activations_are_those_of_double_precision() {
        let values: Vec<f32> = (-1000..1000).map(|i| i as f32 * 1e-2).collect();
        let columns = Columns { start: 3, width: 97, stride: 100 };
        for activation in [Activation::Tanh, Activation::Relu] {
            let mut found = values.clone();
            activate(activation, columns, 20, &mut found);
            for (i, (&found, &x)) in found.iter().zip(&values).enumerate() {
                let expected = match activation {
                    _ if i % 100 < 3 => f64::from(x),
                    Activation::Tanh => f64::from(x).tanh(),
                    Activation::Relu => f64::from(x).max(0.0),
                };
                assert!((f64::from(found) - expected).abs() < 4e-7 * (0.1 + expected.abs()), "{x}: {found}");
            }
        }
    }
}
