//! One symbol's features from its bars: each function is called once for all its outputs, functions run in
//! parallel, and values are narrowed at the very end.

use market::parquet::Width;
use market::{Bars, FeatureColumn};
use rayon::prelude::*;

use crate::catalogue::{Definition, Frame, Outputs};
use crate::specification::Feature;
use crate::talib::Failure;

/// The features of a run, with equal calls found.
#[derive(Debug)]
pub struct Plan {
    /// The columns in order.
    pub features: Vec<Feature>,
    /// The different calls, and for each feature its call.
    calls: Vec<(&'static Definition, Vec<f64>)>,
    call_of: Vec<usize>,
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
        let mut calls: Vec<(&'static Definition, Vec<f64>)> = Vec::new();
        let call_of = features
            .iter()
            .map(|feature| {
                let is_it = |(definition, parameters): &(&'static Definition, Vec<f64>)| {
                    definition.name == feature.definition.name && *parameters == feature.parameters
                };
                calls.iter().position(is_it).unwrap_or_else(|| {
                    calls.push((feature.definition, feature.parameters.clone()));
                    calls.len() - 1
                })
            })
            .collect();
        Self { features, calls, call_of }
    }

    /// Names and widths of the columns.
    pub fn columns(&self) -> Vec<(&str, Width)> {
        self.features.iter().map(|feature| (feature.column.as_str(), feature.width())).collect()
    }

    /// Computes all columns for one symbol.
    pub fn compute(&self, bars: &Bars, bar_seconds: u32) -> Result<Computed, Failure> {
        let frame = Frame { bars, bar_seconds };
        let outputs: Vec<Outputs> = self
            .calls
            .par_iter()
            .map(|(definition, parameters)| definition.compute(&frame, parameters))
            .collect::<Result<_, _>>()?;
        let columns: Vec<FeatureColumn> = self
            .features
            .par_iter()
            .zip(&self.call_of)
            .map(|(feature, &call)| {
                let mut values = outputs[call][feature.output].clone();
                for transform in &feature.transforms {
                    values = transform.apply(values, &frame);
                }
                narrow(&values, feature.width())
            })
            .collect();
        let leading_nulls: Vec<usize> = columns.iter().map(leading_nulls).collect();
        let later_nulls =
            columns.iter().zip(&leading_nulls).map(|(column, &leading)| n_nulls(column) - leading);
        let later_nulls = later_nulls.collect();
        Ok(Computed { columns, leading_nulls, later_nulls })
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
