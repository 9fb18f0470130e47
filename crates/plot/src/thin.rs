//! Fewer points for the eye to see the same line.

/// A line of at most about `4 * buckets` points that looks like `points` at `buckets` pixels: of each bucket the
/// first, lowest, highest and last point (M4, Jugel et al. 2014), so that no peak and no drawdown gets lost.
/// A point that is not finite breaks the line: each run of finite points comes back as one part.
pub fn thin(points: &[(f64, f64)], buckets: usize) -> Vec<Vec<(f64, f64)>> {
    let parts = points.split(|point| !is_drawable(point.0) || !is_drawable(point.1));
    let parts = parts.filter(|part| !part.is_empty());
    let total = points.len();
    parts.map(|part| thin_part(part, (buckets * part.len() / total.max(1)).max(1))).collect()
}

/// Whether a chart can show `value`: finite, and far enough from the largest float to compute ranges.
pub fn is_drawable(value: f64) -> bool {
    value.abs() < 1e300
}

fn thin_part(part: &[(f64, f64)], buckets: usize) -> Vec<(f64, f64)> {
    if part.len() <= 4 * buckets {
        return part.to_vec();
    }
    let mut kept = Vec::with_capacity(4 * buckets + 4);
    for bucket in part.chunks(part.len().div_ceil(buckets)) {
        let low = extreme(bucket, |value, best| value < best);
        let high = extreme(bucket, |value, best| value > best);
        let mut positions = [0, low.min(high), low.max(high), bucket.len() - 1].to_vec();
        positions.dedup();
        kept.extend(positions.into_iter().map(|position| bucket[position]));
    }
    kept
}

fn extreme(bucket: &[(f64, f64)], better: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (position, point) in bucket.iter().enumerate() {
        if better(point.1, bucket[best].1) {
            best = position;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_ends_and_its_one_spike() {
        let mut points: Vec<_> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[31_415].1 = -7.0;
        let parts = thin(&points, 100);
        assert_eq!(parts.len(), 1);
        assert!(parts[0].len() <= 400);
        assert_eq!((parts[0][0], parts[0].last()), (points[0], points.last()));
        assert!(parts[0].contains(&(31_415.0, -7.0)));
        assert!(parts[0].is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_is_not_finite_breaks_the_line() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0), (f64::INFINITY, 2.0), (4.0, 1e308)];
        assert_eq!(thin(&points, 10), [vec![(0.0, 1.0)], vec![(2.0, 1.0)]]);
    }
}
