//! A hyper-parameter that may change while a training goes on: `0.001` stays, `0.001..0` falls (or rises)
//! linearly from the first to the second over the whole training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value over the course of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    /// At the first update.
    pub from: f64,
    /// Where the last update would have led; equal to `from` for a constant.
    pub to: f64,
}

impl Schedule {
    /// The value when `done`, a fraction, of the training is over.
    pub fn at(self, done: f64) -> f64 {
        self.from + (self.to - self.from) * done
    }

    /// Whether both ends satisfy `holds`.
    pub fn all(self, holds: impl Fn(f64) -> bool) -> bool {
        holds(self.from) && holds(self.to)
    }
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Self { from: value, to: value }
    }
}

impl From<(f64, f64)> for Schedule {
    fn from((from, to): (f64, f64)) -> Self {
        Self { from, to }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}..{}", self.from, self.to)
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let value: Result<f64, _> = part.trim().parse();
            value.map_err(|_| format!("{text:?} is neither a number nor FROM..TO, such as 0.001..0"))
        };
        match text.split_once("..") {
            Some((from, to)) => Ok(Self { from: number(from)?, to: number(to)? }),
            None => number(text).map(Self::from),
        }
    }
}

/// How a schedule stands in a file: a number, or text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Constant(f64),
    Changing(String),
}

impl TryFrom<Written> for Schedule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Constant(value) => Ok(value.into()),
            Written::Changing(text) => text.parse(),
        }
    }
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        if schedule.from == schedule.to {
            Self::Constant(schedule.from)
        } else {
            Self::Changing(schedule.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_and_a_range_goes_from_end_to_end() {
        let parsed = |text: &str| text.parse::<Schedule>();
        assert_eq!(parsed("3e-4").map(|s| (s.at(0.0), s.at(0.7))), Ok((3e-4, 3e-4)));
        assert_eq!(parsed("0.2..0").map(|s| (s.at(0.0), s.at(0.5), s.at(1.0))), Ok((0.2, 0.1, 0.0)));
        assert_eq!(parsed("0.001..0.002").map(|s| s.to_string()), Ok("0.001..0.002".into()));
        for wrong in ["", "x", "1..", "0.1:linear"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_holds_a_number_or_a_range() {
        for schedule in [Schedule::from(0.25), Schedule::from((1e-3, 0.0))] {
            let text = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule, "{text}");
        }
        assert_eq!(serde_json::to_string(&Schedule::from((1e-3, 0.0))).unwrap(), "\"0.001..0\"");
    }
}
