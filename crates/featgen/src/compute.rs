//! One symbol's features from its bars: each function is called once for all its outputs, functions run in
//! parallel, and values are narrowed at the very end.

use market::FeatureColumn;
use market::parquet::Width;
use rayon::prelude::*;

use crate::catalogue::{Frame, Outputs};
use crate::specification::Feature;
use crate::talib::Failure;

/// The features of a run, with equal calls found.
#[derive(Debug)]
pub struct Plan {
    /// The columns in order.
    pub features: Vec<Feature>,
    /// The first feature of each different call, and for each feature its call.
    calls: Vec<usize>,
    call_of: Vec<usize>,
    /// Whether every column is of double precision.
    pub is_double: bool,
    /// For each column the rows that are left null whatever the function says, as `--stable` asks for.
    pub unstable_rows: Vec<usize>,
}

/// One symbol's columns, and what is to be said about them.
#[derive(Debug)]
pub struct Computed {
    /// The columns, in the plan's order.
    pub columns: Vec<FeatureColumn>,
    /// For each column the rows that are null before its first value.
    pub leading_nulls: Vec<usize>,
    /// For each column the rows after its first value that are null, since the function has no value there.
    pub later_nulls: Vec<usize>,
}

impl Plan {
    /// A plan for these features.
    pub fn new(features: Vec<Feature>) -> Self {
        let mut calls: Vec<usize> = Vec::new();
        let call_of = features
            .iter()
            .enumerate()
            .map(|(place, feature)| {
                let is_it = |&call: &usize| features[call].is_same_call(feature);
                calls.iter().position(is_it).unwrap_or_else(|| {
                    calls.push(place);
                    calls.len() - 1
                })
            })
            .collect();
        let unstable_rows = vec![0; features.len()];
        Self { features, calls, call_of, is_double: false, unstable_rows }
    }

    /// The other symbols that features refer to.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter_map(|feature| feature.other.as_deref())
    }

    /// Names and widths of the columns.
    pub fn columns(&self) -> Vec<(&str, Width)> {
        self.features.iter().map(|feature| (feature.column.as_str(), self.width(feature))).collect()
    }

    fn width(&self, feature: &Feature) -> Width {
        if self.is_double { Width::F64 } else { feature.width() }
    }

    /// Computes all columns for one symbol.
    pub fn compute(&self, frame: &Frame) -> Result<Computed, Failure> {
        let columns = self.map(frame, |place, mut values| {
            let rows = self.unstable_rows[place].min(values.len());
            values[..rows].fill(f64::NAN);
            narrow(&values, self.width(&self.features[place]))
        })?;
        let leading_nulls: Vec<usize> = columns.iter().map(leading_nulls).collect();
        let later_nulls =
            columns.iter().zip(&leading_nulls).map(|(column, &leading)| n_nulls(column) - leading);
        let later_nulls = later_nulls.collect();
        Ok(Computed { columns, leading_nulls, later_nulls })
    }

    /// The values of all columns in double precision, before anything is narrowed or left out.
    pub fn values(&self, frame: &Frame) -> Result<Vec<Vec<f64>>, Failure> {
        self.map(frame, |_, values| values)
    }

    /// Computes every column and hands it on with its place.
    fn map<T: Send>(
        &self,
        frame: &Frame,
        column: impl Fn(usize, Vec<f64>) -> T + Sync,
    ) -> Result<Vec<T>, Failure> {
        let outputs: Vec<Outputs> = self
            .calls
            .par_iter()
            .map(|&call| {
                let feature = &self.features[call];
                feature.definition.compute(frame, &feature.parameters, feature.other.as_deref())
            })
            .collect::<Result<_, _>>()?;
        let columns =
            self.features.par_iter().zip(&self.call_of).enumerate().map(|(place, (feature, &call))| {
                let mut values = outputs[call][feature.output].clone();
                for transform in &feature.transforms {
                    values = transform.apply(values, frame);
                }
                column(place, values)
            });
        Ok(columns.collect())
    }
}

/// Values that the width cannot hold, infinities among them, become null, which NaN stands for.
fn narrow(values: &[f64], width: Width) -> FeatureColumn {
    match width {
        Width::F32 => FeatureColumn::F32(
            values
                .iter()
                .map(|&value| Some(value as f32).filter(|value| value.is_finite()).unwrap_or(f32::NAN))
                .collect(),
        ),
        Width::F64 => FeatureColumn::F64(
            values.iter().map(|&value| if value.is_finite() { value } else { f64::NAN }).collect(),
        ),
    }
}

fn leading_nulls(column: &FeatureColumn) -> usize {
    match column {
        FeatureColumn::F32(values) => values.iter().take_while(|value| value.is_nan()).count(),
        FeatureColumn::F64(values) => values.iter().take_while(|value| value.is_nan()).count(),
    }
}

fn n_nulls(column: &FeatureColumn) -> usize {
    match column {
        FeatureColumn::F32(values) => values.iter().filter(|value| value.is_nan()).count(),
        FeatureColumn::F64(values) => values.iter().filter(|value| value.is_nan()).count(),
    }
}

#[cfg(test)]
mod tests;
