//! Products of matrices that fit into a core's caches. A library packs its operands, and picks a way by their sizes,
//! at each call; with layers of 64 and a hundred rows that takes as long as the product. Here six rows of results
//! stay in registers while the whole depth goes by.
//!
//! Every number is summed over the depth in its order, whatever else is computed beside it.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

/// Whether this processor has vectors for which these products were measured to be faster than a library's. On Apple
/// silicon they are not: its libraries use a unit for matrices that nothing else reaches.
pub fn are_fast_here() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// A matrix as a product's left side: the number in row `i` and column `k` is `values[i * row + k * column]`, so that
/// a transposed one is as good.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// All numbers, from the first row's first on.
    pub values: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zeros,
    /// This row, in each row.
    Row(&'a [f32]),
    /// What is there.
    There,
}

/// Rows of the result, and numbers that each is the sum of.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows of the left side and of the result.
    pub rows: usize,
    /// Columns of the left side, rows of the right one.
    pub depth: usize,
    /// Columns of the right side and of the result.
    pub width: usize,
}

/// `out` becomes `start` plus `left` times `right`; rows of `right` and of `out` are as far apart as the number beside
/// them says.
///
/// # Panics
/// If a matrix is shorter than `size` says.
pub fn multiply(
    size: Size,
    left: Left<'_>,
    right: (&[f32], usize),
    start: Start<'_>,
    out: (&mut [f32], usize),
) {
    let best = Vectors::of_this_processor().next().unwrap_or(Vectors::Common);
    multiply_with(best, size, left, right, start, out);
}

fn multiply_with(
    vectors: Vectors,
    size: Size,
    left: Left<'_>,
    right: (&[f32], usize),
    start: Start<'_>,
    (out, out_stride): (&mut [f32], usize),
) {
    let Size { rows, depth, width } = size;
    if rows == 0 || width == 0 {
        return;
    }
    assert!(out.len() >= (rows - 1) * out_stride + width, "the result fits");
    if depth > 0 {
        assert!(
            left.values.len() > (rows - 1) * left.row + (depth - 1) * left.column,
            "the left side is whole"
        );
        assert!(right.0.len() >= (depth - 1) * right.1 + width, "the right side is whole");
    }
    let (start, start_stride) = match start {
        Start::Zeros => (ZEROS.as_ptr(), Step { row: 0, column: 0 }),
        Start::Row(row) => {
            assert!(row.len() >= width, "the row is whole");
            (row.as_ptr(), Step { row: 0, column: 1 })
        }
        Start::There => (out.as_ptr(), Step { row: out_stride, column: 1 }),
    };
    let place = Place {
        left: left.values.as_ptr(),
        left_step: Step { row: left.row, column: left.column },
        right: right.0.as_ptr(),
        right_stride: right.1,
        start,
        start_stride,
        out: out.as_mut_ptr(),
        out_stride,
    };
    // SAFETY: vectors are only ever those of this processor, and every index was just checked.
    unsafe { product_with(vectors, size, place) }
}

/// Vectors that products are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Those that every processor of its kind has.
    Common,
}

impl Vectors {
    /// Those that this processor has, best ones first.
    fn of_this_processor() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            (Self::Avx512, are_fast_here() && is_x86_feature_detected!("avx512f")),
            (Self::Avx2, are_fast_here()),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide: [(Self, bool); 0] = [];
        let wide = wide.into_iter().filter_map(|(vectors, is_there)| is_there.then_some(vectors));
        wide.chain([Self::Common])
    }
}

/// # Safety
/// The processor must have the vectors, and every matrix of `place` be as large as `size` says.
unsafe fn product_with(vectors: Vectors, size: Size, place: Place) {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match vectors {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => product_avx512(size, place),
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => product_avx2(size, place),
            Vectors::Common => product::<8, 8, { cfg!(target_arch = "aarch64") }>(size, place),
        }
    }
}

/// As many as the widest tile has columns.
static ZEROS: [f32; 64] = [0.0; 64];

#[derive(Clone, Copy)]
struct Step {
    row: usize,
    column: usize,
}

#[derive(Clone, Copy)]
struct Place {
    left: *const f32,
    left_step: Step,
    right: *const f32,
    right_stride: usize,
    start: *const f32,
    start_stride: Step,
    out: *mut f32,
    out_stride: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn product_avx512(size: Size, place: Place) {
    // SAFETY: the caller's promise is passed on.
    unsafe { product::<6, 64, true>(size, place) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn product_avx2(size: Size, place: Place) {
    // SAFETY: the caller's promise is passed on.
    unsafe { product::<6, 16, true>(size, place) }
}

/// Tiles of `ROWS × WIDTH`, then narrower and lower ones for what is left.
#[inline(always)]
unsafe fn product<const ROWS: usize, const WIDTH: usize, const FUSED: bool>(size: Size, place: Place) {
    let mut column = 0;
    // SAFETY: no tile reaches beyond `size`.
    unsafe {
        while column + WIDTH <= size.width {
            column_of_tiles::<ROWS, WIDTH, FUSED>(size, place, column);
            column += WIDTH;
        }
        while column + 16 <= size.width {
            column_of_tiles::<ROWS, 16, FUSED>(size, place, column);
            column += 16;
        }
        while column < size.width {
            column_of_tiles::<ROWS, 1, FUSED>(size, place, column);
            column += 1;
        }
    }
}

#[inline(always)]
unsafe fn column_of_tiles<const ROWS: usize, const WIDTH: usize, const FUSED: bool>(
    size: Size,
    place: Place,
    column: usize,
) {
    let mut row = 0;
    // SAFETY: no tile reaches beyond `size`.
    unsafe {
        while row + ROWS <= size.rows {
            tile::<ROWS, WIDTH, FUSED>(size.depth, place, row, column);
            row += ROWS;
        }
        while row + 2 <= size.rows {
            tile::<2, WIDTH, FUSED>(size.depth, place, row, column);
            row += 2;
        }
        if row < size.rows {
            tile::<1, WIDTH, FUSED>(size.depth, place, row, column);
        }
    }
}

#[inline(always)]
unsafe fn tile<const ROWS: usize, const WIDTH: usize, const FUSED: bool>(
    depth: usize,
    place: Place,
    row: usize,
    column: usize,
) {
    let mut sums = [[0.0_f32; WIDTH]; ROWS];
    // SAFETY: the caller says that the tile lies within all four matrices.
    unsafe {
        let start = place.start.add(row * place.start_stride.row + column * place.start_stride.column);
        let left = place.left.add(row * place.left_step.row);
        let right = place.right.add(column);
        for (i, sums) in sums.iter_mut().enumerate() {
            *sums = start.add(i * place.start_stride.row).cast::<[f32; WIDTH]>().read_unaligned();
        }
        for k in 0..depth {
            let right = &*right.add(k * place.right_stride).cast::<[f32; WIDTH]>();
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = *left.add(i * place.left_step.row + k * place.left_step.column);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = if FUSED { left.mul_add(*right, *sum) } else { left * right + *sum };
                }
            }
        }
        let out = place.out.add(row * place.out_stride + column);
        for (i, sums) in sums.iter().enumerate() {
            *out.add(i * place.out_stride).cast::<[f32; WIDTH]>() = *sums;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, Stream};

    #[test]
    fn products_of_any_size_and_either_way_round_are_those_of_double_precision() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut drawn = |len: usize| (0..len).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        for (rows, depth, width) in [(1, 1, 1), (7, 5, 64), (6, 3, 80), (13, 9, 99), (4, 0, 17), (20, 33, 15)]
        {
            // Rows are further apart than they are long.
            let (stride, right_stride, out_stride) = (depth + 2, width + 3, width + 1);
            let (left, right, row) = (drawn(rows * stride), drawn(depth * right_stride + 3), drawn(width));
            let transposed: Vec<f32> =
                (0..rows * stride).map(|i| left[i % rows * stride + i / rows]).collect();
            let there = drawn(rows * out_stride);
            let lefts = [
                Left { values: &left, row: stride, column: 1 },
                Left { values: &transposed, row: 1, column: rows },
            ];
            for (left_side, start) in
                lefts.into_iter().flat_map(|l| [Start::Zeros, Start::Row(&row), Start::There].map(|s| (l, s)))
            {
                let mut out = there.clone();
                let size = Size { rows, depth, width };
                multiply(size, left_side, (&right, right_stride), start, (&mut out, out_stride));
                for (i, &found) in out.iter().enumerate() {
                    let (r, c) = (i / out_stride, i % out_stride);
                    let sum: f64 = (0..depth)
                        .map(|k| {
                            f64::from(left[r * stride + k])
                                * f64::from(right[k * right_stride + c.min(width - 1)])
                        })
                        .sum();
                    let expected = match start {
                        _ if c == width => f64::from(there[i]),
                        Start::Zeros => sum,
                        Start::Row(row) => sum + f64::from(row[c]),
                        Start::There => sum + f64::from(there[i]),
                    };
                    assert!((f64::from(found) - expected).abs() < 2e-5, "{size:?} {i}: {found} {expected}");
                }
                for vectors in Vectors::of_this_processor() {
                    let mut other = there.clone();
                    let (right, other_rows) = ((&right[..], right_stride), (&mut other[..], out_stride));
                    multiply_with(vectors, size, left_side, right, start, other_rows);
                    let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-5;
                    assert!(!out.iter().zip(&other).any(differ), "{vectors:?} {size:?}");
                }
            }
        }
    }
}
