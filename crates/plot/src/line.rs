//! Lines over numbers, time or labels.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::canvas::{self, Area, FAINT_INK, GRID, INK, Look, PlotError, SCALE, WIDTH_PX, units};
use crate::thin::{is_drawable, thin};
use crate::ticks::{self, Tick, Values, XAxis};

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// A solid line: what the chart is about.
    #[default]
    Solid,
    /// A dashed line: what it is compared with.
    Dashed,
    /// A line with the area between it and zero filled, as for a drawdown.
    FillToZero,
}

/// One line and its name in the legend. A point that is not finite breaks the line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub style: Style,
}

/// A chart of lines.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// What the chart shows.
    pub title: String,
    /// What runs along the horizontal axis.
    pub x: XAxis,
    /// What the values are, with their unit.
    pub y_label: String,
    /// How the values are written along the axis.
    pub y_values: Values,
    /// The lines, the first on top.
    pub series: Vec<Series>,
    /// Height in pixels; the width is 900.
    pub height_px: u32,
}

impl Default for LineChart {
    fn default() -> Self {
        Self {
            title: String::new(),
            x: XAxis::Number { label: String::new() },
            y_label: String::new(),
            y_values: Values::Plain,
            series: Vec::new(),
            height_px: 320,
        }
    }
}

impl LineChart {
    /// The chart as SVG.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
        let legend_px = canvas::legend_end_px(&names);
        let height_px = self.height_px.clamp(120, 4000) + legend_px as u32;
        canvas::draw(&self.title, height_px, |area| {
            canvas::legend(area, &names, true)?;
            let faint = Look { colour: FAINT_INK, ..Look::default() };
            canvas::text(area, (16.0, legend_px + 10.0), &self.y_label, 11.0, faint)?;
            self.plot(area, legend_px + 20.0, height_px)
        })
    }

    fn plot(&self, area: &Area, top_px: f64, height_px: u32) -> Result<(), PlotError> {
        let Some((x, y)) = self.axes() else {
            let at = (f64::from(WIDTH_PX) / 2.0, f64::midpoint(top_px, f64::from(height_px)));
            let look = Look { colour: FAINT_INK, align: HPos::Center, ..Look::default() };
            return canvas::text(area, at, "no data", 13.0, look);
        };
        let longest =
            y.ticks.iter().map(|tick| canvas::text_width_px(&tick.label, 11.0)).fold(20.0, f64::max);
        let x_label = if let XAxis::Number { label } = &self.x { label.as_str() } else { "" };
        let (x_labels, y_labels) = (x.ticks.len(), y.ticks.len());
        let font = |size: f64| ("sans-serif", size * f64::from(SCALE)).into_font().color(&FAINT_INK);
        let bottom_px = if x_label.is_empty() { 30.0 } else { 46.0 };
        let mut chart = ChartBuilder::on(area)
            .margin_top(units(top_px))
            .margin_right(units(28.0))
            .margin_left(units(14.0))
            .margin_bottom(units(6.0))
            .x_label_area_size(units(bottom_px))
            .y_label_area_size(units(longest + 12.0))
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(SCALE))
            .axis_style(FAINT_INK.stroke_width(SCALE))
            .set_all_tick_mark_size(units(4.0))
            .x_labels(x_labels)
            .y_labels(y_labels)
            .label_style(font(11.0))
            .x_desc(x_label)
            .axis_desc_style(font(11.0))
            .draw()?;
        // The first series is the one the chart is about, so it is drawn last, over the others.
        for (position, series) in self.series.iter().enumerate().rev() {
            let colour = canvas::colour(position);
            let stroke = colour.stroke_width(SCALE * 2 - SCALE / 4);
            for part in thin(&series.points, WIDTH_PX as usize) {
                if part.len() == 1 {
                    chart.draw_series([Circle::new(part[0], units(2.5), colour.filled())])?;
                    continue;
                }
                match series.style {
                    Style::Solid => chart.draw_series(LineSeries::new(part, stroke))?,
                    Style::Dashed => {
                        chart.draw_series(DashedLineSeries::new(part, units(5.0), units(3.5), stroke))?
                    }
                    Style::FillToZero => chart.draw_series(
                        AreaSeries::new(part, 0.0, colour.mix(0.25)).border_style(colour.stroke_width(SCALE)),
                    )?,
                };
            }
        }
        if self.crosses_zero() {
            let zero = self.span_x().map(|(low, high)| [(low, 0.0), (high, 0.0)]);
            chart.draw_series(zero.map(|ends| PathElement::new(ends, INK.mix(0.5).stroke_width(SCALE))))?;
        }
        Ok(())
    }

    fn drawable(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.series.iter().flat_map(|series| series.points.iter().copied());
        points.filter(|point| is_drawable(point.0) && is_drawable(point.1))
    }

    fn span_x(&self) -> Option<(f64, f64)> {
        ticks::span(self.drawable().map(|point| point.0))
    }

    fn crosses_zero(&self) -> bool {
        self.drawable().any(|point| point.1 < 0.0) && self.drawable().any(|point| point.1 > 0.0)
    }

    fn axes(&self) -> Option<(Axis, Axis)> {
        let (x_low, x_high) = self.span_x()?;
        let filled = self.series.iter().any(|series| series.style == Style::FillToZero);
        let zero = filled.then_some(0.0);
        let (low, high) = ticks::span(self.drawable().map(|point| point.1).chain(zero))?;
        // Air above and below, but none beyond a zero that an area is filled to.
        let air = (high - low) * 0.04;
        let low = if filled && low == 0.0 { low } else { low - air };
        let high = if filled && high == 0.0 { high } else { high + air };
        let y_ticks = ticks::numbers(low, high, 6, self.y_values);
        let x_ticks = ticks::along_x(&self.x, x_low, x_high, 8);
        Some((Axis { low: x_low, high: x_high, ticks: x_ticks }, Axis { low, high, ticks: y_ticks }))
    }
}

/// An axis whose ticks were chosen beforehand.
#[derive(Clone)]
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<Tick>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|tick| tick.at == *value).map_or(String::new(), |tick| tick.label.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)], style: Style) -> String {
        let series = vec![Series { name: "policy".into(), points: points.to_vec(), style }];
        LineChart { title: "Equity".into(), series, ..LineChart::default() }.to_svg().unwrap()
    }

    #[test]
    fn any_data_gives_a_chart() {
        let cases: [&[(f64, f64)]; 8] = [
            &[],
            &[(0.0, 0.0)],
            &[(5.0, 1.0), (5.0, 1.0)],
            &[(f64::NAN, 1.0)],
            &[(0.0, f64::INFINITY), (1.0, f64::NEG_INFINITY)],
            &[(0.0, 1e299), (1.0, -1e299)],
            &[(1e18, 1.0), (1e18 + 256.0, 1.0 + f64::EPSILON)],
            &[(0.0, f64::MIN_POSITIVE), (1.0, 0.0)],
        ];
        for (points, style) in
            cases.iter().flat_map(|c| [Style::Solid, Style::Dashed, Style::FillToZero].map(|s| (c, s)))
        {
            let svg = chart(points, style);
            assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{points:?}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}");
        }
        assert!(chart(&[(f64::NAN, 1.0)], Style::Solid).contains("no data"));
    }

    #[test]
    fn a_million_points_stay_a_small_file() {
        let points: Vec<_> = (0..1_000_000).map(|i| (f64::from(i), f64::from(i % 1000))).collect();
        assert!(chart(&points, Style::Solid).len() < 200_000);
    }

    #[test]
    fn labels_stand_at_their_positions() {
        let x = XAxis::Labels((0..100).map(|day| format!("day {day}")).collect());
        let points = (0..100).map(|day| (f64::from(day), 1.0 + f64::from(day))).collect();
        let series = vec![Series { name: "equity".into(), points, ..Series::default() }];
        let svg = LineChart { x, series, ..LineChart::default() }.to_svg().unwrap();
        assert!(svg.contains("day 20") && svg.contains("day 80") && !svg.contains("day 21"));
    }
}
