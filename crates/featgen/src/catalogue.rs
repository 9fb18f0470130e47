//! Every feature by name: its parameters, inputs, outputs and lookback, and what computes it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use market::Bars;
use market::parquet::Width;
use ta_lib::abstract_api::FuncInfo;

use crate::{own, talib};

/// What a feature is computed from: one symbol's bars, and what is known about them beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The bars.
    pub bars: &'a Bars,
    /// Seconds from one bar to the next within a session.
    pub bar_seconds: u32,
    /// The bars of other symbols that features refer to by name.
    pub others: &'a Others,
}

/// Bars of symbols by their name.
pub type Others = BTreeMap<String, Arc<Bars>>;

/// No other symbols.
pub static NO_OTHERS: Others = BTreeMap::new();

impl<'a> Frame<'a> {
    /// A symbol without others beside it.
    pub fn alone(bars: &'a Bars, bar_seconds: u32) -> Self {
        Self { bars, bar_seconds, others: &NO_OTHERS }
    }
}

/// A number that a feature takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name, such as `time_period`.
    pub name: String,
    /// What it is when nothing is said.
    pub default: f64,
    /// Smallest accepted value.
    pub min: f64,
    /// Largest accepted value.
    pub max: f64,
    /// Whether it is a whole number.
    pub is_whole: bool,
}

/// One series for each output, as long as the bars; NaN where there is no value.
pub type Outputs = Vec<Vec<f64>>;

/// How a feature of our own is computed from its parameters.
pub type Compute = fn(&Frame, &[f64]) -> Outputs;

/// How a feature of two symbols is computed: from the frame, the other symbol's bars and the parameters.
pub type ComputePair = fn(&Frame, &Bars, &[f64]) -> Outputs;

/// What computes a feature.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// A function of TA-Lib, called through its abstract interface.
    TaLib(&'static FuncInfo),
    /// The `ta` crate, where it has what TA-Lib has not and has it right.
    Ta(Compute),
    /// This crate.
    Own(Compute),
    /// This crate, from two symbols of the batch.
    Pair(ComputePair),
}

/// One entry of the catalogue.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The name in a specification.
    pub name: String,
    /// One line that says what it is.
    pub summary: String,
    /// What it takes, in order.
    pub parameters: Vec<Parameter>,
    /// The columns it reads.
    pub inputs: Vec<&'static str>,
    /// The names of its outputs; an empty name for the output that is called like the feature itself.
    pub outputs: Vec<String>,
    /// The width of its columns.
    pub width: Width,
    /// Whether it says something on bars within sessions alone.
    pub is_intraday_only: bool,
    /// What computes it.
    pub origin: Origin,
    /// Rows that are null before the first value, by parameters; `None` where that depends on the data.
    pub lookback: fn(&Definition, &[f64]) -> Option<usize>,
}

impl Definition {
    /// Rows before the first value; `None` where that depends on the sessions in the data.
    pub fn lookback(&self, parameters: &[f64]) -> Option<usize> {
        (self.lookback)(self, parameters)
    }

    /// The parameters when nothing is said.
    pub fn defaults(&self) -> Vec<f64> {
        self.parameters.iter().map(|parameter| parameter.default).collect()
    }

    /// Whether it is a feature of two symbols, whose first parameter is the other one's name.
    pub fn is_pair(&self) -> bool {
        matches!(self.origin, Origin::Pair(_))
    }

    /// Computes all outputs. `other` is the symbol that a feature of two symbols refers to.
    pub fn compute(
        &self,
        frame: &Frame,
        parameters: &[f64],
        other: Option<&str>,
    ) -> Result<Outputs, talib::Failure> {
        match self.origin {
            Origin::TaLib(function) => talib::compute(function, frame, parameters),
            Origin::Ta(compute) | Origin::Own(compute) => Ok(compute(frame, parameters)),
            Origin::Pair(compute) => match other.and_then(|name| frame.others.get(name)) {
                Some(other) => Ok(compute(frame, other, parameters)),
                None => Ok(vec![vec![f64::NAN; frame.bars.len()]; self.outputs.len()]),
            },
        }
    }
}

/// The whole catalogue, sorted by name.
pub fn all() -> &'static [Definition] {
    static CATALOGUE: OnceLock<Vec<Definition>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let mut definitions = own::definitions();
        // Where a name is ours and TA-Lib's, ours would hide a standard value: there must be none.
        definitions.extend(talib::definitions());
        definitions.sort_by(|a, b| a.name.cmp(&b.name));
        definitions
    })
}

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Definition> {
    let all = all();
    all.binary_search_by(|definition| definition.name.as_str().cmp(name)).ok().map(|place| &all[place])
}

/// The name in `names` that is nearest to a mistyped one, if any is near.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.map(|name| (edit_distance(typed, name), name));
    let (distance, name) = scored.min()?;
    (distance <= 1 + typed.len() / 3).then_some(name)
}

/// Insertions, deletions and substitutions from one word to another (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let all = all();
        assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
        for definition in all {
            assert_eq!(
                find(&definition.name).map(|found| found.name.as_str()),
                Some(definition.name.as_str())
            );
        }
        assert!(find("no_such_feature").is_none());
    }

    #[test]
    fn a_mistyped_name_has_a_nearest() {
        let names = || all().iter().map(|definition| definition.name.as_str());
        assert_eq!(nearest("rsl", names()), Some("rsi"));
        assert_eq!(nearest("log_retrun", names()), Some("log_return"));
        assert_eq!(nearest("quite_something_else", names()), None);
    }
}
