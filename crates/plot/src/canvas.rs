//! Size, colours, text, legend, and the head of the SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoTextStyle};

/// Width of every chart in CSS pixels, before the page shrinks it.
pub const WIDTH_PX: u32 = 900;
/// The backend rounds to whole units; four of them to a pixel keep lines smooth.
pub const SCALE: u32 = 4;

/// Okabe and Ito's palette in an order that keeps neighbours far apart; yellow is left out, as it vanishes on white.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(80, 80, 80),
];
pub const INK: RGBColor = RGBColor(34, 34, 34);
pub const FAINT_INK: RGBColor = RGBColor(102, 102, 102);
pub const GRID: RGBColor = RGBColor(228, 228, 228);

/// Why a chart could not be drawn. No data leads here; it would be a fault in the drawing library.
#[derive(Debug, thiserror::Error)]
#[error("the chart could not be drawn: {0}")]
pub struct PlotError(pub String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Pixels to the backend's units.
pub fn units(pixels: f64) -> i32 {
    (pixels * f64::from(SCALE)).round() as i32
}

/// The colour of the series or part at `position`.
pub fn colour(position: usize) -> RGBColor {
    PALETTE[position % PALETTE.len()]
}

/// Draws a chart of `height_px` and gives its SVG, with `title` as the name that a screen reader says.
pub fn draw(
    title: &str,
    height_px: u32,
    paint: impl FnOnce(&Area) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let (width, height) = (WIDTH_PX * SCALE, height_px * SCALE);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, (16.0, 22.0), title, 15.0, Look { bold: true, ..Look::default() })?;
        paint(&area)?;
        area.present()?;
    }
    // The backend's own head fixes the size in units; ours lets the page shrink the chart and names it.
    let body = svg.find('>').map_or("", |end| &svg[end + 1..]);
    let name = escape(title);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{WIDTH_PX}\" \
         height=\"{height_px}\" style=\"max-width:100%;height:auto\" role=\"img\" aria-label=\"{name}\">{body}"
    ))
}

/// How a piece of text looks; the default is left-aligned ink.
#[derive(Clone, Copy)]
pub struct Look {
    pub bold: bool,
    pub colour: RGBColor,
    pub align: HPos,
}

impl Default for Look {
    fn default() -> Self {
        Self { bold: false, colour: INK, align: HPos::Left }
    }
}

/// Writes `words` with their baseline's height centred on `at`, in pixels.
pub fn text(area: &Area, at: (f64, f64), words: &str, size_px: f64, look: Look) -> Result<(), PlotError> {
    let style = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = FontDesc::new(FontFamily::SansSerif, size_px * f64::from(SCALE), style);
    let style = font.into_text_style(area).color(&look.colour).pos(Pos::new(look.align, VPos::Center));
    area.draw(&Text::new(words.to_owned(), (units(at.0), units(at.1)), style))?;
    Ok(())
}

/// About how wide `words` come out; without font files nobody knows exactly.
pub fn text_width_px(words: &str, size_px: f64) -> f64 {
    words.chars().count() as f64 * size_px * 0.56
}

/// `words`, shortened with an ellipsis so that they fit into `room_px`.
pub fn fit(words: &str, size_px: f64, room_px: f64) -> String {
    if text_width_px(words, size_px) <= room_px {
        return words.to_owned();
    }
    let keep = ((room_px / (size_px * 0.56)) as usize).saturating_sub(1);
    words.chars().take(keep).chain(['…']).collect()
}

/// Fills a rectangle given in pixels.
pub fn fill(area: &Area, from: (f64, f64), to: (f64, f64), colour: RGBColor) -> Result<(), PlotError> {
    let corners = [(units(from.0), units(from.1)), (units(to.0), units(to.1))];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    Ok(())
}

/// Draws a straight line given in pixels.
pub fn rule(area: &Area, from: (f64, f64), to: (f64, f64), colour: RGBColor) -> Result<(), PlotError> {
    let ends = [(units(from.0), units(from.1)), (units(to.0), units(to.1))];
    area.draw(&PathElement::new(ends, colour.stroke_width(SCALE)))?;
    Ok(())
}

const LEGEND_SIZE_PX: f64 = 12.0;
const LEGEND_ROW_PX: f64 = 20.0;
const LEGEND_TOP_PX: f64 = 46.0;

/// Draws a legend under the title, in as many rows as it takes, and gives the height at which it ends.
pub fn legend(area: &Area, names: &[&str], line: bool) -> Result<f64, PlotError> {
    for (place, (position, name)) in places(names).into_iter().zip(names.iter().enumerate()) {
        let (x, y) = place;
        let half = if line { 1.5 } else { 5.0 };
        fill(area, (x, y - half), (x + 16.0, y + half), colour(position))?;
        text(area, (x + 22.0, y), name, LEGEND_SIZE_PX, Look::default())?;
    }
    Ok(legend_end_px(names))
}

/// The height at which the legend for `names` ends.
pub fn legend_end_px(names: &[&str]) -> f64 {
    places(names).last().map_or(LEGEND_TOP_PX - LEGEND_ROW_PX, |place| place.1) + LEGEND_ROW_PX / 2.0
}

fn places(names: &[&str]) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (16.0, LEGEND_TOP_PX);
    let mut places = Vec::new();
    for name in names {
        let width = 22.0 + text_width_px(name, LEGEND_SIZE_PX) + 18.0;
        if x > 16.0 && x + width > f64::from(WIDTH_PX) {
            (x, y) = (16.0, y + LEGEND_ROW_PX);
        }
        places.push((x, y));
        x += width;
    }
    places
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_look_like_markup_stay_words() {
        let svg = draw("a <b> & \"c\"", 100, |area| {
            text(area, (10.0, 50.0), "<script>alert(1)</script>", 12.0, Look::default())
        })
        .unwrap();
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
        assert!(svg.contains("aria-label=\"a &lt;b&gt; &amp; &quot;c&quot;\""));
    }

    #[test]
    fn a_long_legend_takes_more_rows() {
        let name = "a rather long name of a series";
        assert_eq!(legend_end_px(&[name; 9]) - legend_end_px(&[name]), 2.0 * LEGEND_ROW_PX);
    }

    #[test]
    fn words_are_cut_to_the_room_they_have() {
        assert_eq!(fit("core 12", 12.0, 100.0), "core 12");
        assert_eq!(fit("environment", 10.0, 33.6), "envir…");
    }
}
