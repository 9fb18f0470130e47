//! What a step pays. All of it is made of log equity after every cost.

use crate::EnvError;

/// The least variance that the differential Sharpe ratio divides by, as a fraction of a bar's: an account that
/// stays flat has none, and its first trade would pay without bound.
const LEAST_VARIANCE: f64 = 0.01;

/// What a step pays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reward {
    /// The logarithm of equity over equity a bar before: rewards add up to that of final over initial equity.
    LogReturn,
    /// How much that return moves the Sharpe ratio of the latest returns (Moody and Saffell 2001, "Learning to
    /// trade via direct reinforcement", equation 14): with moving first and second moments A and B,
    /// (B ΔA − A ΔB / 2) / (B − A²)^(3/2), where ΔA = R − A and ΔB = R² − B.
    DifferentialSharpe {
        /// The weight η of the latest return in the moments.
        rate: f64,
    },
    /// The log return, less `weight` times the part of it that deepens the drawdown from the highest equity.
    DrawdownPenalised {
        /// How much dearer such losses are: 1 counts them twice.
        weight: f64,
    },
}

/// What the reward of later steps needs of those before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// The moving mean of returns.
    pub mean: f64,
    /// The moving mean of their squares.
    pub mean_square: f64,
}

/// Equity before and after a step, and the highest before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EquityStep {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// The highest up to `before`.
    pub peak_before: f64,
}

impl Reward {
    /// Whether its numbers make sense.
    pub fn validate(self) -> Result<(), EnvError> {
        match self {
            Self::LogReturn => Ok(()),
            Self::DifferentialSharpe { rate } if rate > 0.0 && rate < 1.0 => Ok(()),
            Self::DifferentialSharpe { rate } => {
                Err(EnvError::Rule(format!("a Sharpe rate of {rate} is not between 0 and 1")))
            }
            Self::DrawdownPenalised { weight } if (0.0..=1000.0).contains(&weight) => Ok(()),
            Self::DrawdownPenalised { weight } => {
                Err(EnvError::Rule(format!("a drawdown penalty of {weight} is not in 0 to 1000")))
            }
        }
    }

    /// What `step` pays; `bar_variance` is that of a bar's log return in training.
    pub fn of(self, step: EquityStep, moments: &mut Moments, bar_variance: f64) -> f64 {
        let log_return = libm::log(step.after / step.before);
        match self {
            Self::LogReturn => log_return,
            Self::DifferentialSharpe { rate } => moments.advance(log_return, rate, bar_variance),
            Self::DrawdownPenalised { weight } => log_return - weight * step.new_drawdown(),
        }
    }
}

impl EquityStep {
    /// How much deeper the account has fallen from its highest equity, in logarithms; 0 if it has not.
    fn new_drawdown(self) -> f64 {
        let fallen_before = libm::log(self.peak_before / self.before);
        let fallen = libm::log(self.peak_before.max(self.after) / self.after);
        (fallen - fallen_before).max(0.0)
    }
}

impl Moments {
    /// Those of an account that has not traded: the mean is nothing, the spread that of a bar.
    pub fn at_start(bar_variance: f64) -> Self {
        Self { mean: 0.0, mean_square: bar_variance }
    }

    fn advance(&mut self, log_return: f64, rate: f64, bar_variance: f64) -> f64 {
        let (a, b) = (self.mean, self.mean_square);
        let (delta_a, delta_b) = (log_return - a, log_return * log_return - b);
        let variance = b - a * a;
        let moved = (b * delta_a - 0.5 * a * delta_b) / (variance * libm::sqrt(variance));
        self.mean = a + rate * delta_a;
        self.mean_square = (b + rate * delta_b).max(self.mean * self.mean + LEAST_VARIANCE * bar_variance);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_differential_sharpe_ratio_is_the_derivative_of_the_ratio_by_the_rate() {
        // The derivative at rate 0 of (A + η ΔA) / √(B + η ΔB − (A + η ΔA)²), by central difference.
        let (a, b, r) = (0.001, 0.000_2, 0.007);
        let ratio = |eta: f64| {
            let (a, b) = (a + eta * (r - a), b + eta * (r * r - b));
            a / f64::sqrt(b - a * a)
        };
        let derivative = (ratio(1e-5) - ratio(-1e-5)) / 2e-5;
        let mut moments = Moments { mean: a, mean_square: b };
        let paid = moments.advance(r, 0.01, 1e-4);
        assert!((paid - derivative).abs() < 1e-6, "{paid} {derivative}");
        assert!(
            (moments.mean - 0.001_06).abs() < 1e-15 && (moments.mean_square - 0.000_198_49).abs() < 1e-15
        );
    }

    #[test]
    fn a_long_rest_leaves_the_ratio_finite() {
        let mut moments = Moments::at_start(1e-6);
        for _ in 0..100_000 {
            assert!(moments.advance(0.0, 0.01, 1e-6).abs() < 1e-12);
        }
        let paid = moments.advance(0.001, 0.01, 1e-6);
        assert!((paid - 10.0).abs() < 0.01, "{paid}: the return in units of a tenth of a bar's deviation");
    }

    #[test]
    fn only_new_drawdown_is_punished() {
        let check = |before: f64, after: f64, peak_before: f64, expected: f64| {
            let step = EquityStep { before, after, peak_before };
            let reward = Reward::DrawdownPenalised { weight: 2.0 };
            let paid = reward.of(step, &mut Moments::at_start(1.0), 1.0);
            assert!((paid - expected).abs() < 1e-12, "{paid} {expected}");
        };
        // A loss from the peak counts three times, a gain once, whether or not it reaches the peak.
        check(100.0, 90.0, 100.0, 3.0 * f64::ln(0.9));
        check(90.0, 80.0, 100.0, 3.0 * f64::ln(80.0 / 90.0));
        check(80.0, 95.0, 100.0, f64::ln(95.0 / 80.0));
        check(95.0, 120.0, 100.0, f64::ln(120.0 / 95.0));
    }

    #[test]
    fn numbers_without_sense_are_refused() {
        for rate in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(Reward::DifferentialSharpe { rate }.validate().is_err(), "{rate}");
        }
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Reward::DrawdownPenalised { weight }.validate().is_err(), "{weight}");
        }
    }
}
