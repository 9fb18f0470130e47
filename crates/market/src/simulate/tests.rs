//! The simulated bars look like a market, and can be learned from, net of costs.

use super::*;

/// What intraday trading costs on NSE for a round trip, in parts of the price.
const ROUND_TRIP_COST: f64 = 8.3e-4;

/// The seed of data/sample, and its symbols with their prices before the first session.
const SEED: u64 = 334;
const SAMPLES: [(&str, f64); 3] = [("BPCL", 310.0), ("RELIANCE", 1280.0), ("TATASTEEL", 155.0)];

fn simulation(symbol: &str, start_price: f64) -> Simulation {
    Simulation { symbol: symbol.into(), seed: SEED, n_sessions: 250, start_price }
}

fn log_closes(bars: &[SimulatedBar]) -> Vec<f64> {
    bars.iter().map(|bar| (bar.close as f64).ln()).collect()
}

/// Log returns from bar to bar within sessions.
fn intraday_returns(bars: &[SimulatedBar]) -> Vec<f64> {
    let inside = |pair: &&[SimulatedBar]| pair[0].date == pair[1].date;
    bars.windows(2).filter(inside).map(|pair| (pair[1].close as f64 / pair[0].close as f64).ln()).collect()
}

fn moments(values: &[f64]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let central = |k: i32| values.iter().map(|value| (value - mean).powi(k)).sum::<f64>() / n;
    (mean, central(2).sqrt(), central(4) / central(2).powi(2))
}

/// Average over the sessions of `bars` of the net log return of a rule that knows nothing but the past: buy at
/// the next open when the close stands far below its average over 20 bars, sell short when far above, leave
/// when it is back, flat at the session's end. Also the number of trades.
fn rule(bars: &[SimulatedBar]) -> (f64, usize) {
    let closes = log_closes(bars);
    let (window, enter, leave) = (20, 0.0055, 0.0008);
    let (mut net, mut n_trades, mut n_sessions) = (0.0, 0, 0);
    let mut position: Option<(f64, f64)> = None;
    for bar in window..bars.len() - 1 {
        let average = closes[bar + 1 - window..=bar].iter().sum::<f64>() / window as f64;
        let deviation = closes[bar] - average;
        let is_last = bars[bar + 1].date != bars[bar].date;
        let next_open = (bars[bar + 1].open as f64).ln();
        match position {
            Some((side, entry)) if is_last || side * deviation > -leave => {
                let exit = if is_last { closes[bar] } else { next_open };
                net += side * (exit - entry) - ROUND_TRIP_COST;
                n_trades += 1;
                position = None;
            }
            None if deviation.abs() > enter && bars[bar].bar_of_session < BARS_PER_SESSION - 8 => {
                position = Some((-deviation.signum(), next_open));
            }
            _ => {}
        }
        n_sessions += usize::from(is_last);
    }
    (net / n_sessions as f64, n_trades)
}

#[test]
fn a_simple_causal_rule_beats_the_costs_in_the_first_and_in_the_last_part() {
    for (symbol, start_price) in SAMPLES {
        let bars = simulation(symbol, start_price).bars();
        let (first, last) = bars.split_at(220 * BARS_PER_SESSION);
        for (part, bars) in [("first", first), ("last", last)] {
            let (net, n_trades) = rule(bars);
            let n_sessions = bars.len() / BARS_PER_SESSION;
            let drift = (bars[bars.len() - 1].close as f64 / bars[0].open as f64).ln() / n_sessions as f64;
            assert!(net > 1e-3, "{symbol} {part}: rule {net:.5} a session in {n_trades} trades");
            assert!(
                drift.abs() < net,
                "{symbol} {part}: rule {net:.5} and buy and hold {drift:.5} a session"
            );
        }
    }
}

#[test]
fn returns_look_like_a_market() {
    for (symbol, start_price) in SAMPLES {
        let bars = simulation(symbol, start_price).bars();
        let daily: Vec<f64> =
            bars.chunks(BARS_PER_SESSION).map(|day| (day[day.len() - 1].close as f64).ln()).collect();
        let daily: Vec<f64> = daily.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let annual = moments(&daily).1 * 252_f64.sqrt();
        let returns = intraday_returns(&bars);
        let (mean, _, kurtosis) = moments(&returns);
        let products = |lag: usize, f: &dyn Fn(f64) -> f64| {
            let values: Vec<f64> = returns.iter().map(|&r| f(r - mean)).collect();
            let (mean, sigma, _) = moments(&values);
            values.windows(lag + 1).map(|w| (w[0] - mean) * (w[lag] - mean)).sum::<f64>()
                / (sigma * sigma * values.len() as f64)
        };
        let lag_1 = products(1, &|r| r);
        let clustering = products(1, &f64::abs);
        assert!((0.20..0.35).contains(&annual), "{symbol}: annual volatility {annual}");
        assert!((-0.15..0.05).contains(&lag_1), "{symbol}: autocorrelation {lag_1}");
        assert!(kurtosis > 4.0, "{symbol}: kurtosis {kurtosis}");
        assert!(clustering > 0.1, "{symbol}: clustering {clustering}");
    }
}

#[test]
fn bars_are_consistent_on_the_tick_and_busy_at_both_ends() {
    let bars = simulation("BPCL", 310.0).bars();
    assert_eq!(bars.len(), 250 * BARS_PER_SESSION);
    for bar in &bars {
        assert!(bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close), "{bar:?}");
        assert!(
            [bar.open, bar.high, bar.low, bar.close].iter().all(|price| price % TICK_PAISE == 0),
            "{bar:?}"
        );
        assert!(bar.volume >= 1 && !matches!(bar.date.weekday(), Weekday::Saturday | Weekday::Sunday));
    }
    let volume_at = |place: usize| {
        bars.iter().filter(|bar| bar.bar_of_session == place).map(|bar| bar.volume).sum::<u64>()
    };
    assert!(volume_at(0) > 2 * volume_at(37) && volume_at(74) * 2 > 3 * volume_at(37));
}

#[test]
fn a_seed_and_a_symbol_name_one_path_and_a_shorter_one_is_its_beginning() {
    let long = simulation("BPCL", 310.0).bars();
    let short = Simulation { n_sessions: 10, ..simulation("BPCL", 310.0) }.bars();
    assert_eq!(long[..short.len()], short);
    let other = Simulation { symbol: "ITC".into(), ..simulation("BPCL", 310.0) }.bars();
    assert_eq!(other.iter().map(|bar| bar.date).max(), long.iter().map(|bar| bar.date).max());
    assert_ne!(other[..75], long[..75]);
}

#[test]
fn the_first_line_says_what_it_is() {
    let text = Simulation { n_sessions: 1, ..simulation("BPCL", 310.0) }.csv();
    let mut lines = text.lines();
    let label = lines.next().unwrap().strip_prefix('#').unwrap();
    assert_eq!(Provenance::from_label(label), Ok(Some(simulation("BPCL", 310.0).provenance())));
    assert_eq!(lines.next(), Some("date,open,high,low,close,volume"));
    assert!(lines.next().unwrap().starts_with("2024-01-01 09:15:00+05:30,3"));
    assert_eq!(lines.count(), 74);
}

#[test]
fn the_sample_files_are_reproduced_byte_for_byte() {
    for (symbol, start_price) in SAMPLES {
        let path = format!("{}/../../data/sample/{symbol}.csv", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text == simulation(symbol, start_price).csv(), "{path} is not what the generator makes");
    }
}
