//! Orthogonal matrices, the first weights of a network: Gram and Schmidt on normal vectors, some dozens of vectors
//! at once on all cores, so that wide networks start in seconds.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled for the vectors that every processor has"
)]

use std::thread;

use anyhow::{Context, Result, anyhow};
use random::Stream;

use crate::networks::vectors::for_the_best_vectors;
use crate::training::stop::Stop;

/// Vectors that are freed of all before them at once, dealt to threads, and then of each other.
const PANEL: usize = 64;
/// Vectors that go through the innermost loop together: each of the others is loaded once for all of them.
const TILE: usize = 4;
/// Others that are taken off one tile after the other while they are in a core's caches.
const OTHERS_AT_ONCE: usize = 16;
/// Sums that run side by side, the width of a vector register; what is left over is padded with zeros.
const LANES: usize = 4;
/// Multiplications below which no thread is woken.
const WORK_PER_THREAD: usize = 1 << 20;

/// A `rows × columns` matrix, row by row, whose rows (or columns, if there are fewer) are orthonormal, uniformly
/// distributed (Saxe et al. 2014). Every vector is freed of those before it twice, for accuracy. Any number of
/// `threads` gives the same bits.
///
/// # Errors
/// If it is to stop, or no thread can be started.
pub fn orthogonal(
    (rows, columns): (usize, usize),
    stream: &mut Stream,
    threads: usize,
    stop: &Stop,
) -> Result<Vec<f64>> {
    let (count, len) = (rows.min(columns), rows.max(columns));
    let stride = len.next_multiple_of(LANES);
    let mut vectors = vec![0.0; count * stride];
    for first in (0..count).step_by(PANEL) {
        let (others, rest) = vectors.split_at_mut(first * stride);
        let panel = &mut rest[..PANEL.min(count - first) * stride];
        for vector in panel.chunks_exact_mut(stride) {
            vector[..len].iter_mut().for_each(|slot| *slot = stream.normal());
        }
        free_panel(panel, others, stride, threads, stop)?;
        for own in 0..panel.len() / stride {
            let (others, rest) = panel.split_at_mut(own * stride);
            let vector = &mut rest[..stride];
            for _ in 0..2 {
                free(vector, others, stride);
            }
            let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
            for a in vector.iter_mut() {
                *a /= norm;
            }
        }
    }
    let entry = |row: usize, column: usize| {
        if rows <= columns { vectors[row * stride + column] } else { vectors[column * stride + row] }
    };
    Ok((0..rows * columns).map(|i| entry(i / columns, i % columns)).collect())
}

/// Takes off the vectors of `panel`, twice, what lies along the orthonormal `others`.
fn free_panel(panel: &mut [f64], others: &[f64], stride: usize, threads: usize, stop: &Stop) -> Result<()> {
    let free_share = |share: &mut [f64]| -> Result<()> {
        for _ in 0..2 {
            for others in others.chunks(OTHERS_AT_ONCE * stride) {
                stop.check()?;
                free(share, others, stride);
            }
        }
        Ok(())
    };
    let tiles = panel.len().div_ceil(TILE * stride);
    let work = panel.len() / stride * others.len();
    let threads = threads.min(tiles).min(work / WORK_PER_THREAD);
    if threads <= 1 {
        return free_share(panel);
    }
    thread::scope(|scope| {
        let mut working = Vec::new();
        for share in panel.chunks_mut(tiles.div_ceil(threads) * TILE * stride) {
            let work = || free_share(share);
            let spawned = thread::Builder::new().name("weights".into()).spawn_scoped(scope, work);
            working.push(spawned.context("cannot start a thread (try --threads 1)")?);
        }
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().map_err(|_| anyhow!("a thread that made weights failed"))?
        };
        working.into_iter().try_for_each(join)
    })
}

for_the_best_vectors! {
    /// Takes off each of `vectors` what lies along the orthonormal `others`, each of `stride` numbers.
    free = free_with(vectors: &mut [f64], others: &[f64], stride: usize)
}

#[inline(always)]
fn free_with<const FUSED: bool>(vectors: &mut [f64], others: &[f64], stride: usize) {
    for tile in vectors.chunks_mut(TILE * stride) {
        if tile.len() == TILE * stride {
            free_tile::<FUSED, TILE>(tile, others, stride);
        } else {
            for vector in tile.chunks_exact_mut(stride) {
                free_tile::<FUSED, 1>(vector, others, stride);
            }
        }
    }
}

/// The same of `N` vectors, two others at a time and the last one alone.
#[inline(always)]
fn free_tile<const FUSED: bool, const N: usize>(tile: &mut [f64], others: &[f64], stride: usize) {
    for pair in others.chunks(2 * stride) {
        if pair.len() == 2 * stride {
            free_of::<FUSED, N, 2>(tile, pair, stride);
        } else {
            free_of::<FUSED, N, 1>(tile, pair, stride);
        }
    }
}

#[inline(always)]
fn free_of<const FUSED: bool, const N: usize, const M: usize>(
    tile: &mut [f64],
    others: &[f64],
    stride: usize,
) {
    let other: [&[[f64; LANES]]; M] =
        std::array::from_fn(|m| others[m * stride..(m + 1) * stride].as_chunks().0);
    let mut sums = [[[0.0; LANES]; M]; N];
    let rows: [&[[f64; LANES]]; N] =
        std::array::from_fn(|n| tile[n * stride..(n + 1) * stride].as_chunks().0);
    for i in 0..stride / LANES {
        for n in 0..N {
            for m in 0..M {
                for lane in 0..LANES {
                    sums[n][m][lane] =
                        multiply_add::<FUSED>(rows[n][i][lane], other[m][i][lane], sums[n][m][lane]);
                }
            }
        }
    }
    for (row, sums) in tile.chunks_exact_mut(stride).zip(&sums) {
        let along = sums.map(|[a, b, c, d]| (a + b) + (c + d));
        for (i, chunk) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for m in 0..M {
                for lane in 0..LANES {
                    chunk[lane] = multiply_add::<FUSED>(-along[m], other[m][i][lane], chunk[lane]);
                }
            }
        }
    }
}

/// a · b + c; rounded once where products are fused.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::Purpose;

    fn stream() -> Stream {
        Stream::new(7, Purpose::Test, 0, 0)
    }

    fn matrix(shape: (usize, usize), threads: usize) -> Vec<f64> {
        orthogonal(shape, &mut stream(), threads, &Stop::never()).unwrap()
    }

    /// Gram and Schmidt as a textbook has it, vector by vector, twice.
    fn plain(rows: usize, columns: usize) -> Vec<f64> {
        let mut stream = stream();
        let mut vectors: Vec<Vec<f64>> = Vec::new();
        for _ in 0..rows.min(columns) {
            let mut vector: Vec<f64> = (0..rows.max(columns)).map(|_| stream.normal()).collect();
            for _ in 0..2 {
                for other in &vectors {
                    let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                    vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
                }
            }
            let norm = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
            vectors.push(vector.into_iter().map(|a| a / norm).collect());
        }
        let entry = |r: usize, c: usize| if rows <= columns { vectors[r][c] } else { vectors[c][r] };
        (0..rows * columns).map(|i| entry(i / columns, i % columns)).collect()
    }

    #[test]
    fn it_is_what_gram_and_schmidt_come_to() {
        for shape in [(1, 1), (1, 7), (5, 3), (64, 65), (130, 197), (201, 131), (160, 160)] {
            let (found, expected) = (matrix(shape, 2), plain(shape.0, shape.1));
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() < 1e-10, "{shape:?} at {i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn rows_of_a_wide_matrix_are_orthonormal_with_the_same_bits_for_any_number_of_threads() {
        let (rows, columns) = (300, 301);
        let one = matrix((rows, columns), 1);
        for (a, b) in (0..rows).flat_map(|a| (0..=a).map(move |b| (a, b))) {
            let dot: f64 = (0..columns).map(|i| one[a * columns + i] * one[b * columns + i]).sum();
            let expected = if a == b { 1.0 } else { 0.0 };
            assert!((dot - expected).abs() < 1e-12, "rows {a} and {b}: {dot}");
        }
        for threads in [2, 3, 16] {
            assert!(one == matrix((rows, columns), threads), "{threads} threads");
        }
    }

    #[test]
    fn a_stop_ends_it() {
        let ended = orthogonal((200, 200), &mut stream(), 2, &Stop::asked());
        assert!(ended.unwrap_err().is::<crate::training::stop::Interrupted>());
    }
}
