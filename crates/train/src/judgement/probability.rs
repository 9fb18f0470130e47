//! The normal and Student's distribution, as far as statistics on few days need them.

use std::f64::consts::SQRT_2;

/// The probability that a standard normal deviate is below `x`.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The standard normal deviate that lies above a fraction `probability`, within (0, 1), of all: bisection of
/// [`normal_cdf`], which is monotone and fast enough for the handful of calls there are.
pub fn normal_quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < probability { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The same for Student's distribution with `degrees` of freedom: the Cornish-Fisher expansion (Abramowitz
/// and Stegun 1964, 26.7.5), good to three decimals from nine degrees on.
pub fn student_quantile(probability: f64, degrees: f64) -> f64 {
    let z = normal_quantile(probability);
    let square = z * z;
    let terms = [
        (square + 1.0) / 4.0,
        ((5.0 * square + 16.0) * square + 3.0) / 96.0,
        (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0,
        ((((79.0 * square + 776.0) * square + 1482.0) * square - 1920.0) * square - 945.0) / 92_160.0,
    ];
    let mut power = 1.0;
    let series = terms.iter().map(|term| {
        power /= degrees;
        term * power
    });
    z * (1.0 + series.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_printed_tables() {
        for (probability, expected) in [(0.975, 1.959_963_985), (0.5, 0.0), (0.01, -2.326_347_874)] {
            assert!((normal_quantile(probability) - expected).abs() < 1e-8);
            assert!((normal_cdf(expected) - probability).abs() < 1e-9);
        }
        for (degrees, expected) in [(9.0, 2.2622), (29.0, 2.0452), (120.0, 1.9799)] {
            let found = student_quantile(0.975, degrees);
            assert!((found - expected).abs() < 1e-3, "{degrees} degrees: {found}");
        }
    }
}
