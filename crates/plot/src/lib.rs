//! SVG charts for the training report and for cpumon's heat map: plain data in, one string of SVG out.
//!
//! A chart stands inline in an HTML page: it has a light background, asks for no font file and no script,
//! shrinks with the page, and its colours stay apart for colour-blind readers. Empty, constant or non-finite
//! data give a chart that says so rather than an error.
//!
//! # Layout
//! - [`line`]: lines over numbers, time or labels; a line may be filled to zero, as a drawdown is.
//! - [`heat`]: rows by time, values from 0 to 1: what every core did.
//! - [`bars`]: stacked horizontal bars: where the time went.
//! - `canvas`: size, colours, text, legend, and the head of the SVG.
//! - `ticks`: round numbers and dates for axes.
//! - `thin`: fewer points for the eye to see the same line.
pub mod bars;
mod canvas;
pub mod heat;
pub mod line;
mod thin;
mod ticks;

pub use bars::{Bar, Bars};
pub use canvas::PlotError;
pub use heat::HeatMap;
pub use line::{LineChart, Series, Style};
pub use ticks::{Values, XAxis};
