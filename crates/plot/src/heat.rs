//! Rows by time, values from 0 to 1: what every core did.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use crate::canvas::{self, Area, FAINT_INK, INK, Look, PlotError, WIDTH_PX};
use crate::thin::is_drawable;
use crate::ticks::{self, XAxis};

/// Cells of colour, a row a core, a column a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// What the chart shows.
    pub title: String,
    /// A name for each row, the first on top.
    pub rows: Vec<String>,
    /// What runs along the horizontal axis.
    pub x: XAxis,
    /// A column's place on that axis, at its right edge, and its values from the first row to the last: 0 is
    /// idle, 1 is busy, what is missing or not finite is grey.
    pub columns: Vec<(f64, Vec<f64>)>,
}

const LEFT_PX: f64 = 90.0;
const RIGHT_PX: f64 = 884.0;
const TOP_PX: f64 = 64.0;
const AXIS_PX: f64 = 44.0;
/// More columns than this are averaged, as no eye tells them apart.
const MOST_COLUMNS: usize = 264;
/// More steps of colour than the eye can tell apart, and few enough that neighbours often share one.
const LEVELS: f64 = 32.0;
const MISSING: RGBColor = RGBColor(214, 214, 214);
/// From idle to busy; lightness falls steadily, so that the map also reads in grey.
const SHADES: [(u8, u8, u8); 5] =
    [(255, 250, 235), (253, 212, 140), (243, 138, 72), (196, 56, 78), (84, 16, 94)];

impl HeatMap {
    /// The map as SVG.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        let row_px = (320.0 / self.rows.len().max(1) as f64).clamp(6.0, 28.0);
        let bottom_px = TOP_PX + row_px * self.rows.len().max(1) as f64;
        canvas::draw(&self.title, (bottom_px + AXIS_PX) as u32, |area| {
            scale(area)?;
            self.row_names(area, row_px)?;
            let columns = self.merged();
            let faint = Look { colour: FAINT_INK, align: HPos::Center, ..Look::default() };
            let Some((low, high)) = ticks::span(columns.iter().map(|column| column.0)) else {
                let at = (f64::from(WIDTH_PX) / 2.0, f64::midpoint(TOP_PX, bottom_px));
                return canvas::text(area, at, "no data", 13.0, faint);
            };
            // The first column has no neighbour that would tell its left edge; it is as wide as the others.
            let low = if columns.len() > 1 { low - (high - low) / (columns.len() - 1) as f64 } else { low };
            let place = |x: f64| LEFT_PX + (x - low) / (high - low) * (RIGHT_PX - LEFT_PX);
            let ends: Vec<f64> =
                columns.iter().map(|column| place(column.0).clamp(LEFT_PX, RIGHT_PX)).collect();
            for row in 0..self.rows.len() {
                let top = TOP_PX + row as f64 * row_px;
                let levels: Vec<_> = columns.iter().map(|column| level(column.1[row])).collect();
                let (mut first, mut left) = (0, LEFT_PX);
                for run in levels.chunk_by(|a, b| a == b) {
                    let last = first + run.len() - 1;
                    // Each run reaches under the one after it, which hides the seams that smoothing would leave.
                    let under = ends[(last + 1).min(ends.len() - 1)];
                    let colour = run[0].map_or(MISSING, |level| shade(f64::from(level) / LEVELS));
                    canvas::fill(area, (left, top), (under, top + row_px - 1.0), colour)?;
                    (first, left) = (last + 1, ends[last]);
                }
            }
            for tick in ticks::along_x(&self.x, low, high, 8) {
                let x = place(tick.at);
                canvas::rule(area, (x, bottom_px), (x, bottom_px + 4.0), FAINT_INK)?;
                canvas::text(area, (x, bottom_px + 13.0), &tick.label, 11.0, faint)?;
            }
            if let XAxis::Number { label } = &self.x {
                let at = (f64::midpoint(LEFT_PX, RIGHT_PX), bottom_px + 30.0);
                canvas::text(area, at, label, 11.0, faint)?;
            }
            Ok(())
        })
    }

    fn row_names(&self, area: &Area, row_px: f64) -> Result<(), PlotError> {
        // Where rows are lower than letters, only every so many of them gets its name.
        let every = (12.0 / row_px).ceil() as usize;
        let look = Look { align: HPos::Right, ..Look::default() };
        for (row, name) in self.rows.iter().enumerate().step_by(every) {
            let at = (LEFT_PX - 8.0, TOP_PX + (row as f64 + 0.5) * row_px);
            canvas::text(area, at, &canvas::fit(name, 11.0, LEFT_PX - 20.0), 11.0, look)?;
        }
        Ok(())
    }

    /// At most [`MOST_COLUMNS`] columns, each the mean of those that it stands for.
    fn merged(&self) -> Vec<(f64, Vec<f64>)> {
        let columns: Vec<_> = self.columns.iter().filter(|column| is_drawable(column.0)).collect();
        let size = columns.len().div_ceil(MOST_COLUMNS).max(1);
        let merge = |group: &[&(f64, Vec<f64>)]| {
            let mean = |row: usize| {
                let finite = group.iter().filter_map(|column| column.1.get(row)).filter(|v| v.is_finite());
                let (count, sum) = finite.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
                sum / count
            };
            (group[group.len() - 1].0, (0..self.rows.len()).map(mean).collect())
        };
        columns.chunks(size).map(merge).collect()
    }
}

fn scale(area: &Area) -> Result<(), PlotError> {
    let look = Look { colour: INK, ..Look::default() };
    canvas::text(area, (LEFT_PX, 46.0), "idle", 11.0, look)?;
    for step in 0..40 {
        let x = LEFT_PX + 30.0 + f64::from(step) * 3.0;
        canvas::fill(area, (x, 40.0), (x + 3.25, 52.0), shade(f64::from(step) / 39.0))?;
    }
    canvas::text(area, (LEFT_PX + 158.0, 46.0), "busy", 11.0, look)
}

/// The step of the scale that a value falls on; neighbours on one step are drawn as one.
fn level(value: f64) -> Option<u8> {
    value.is_finite().then(|| (value.clamp(0.0, 1.0) * LEVELS).round() as u8)
}

fn shade(value: f64) -> RGBColor {
    let along = value.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
    let below = (along as usize).min(SHADES.len() - 2);
    let (from, to, share) = (SHADES[below], SHADES[below + 1], along - below as f64);
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: usize, columns: Vec<(f64, Vec<f64>)>) -> HeatMap {
        let rows = (0..rows).map(|core| format!("core {core}")).collect();
        HeatMap { title: "Cores".into(), rows, x: XAxis::Number { label: "seconds".into() }, columns }
    }

    #[test]
    fn any_data_gives_a_map() {
        let nan = f64::NAN;
        let cases = [
            map(0, vec![]),
            map(2, vec![]),
            map(2, vec![(1.0, vec![0.5])]),
            map(2, vec![(nan, vec![0.5, 0.5])]),
            map(1, vec![(1.0, vec![nan]), (1.0, vec![7.0]), (0.0, vec![-3.0])]),
            map(256, (0..10_000).map(|x| (f64::from(x), vec![0.5; 256])).collect()),
        ];
        for case in cases {
            let svg = case.to_svg().unwrap();
            assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"));
        }
    }

    #[test]
    fn merged_columns_keep_the_mean() {
        let columns =
            (0..4 * MOST_COLUMNS).map(|x| (x as f64, vec![if x % 4 == 0 { 1.0 } else { 0.0 }])).collect();
        let merged = map(1, columns).merged();
        assert_eq!(merged.len(), MOST_COLUMNS);
        assert!(merged.iter().all(|column| column.1 == [0.25]));
    }

    #[test]
    fn busier_is_darker() {
        let light = |value| {
            let RGBColor(r, g, b) = shade(value);
            u32::from(r) * 3 + u32::from(g) * 6 + u32::from(b)
        };
        let all: Vec<_> = (0..=20).map(|step| light(f64::from(step) / 20.0)).collect();
        assert!(all.is_sorted_by(|a, b| a > b));
    }
}
