//! One symbol's features from its bars: each function is called once for all its outputs, functions run in
//! parallel, and values are narrowed at the very end.

use market::FeatureColumn;
use market::parquet::Width;
use rayon::prelude::*;

use crate::buffers;
use crate::catalogue::Frame;
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

/// One symbol's columns, or what was made of each, and what is to be said about them.
#[derive(Debug)]
pub struct Computed<T> {
    /// The columns, in the plan's order.
    pub columns: Vec<T>,
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

    /// For each column the rows to be called its lookback: what is known beforehand, or what a symbol was found to
    /// need.
    pub fn lookbacks(&self, leading_nulls: &[usize]) -> Vec<usize> {
        let known = |feature: &Feature| feature.lookback().unwrap_or(0);
        let rows = self.features.iter().map(known).zip(&self.unstable_rows).zip(leading_nulls);
        rows.map(|((known, &unstable), &found)| known.max(unstable).max(found)).collect()
    }

    /// Computes all columns for one symbol.
    pub fn compute(&self, frame: &Frame) -> Result<Computed<FeatureColumn>, Failure> {
        self.compute_each(frame, |_, column| column)
    }

    /// Computes all columns for one symbol, and hands each on with its place as soon as it is there, so that no more of
    /// them than are being worked on lie in memory.
    pub fn compute_each<T: Send>(
        &self,
        frame: &Frame,
        take: impl Fn(usize, FeatureColumn) -> T + Sync,
    ) -> Result<Computed<T>, Failure> {
        let columns = self.map(frame, |place, mut values| {
            let rows = self.unstable_rows[place].min(values.len());
            values[..rows].fill(f64::NAN);
            let column = narrow(&values, self.width(&self.features[place]));
            buffers::give_back(values);
            let leading = leading_nulls(&column);
            let later = n_nulls(&column) - leading;
            (take(place, column), leading, later)
        })?;
        let n = columns.len();
        let mut computed = Computed {
            columns: Vec::with_capacity(n),
            leading_nulls: Vec::with_capacity(n),
            later_nulls: Vec::with_capacity(n),
        };
        for (column, leading, later) in columns {
            computed.columns.push(column);
            computed.leading_nulls.push(leading);
            computed.later_nulls.push(later);
        }
        Ok(computed)
    }

    /// The values of all columns in double precision, before anything is narrowed or left out.
    pub fn values(&self, frame: &Frame) -> Result<Vec<Vec<f64>>, Failure> {
        self.map(frame, |_, values| values)
    }

    /// Computes every column and hands it on with its place. A call's outputs are let go with its last column.
    fn map<T: Send>(
        &self,
        frame: &Frame,
        column: impl Fn(usize, Vec<f64>) -> T + Sync,
    ) -> Result<Vec<T>, Failure> {
        let of_call = |(number, &call): (usize, &usize)| {
            let first = &self.features[call];
            let outputs = first.definition.compute(frame, &first.parameters, first.other.as_deref())?;
            let mut outputs: Vec<Option<Vec<f64>>> = outputs.into_iter().map(Some).collect();
            let places: Vec<usize> =
                (call..self.features.len()).filter(|&at| self.call_of[at] == number).collect();
            let taken = places.iter().enumerate().map(|(at, &place)| {
                let feature = &self.features[place];
                let is_last =
                    places[at + 1..].iter().all(|&later| self.features[later].output != feature.output);
                let output = &mut outputs[feature.output];
                let values = if is_last { output.take() } else { output.clone() };
                let values = feature
                    .transforms
                    .iter()
                    .fold(values.unwrap_or_default(), |values, transform| transform.apply(values, frame));
                (place, column(place, values))
            });
            let taken: Vec<(usize, T)> = taken.collect();
            outputs.into_iter().flatten().for_each(buffers::give_back);
            Ok(taken)
        };
        let taken: Result<Vec<Vec<(usize, T)>>, Failure> =
            self.calls.par_iter().enumerate().with_max_len(1).map(of_call).collect();
        let mut columns: Vec<(usize, T)> = taken?.into_iter().flatten().collect();
        columns.sort_by_key(|(place, _)| *place);
        Ok(columns.into_iter().map(|(_, column)| column).collect())
    }
}

/// Values that the width cannot hold, infinities among them, become null, which NaN stands for.
fn narrow(values: &[f64], width: Width) -> FeatureColumn {
    match width {
        Width::F32 => {
            let mut column = buffers::singles(values.len());
            for (narrow, &value) in column.iter_mut().zip(values) {
                let value = value as f32;
                *narrow = if value.is_finite() { value } else { f32::NAN };
            }
            FeatureColumn::F32(column)
        }
        Width::F64 => {
            let mut column = buffers::doubles(values.len());
            for (kept, &value) in column.iter_mut().zip(values) {
                *kept = if value.is_finite() { value } else { f64::NAN };
            }
            FeatureColumn::F64(column)
        }
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
