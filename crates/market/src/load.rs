//! From input files to one batch of bars: every file read in parallel, ordered, stamped with the time at which
//! each close is known, placed in one calendar, and inspected.
//!
//! # Layout
//! - [`options`]: what a person may say about the inputs.
//! - `file`: one file, read and put in order.
//! - [`splits`]: an explicit list of splits, and its application.
//! - [`fill`]: missing bars filled in when asked for.
//! - `agree`: what the files of a batch must agree on.
//! - [`mod@scan`]: a batch of any size in bounded memory, symbol by symbol.
//! - [`load`]: a batch as a whole, for those who need it so.

mod agree;
mod file;
pub mod fill;
pub mod options;
pub mod scan;
pub mod splits;

use std::path::PathBuf;

use rayon::prelude::*;

use crate::Bars;
use crate::error::Result;
use crate::quality::Finding;

pub use options::{BadRows, Dedup, Fill, LoadOptions, StampMeaning};
pub use scan::{Scan, scan};
pub use splits::Splits;

/// The bars of several symbols in one calendar.
#[derive(Debug)]
pub struct Batch {
    /// What they agree on.
    pub scan: Scan,
    /// The symbols in ascending order.
    pub symbols: Vec<Bars>,
    /// What is odd about each symbol's bars, in the same order.
    pub findings: Vec<Vec<Finding>>,
}

/// Loads `paths` into one batch, all of it in memory. `go_on` is called after each file; when it says no,
/// loading stops with [`crate::Error::Stopped`].
pub fn load(paths: &[PathBuf], options: &LoadOptions, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Batch> {
    let scan = scan(paths, options, go_on)?;
    let bars: Vec<(Bars, Vec<Finding>)> =
        (0..scan.n_symbols()).into_par_iter().map(|symbol| scan.bars(symbol)).collect::<Result<_>>()?;
    let (symbols, findings) = bars.into_iter().unzip();
    Ok(Batch { scan, symbols, findings })
}

#[cfg(test)]
mod tests;
