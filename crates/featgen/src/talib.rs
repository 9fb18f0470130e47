//! TA-Lib's functions, listed and called through its abstract interface, so that its names, parameter order,
//! defaults and values are the ones that everybody knows.

use std::sync::OnceLock;

use market::parquet::Width;
use ta_lib::abstract_api::{
    self, FuncFlags, FuncInfo, Group, InputFlags, InputType, OptInputType, OutputType,
};
use ta_lib::{Core, RetCode};

use crate::buffers;
use crate::catalogue::{Definition, Frame, Origin, Outputs, Parameter};

/// TA-Lib refused a call; the text names the function.
#[derive(Debug, thiserror::Error)]
#[error("{function}: ta-lib: {code:?}")]
pub struct Failure {
    function: &'static str,
    code: RetCode,
}

/// Patterns say 100 for a whole one; as a feature that is 1.
const PATTERN_SCALE: f64 = 100.0;

fn core() -> &'static Core {
    static CORE: OnceLock<Core> = OnceLock::new();
    CORE.get_or_init(Core::new)
}

/// TA-Lib's functions. A function of a free series reads the close; one of two reads high and low, as the
/// wheel's abstract interface does.
pub fn definitions() -> impl Iterator<Item = Definition> {
    let is_usable = |function: &&FuncInfo| EXCLUDED.iter().all(|(name, _)| *name != function.name);
    abstract_api::funcs().filter(is_usable).map(definition)
}

/// Functions that are no features, and why.
pub const EXCLUDED: &[(&str, &str)] = &[
    ("MAVP", "reads a series of periods, which bars do not have"),
    ("ZIGZAG", "revises values that it gave before, so it looks ahead"),
];

fn definition(function: &'static FuncInfo) -> Definition {
    let mut inputs = Vec::new();
    for input in function.inputs {
        match input.kind {
            InputType::Price => {
                inputs.extend(PRICES.iter().filter(|(flag, _)| input.flags.contains(*flag)).map(|p| p.1));
            }
            InputType::Real | InputType::Integer if n_free(function) > 1 => {
                inputs.push(if inputs.is_empty() { "high" } else { "low" });
            }
            InputType::Real | InputType::Integer => inputs.push("close"),
        }
    }
    let is_total = function.flags.contains(FuncFlags::PATH_DEPENDENT)
        && function.group == Group::VolumeIndicators
        || function.name == "CUMSUM";
    Definition {
        name: function.name.to_lowercase(),
        summary: function.hint.to_owned(),
        parameters: function
            .opt_inputs
            .iter()
            .map(|input| parameter(input.param_name, &input.kind))
            .collect(),
        inputs,
        outputs: output_names(function),
        width: if is_total { Width::F64 } else { Width::F32 },
        is_intraday_only: false,
        origin: Origin::TaLib(function),
        lookback: |definition, parameters| match definition.origin {
            Origin::TaLib(function) => bound(function, parameters).ok()?.lookback().ok(),
            Origin::Ta(_) | Origin::Own(_) | Origin::Pair(_) => None,
        },
    }
}

/// How many series of any kind a function takes.
fn n_free(function: &FuncInfo) -> usize {
    function.inputs.iter().filter(|input| input.kind == InputType::Real).count()
}

const PRICES: [(InputFlags, &str); 5] = [
    (InputFlags::PRICE_OPEN, "open"),
    (InputFlags::PRICE_HIGH, "high"),
    (InputFlags::PRICE_LOW, "low"),
    (InputFlags::PRICE_CLOSE, "close"),
    (InputFlags::PRICE_VOLUME, "volume"),
];

fn parameter(name: &str, kind: &OptInputType) -> Parameter {
    let name = snake_case(name.strip_prefix("optIn").unwrap_or(name));
    let of = |default, min, max, is_whole| Parameter { name: name.clone(), default, min, max, is_whole };
    match *kind {
        OptInputType::RealRange { min, max, default, .. } => of(default, min, max, false),
        OptInputType::IntegerRange { min, max, default, .. } => {
            of(default.into(), min.into(), max.into(), true)
        }
        OptInputType::RealList { values, default } => {
            let all = || values.iter().map(|&(value, _)| value);
            of(default, all().fold(default, f64::min), all().fold(default, f64::max), false)
        }
        OptInputType::IntegerList { values, default } => {
            let all = || values.iter().map(|&(value, _)| value as f64);
            of(default as f64, all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max), true)
        }
    }
}

/// `outMACDHist` of MACD is `hist`; the output that repeats the function's name, or the only one, is empty.
fn output_names(function: &FuncInfo) -> Vec<String> {
    if function.outputs.len() == 1 {
        return vec![String::new()];
    }
    let names = function.outputs.iter().map(|output| {
        let name = output.param_name.strip_prefix("out").unwrap_or(output.param_name);
        let name = name.strip_prefix("Real").filter(|rest| !rest.is_empty()).unwrap_or(name);
        let rest = name.to_lowercase();
        match rest.strip_prefix(&function.name.to_lowercase()) {
            Some(own) => own.trim_start_matches('_').to_owned(),
            None => snake_case(name),
        }
    });
    names.collect()
}

/// `FastK_Period` is `fastk_period`, as the wheel that most people know spells it: a capital begins a word
/// where a small letter stands on both sides.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let is_small = |place: Option<usize>| {
        place.and_then(|place| letters.get(place)).is_some_and(char::is_ascii_lowercase)
    };
    let mut snake = String::new();
    for (place, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && is_small(place.checked_sub(1)) && is_small(Some(place + 1)) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A call with its parameters set, and nothing else.
fn bound(
    function: &'static FuncInfo,
    parameters: &[f64],
) -> Result<abstract_api::ParamHolder<'static>, RetCode> {
    let mut call = function.id.new_call(core());
    for (index, (&value, input)) in parameters.iter().zip(function.opt_inputs).enumerate() {
        match input.kind {
            OptInputType::RealRange { .. } | OptInputType::RealList { .. } => {
                call.set_opt_input(index, value)?
            }
            OptInputType::IntegerRange { .. } | OptInputType::IntegerList { .. } => {
                call.set_opt_input(index, value as i32)?
            }
        };
    }
    Ok(call)
}

/// Computes all outputs of a function.
pub fn compute(function: &'static FuncInfo, frame: &Frame, parameters: &[f64]) -> Result<Outputs, Failure> {
    call(function, frame, parameters).map_err(|code| Failure { function: function.name, code })
}

fn call(function: &'static FuncInfo, frame: &Frame, parameters: &[f64]) -> Result<Outputs, RetCode> {
    let bars = frame.bars;
    let n = bars.len();
    let mut call = bound(function, parameters)?;
    let first = call.lookback()?.min(n);
    // TA-Lib writes its first value at the start of the buffer that it is given; a row must stand at its bar.
    let mut reals: Vec<Vec<f64>> = function.outputs.iter().map(|_| empty(first, n)).collect();
    if first == n {
        return Ok(reals);
    }
    let mut wholes: Vec<Vec<i32>> = vec![Vec::new(); function.outputs.len()];
    let range = {
        for (slot, input) in function.inputs.iter().enumerate() {
            match input.kind {
                InputType::Price => call.set_price_input(
                    slot,
                    Some(&bars.open),
                    Some(&bars.high),
                    Some(&bars.low),
                    Some(&bars.close),
                    Some(&bars.volume),
                    None,
                )?,
                InputType::Real | InputType::Integer => {
                    let of_two = if slot == 0 { &bars.high } else { &bars.low };
                    call.set_input(slot, if n_free(function) > 1 { of_two } else { &bars.close })?
                }
            };
        }
        for (index, (real, whole)) in reals.iter_mut().zip(&mut wholes).enumerate() {
            match function.outputs[index].kind {
                OutputType::Real => call.set_output(index, &mut real[first..])?,
                OutputType::Integer => {
                    whole.resize(n - first, 0);
                    call.set_int_output(index, whole)?
                }
            };
        }
        call.call(0, n - 1)?
    };
    let is_pattern = function.flags.contains(FuncFlags::CANDLESTICK);
    for (real, whole) in reals.iter_mut().zip(&wholes) {
        if !whole.is_empty() {
            let scale = if is_pattern { PATTERN_SCALE } else { 1.0 };
            real[first..].iter_mut().zip(whole).for_each(|(real, &whole)| *real = f64::from(whole) / scale);
        }
        if range.beg_idx != first || range.count != n - first {
            // Fewer values than the lookback says.
            let begin = if range.count == 0 { n } else { range.beg_idx };
            real.copy_within(first..first + range.count, begin);
            real[first..begin].fill(f64::NAN);
        }
    }
    Ok(reals)
}

/// Room for a series, null in its first rows; all others are to be written.
fn empty(n_null: usize, n: usize) -> Vec<f64> {
    let mut values = buffers::doubles(n);
    values[..n_null].fill(f64::NAN);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use market::Bars;

    fn bars(close: &[f64]) -> Bars {
        let shifted = |by: f64| close.iter().map(|price| price + by).collect::<Vec<f64>>();
        Bars {
            symbol: "A".into(),
            ts: (0..close.len() as i64).collect(),
            session: vec![0; close.len()],
            open: close.to_vec(),
            high: shifted(1.0),
            low: shifted(-1.0),
            close: close.to_vec(),
            volume: vec![10.0; close.len()],
        }
    }

    fn outputs(name: &str, parameters: &[f64], close: &[f64]) -> Outputs {
        let bars = bars(close);
        let frame = Frame::alone(&bars, 300);
        catalogue::find(name).unwrap().compute(&frame, parameters, None).unwrap()
    }

    /// NaN where no value is due, so that rows can be compared.
    fn check(name: &str, parameters: &[f64], close: &[f64], expected: &[f64]) {
        let found = &outputs(name, parameters, close)[0];
        let same =
            |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12 * b.abs().max(1.0);
        assert!(found.iter().zip(expected).all(same), "{name}: {found:?} is not {expected:?}");
    }

    #[test]
    fn values_worked_by_hand_stand_at_their_bars() {
        let nan = f64::NAN;
        check("sma", &[3.0], &[11.0, 12.0, 13.0, 14.0], &[nan, nan, 12.0, 13.0]);
        // Seeded with the average of the first three, then half of the way to each close.
        check("ema", &[3.0], &[1.0, 2.0, 3.0, 6.0], &[nan, nan, 2.0, 4.0]);
        // Wilder: gains average 2/3 and losses 1/3 over the first three moves; then (2·2/3 + 0)/3 = 4/9
        // against (2·1/3 + 2)/3 = 8/9.
        check("rsi", &[3.0], &[10.0, 11.0, 10.0, 11.0, 9.0], &[nan, nan, nan, 200.0 / 3.0, 100.0 / 3.0]);
        // True ranges 2, 2, 4 after the first bar; the average of the first two, then Wilder's step.
        check("atr", &[2.0], &[10.0, 10.0, 11.0, 8.0], &[nan, nan, 2.0, 3.0]);
        check("willr", &[2.0], &[10.0, 11.0, 8.0], &[nan, -100.0 / 3.0, -80.0]);
    }

    #[test]
    fn macd_has_three_outputs_by_name_and_its_histogram_is_their_difference() {
        let close: Vec<f64> = (0..60).map(|bar| 100.0 + f64::from(bar * bar % 17)).collect();
        let definition = catalogue::find("macd").unwrap();
        assert_eq!(definition.outputs, ["", "signal", "hist"]);
        assert_eq!(definition.defaults(), [12.0, 26.0, 9.0]);
        assert_eq!(definition.lookback(&definition.defaults()), Some(33));
        let outputs = outputs("macd", &[12.0, 26.0, 9.0], &close);
        for (row, histogram) in outputs[2].iter().enumerate() {
            assert_eq!(histogram.is_nan(), row < 33);
            assert!(row < 33 || *histogram == outputs[0][row] - outputs[1][row], "row {row}");
        }
    }

    #[test]
    fn names_are_those_of_the_wheel() {
        assert_eq!(snake_case("FastK_Period"), "fastk_period");
        assert_eq!(snake_case("TimePeriod"), "time_period");
        assert_eq!(catalogue::find("stoch").unwrap().outputs, ["slowk", "slowd"]);
        assert_eq!(catalogue::find("bbands").unwrap().outputs, ["upper_band", "middle_band", "lower_band"]);
        assert_eq!(catalogue::find("aroon").unwrap().outputs, ["down", "up"]);
    }

    #[test]
    fn the_lookback_that_is_said_is_the_one_that_is_found() {
        let close: Vec<f64> = (0..600).map(|bar| 100.0 + f64::from(bar * 37 % 23)).collect();
        let bars = bars(&close);
        let frame = Frame::alone(&bars, 300);
        let mut n_checked = 0;
        for definition in catalogue::all() {
            let Origin::TaLib(function) = definition.origin else { continue };
            let parameters = definition.defaults();
            let said = definition.lookback(&parameters).unwrap();
            for output in definition.compute(&frame, &parameters, None).unwrap() {
                let found = output.iter().take_while(|value| value.is_nan()).count();
                if !function.flags.contains(FuncFlags::NAN_INF_OUTPUT) {
                    assert_eq!(found, said.min(close.len()), "{}", definition.name);
                    n_checked += 1;
                }
            }
        }
        assert!(n_checked > 250, "{n_checked} outputs checked");
    }
}
