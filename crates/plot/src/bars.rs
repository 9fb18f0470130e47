//! Stacked horizontal bars: where the time went.

use plotters::style::text_anchor::HPos;
use plotters::style::{RGBColor, WHITE};

use crate::canvas::{self, Area, FAINT_INK, GRID, INK, Look, PlotError, WIDTH_PX};
use crate::thin::is_drawable;
use crate::ticks::{self, Values};

/// One bar: a name and the length of each part.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bar {
    /// Its name, at the left.
    pub name: String,
    /// A length for each part; what is negative or not finite counts as 0.
    pub lengths: Vec<f64>,
}

/// Bars that share their parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bars {
    /// What the chart shows.
    pub title: String,
    /// What the lengths are, with their unit.
    pub label: String,
    /// The names of the parts, in the order of the stack.
    pub parts: Vec<String>,
    /// The bars, the first on top.
    pub bars: Vec<Bar>,
}

const LEFT_PX: f64 = 130.0;
const RIGHT_PX: f64 = 876.0;
const ROW_PX: f64 = 34.0;

impl Bars {
    /// The bars as SVG. A part that has the room says its share of its bar.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        let names: Vec<&str> = self.parts.iter().map(String::as_str).collect();
        let top_px = canvas::legend_end_px(&names) + 8.0;
        let bottom_px = top_px + ROW_PX * self.bars.len().max(1) as f64;
        canvas::draw(&self.title, (bottom_px + 50.0) as u32, |area| {
            canvas::legend(area, &names, false)?;
            let faint = Look { colour: FAINT_INK, align: HPos::Center, ..Look::default() };
            let longest = self.bars.iter().map(|bar| self.lengths(bar).iter().sum()).fold(0.0, f64::max);
            if longest <= 0.0 || !is_drawable(longest) {
                let at = (f64::from(WIDTH_PX) / 2.0, f64::midpoint(top_px, bottom_px));
                return canvas::text(area, at, "no data", 13.0, faint);
            }
            let place = |length: f64| LEFT_PX + length / longest * (RIGHT_PX - LEFT_PX);
            for tick in ticks::numbers(0.0, longest, 8, Values::Plain) {
                let x = place(tick.at);
                canvas::rule(area, (x, top_px), (x, bottom_px + 4.0), GRID)?;
                canvas::text(area, (x, bottom_px + 13.0), &tick.label, 11.0, faint)?;
            }
            let under = (f64::midpoint(LEFT_PX, RIGHT_PX), bottom_px + 32.0);
            canvas::text(area, under, &self.label, 11.0, faint)?;
            for (row, bar) in self.bars.iter().enumerate() {
                self.draw_bar(area, bar, top_px + row as f64 * ROW_PX, place)?;
            }
            Ok(())
        })
    }

    fn lengths(&self, bar: &Bar) -> Vec<f64> {
        let length =
            |part| bar.lengths.get(part).copied().filter(|v| is_drawable(*v)).unwrap_or(0.0).max(0.0);
        (0..self.parts.len()).map(length).collect()
    }

    fn draw_bar(
        &self,
        area: &Area,
        bar: &Bar,
        top_px: f64,
        place: impl Fn(f64) -> f64,
    ) -> Result<(), PlotError> {
        let right = Look { align: HPos::Right, ..Look::default() };
        let name = canvas::fit(&bar.name, 12.0, LEFT_PX - 24.0);
        canvas::text(area, (LEFT_PX - 8.0, top_px + ROW_PX / 2.0), &name, 12.0, right)?;
        let lengths = self.lengths(bar);
        let total: f64 = lengths.iter().sum();
        let mut from = 0.0;
        for (part, length) in lengths.into_iter().enumerate() {
            let (left, right) = (place(from), place(from + length));
            from += length;
            if right - left < 0.05 {
                continue;
            }
            let colour = canvas::colour(part);
            canvas::fill(area, (left, top_px + 4.0), (right, top_px + ROW_PX - 4.0), colour)?;
            let share = format!("{:.0} %", length / total * 100.0);
            if canvas::text_width_px(&share, 11.0) + 8.0 < right - left {
                let look = Look { colour: ink_on(colour), align: HPos::Center, ..Look::default() };
                let at = (f64::midpoint(left, right), top_px + ROW_PX / 2.0);
                canvas::text(area, at, &share, 11.0, look)?;
            }
        }
        Ok(())
    }
}

/// Black or white, whichever reads better on `colour`.
fn ink_on(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let light = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    if light > 125.0 { INK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(lengths: &[f64]) -> String {
        let bar = Bar { name: "run".into(), lengths: lengths.to_vec() };
        let parts = ["environment", "update", "waiting"].map(String::from).to_vec();
        Bars { title: "Time".into(), label: "seconds".into(), parts, bars: vec![bar] }.to_svg().unwrap()
    }

    #[test]
    fn parts_say_their_share_of_the_bar() {
        let svg = bars(&[3.0, 1.0, 0.0]);
        assert!(svg.contains("75 %") && svg.contains("25 %") && !svg.contains("\n0 %"));
    }

    #[test]
    fn any_data_gives_bars() {
        for lengths in
            [&[][..], &[0.0; 3], &[f64::NAN, f64::INFINITY, -1.0], &[1e300; 3], &[9e299; 3], &[1.0; 9]]
        {
            let svg = bars(lengths);
            assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"), "{lengths:?}");
        }
        assert!(bars(&[f64::NAN]).contains("no data"));
        assert!(Bars::default().to_svg().unwrap().contains("no data"));
    }
}
