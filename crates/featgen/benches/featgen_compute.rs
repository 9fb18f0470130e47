//! The CPU time of thirteen well-known functions over a million bars, on one thread, as JSON. Run by
//! `make bench-featgen`, which holds it against the same calls of the TA-Lib wheel.
#![expect(clippy::print_stdout, reason = "a benchmark's figures are its data")]

use std::hint::black_box;
use std::time::Instant;

use featgen::buffers;
use featgen::catalogue::Frame;
use featgen::specification::{self, Feature};
use market::Bars;
use market::simulate::Simulation;

const THIRTEEN: &str = "sma:20,ema:20,rsi:14,macd:12:26:9,bbands:20:2:2:0,atr:14,adx:14,stoch:5:3:0:3:0,cci:14,\
                        mfi:14,obv,stddev:5:1,willr:14";
const N_SESSIONS: usize = 13_334;
const ROUNDS: usize = 15;

fn main() {
    let simulation = Simulation { symbol: "M".into(), seed: 5, n_sessions: N_SESSIONS, start_price: 300.0 };
    let simulated = simulation.bars();
    let column = |value: fn(&market::simulate::SimulatedBar) -> i64| -> Vec<f64> {
        simulated.iter().map(|bar| value(bar) as f64 / 100.0).collect()
    };
    let bars = Bars {
        symbol: "M".into(),
        ts: (0..simulated.len() as i64).collect(),
        session: vec![0; simulated.len()],
        open: column(|bar| bar.open),
        high: column(|bar| bar.high),
        low: column(|bar| bar.low),
        close: column(|bar| bar.close),
        volume: column(|bar| bar.volume as i64 * 100),
    };
    // One feature of each entry stands for its call, which gives all outputs.
    let calls: Vec<Feature> = THIRTEEN
        .split(',')
        .map(|entry| specification::parse(entry, true).expect("a specification").swap_remove(0))
        .collect();
    let frame = Frame::alone(&bars, 300);
    // On one thread the shortest wall time is the CPU time, with the least of other programs in it; the shorter what is
    // timed, the less of them there is.
    let shortest = |call: &Feature| {
        let seconds = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            let outputs = call.definition.compute(&frame, &call.parameters, None).expect("values");
            let seconds = start.elapsed().as_secs_f64();
            // As the pipeline does when a column is written.
            black_box(outputs).into_iter().for_each(buffers::give_back);
            seconds
        });
        seconds.fold(f64::INFINITY, f64::min)
    };
    let best: f64 = calls.iter().map(shortest).sum();
    println!("{{\"bars\": {}, \"cpu_seconds\": {best}}}", bars.len());
}
