//! Ctrl-C, a closed terminal or a polite kill: everything unfinished is taken away, and the program ends at once,
//! whatever it is waiting for.

use std::io::Write;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// What shells report for a program that Ctrl-C ended.
const STOPPED_BY_SIGNAL: i32 = 130;

/// Watches for these signals from now on.
pub fn on_signal() -> anyhow::Result<()> {
    // A limit on the size of files is an error where it is met, as a full disk is, and not the end.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("signals")?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals")?;
    let watch = move || {
        if signals.forever().next().is_some() {
            let n_unfinished = market::temporary::abandon_all();
            let ending = if n_unfinished > 0 { ", nothing written" } else { "" };
            // Nobody may be there to read it any more.
            drop(writeln!(std::io::stderr(), "featgen: stopped{ending}"));
            std::process::exit(STOPPED_BY_SIGNAL);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).context("signals")?;
    Ok(())
}
