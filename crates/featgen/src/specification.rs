//! From a text such as `core,rsi:21,macd.hist:12:26:9@per_close@lag:1` to the columns that it asks for.
//!
//! A list is separated by commas. An entry is a preset's name, or `name`, optionally `.output` to take one
//! output of several, then `:parameter` for each parameter in order, defaults filled in from the right, then
//! transforms, each after an `@` with its own parameters. Transforms after a preset's name apply to all of it.
//! A feature of two symbols takes the other one's name as its first parameter: `beta_to:NIFTY:60`.

use market::parquet::Width;

use crate::catalogue::{self, Definition, Origin, Parameter};
use crate::transform::{self, Transform};
use crate::{preset, transform::TRANSFORMS};

/// One column to be made.
#[derive(Debug, Clone)]
pub struct Feature {
    /// The column's name: `macd_hist_12_26_9__per_close__lag_1`.
    pub column: String,
    /// What computes it.
    pub definition: &'static Definition,
    /// With what.
    pub parameters: Vec<f64>,
    /// The other symbol, where it is a feature of two.
    pub other: Option<String>,
    /// Which of the definition's outputs it is.
    pub output: usize,
    /// What is done to it afterwards, in order.
    pub transforms: Vec<Transform>,
}

impl Feature {
    /// Rows before the first value; `None` where that depends on the sessions in the data.
    pub fn lookback(&self) -> Option<usize> {
        let own = self.definition.lookback(&self.parameters)?;
        Some(self.transforms.iter().fold(own, |before, transform| transform.lookback(before)))
    }

    /// Whether one call computes this feature and another.
    pub fn is_same_call(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
            && self.parameters == other.parameters
            && self.other == other.other
    }

    /// The width of the column. A transformed total is a total no more.
    pub fn width(&self) -> Width {
        if self.transforms.is_empty() { self.definition.width } else { Width::F32 }
    }
}

/// The list in a TOML file, `features = ["core", "rsi:21"]`, as a list separated by commas.
pub fn from_toml(text: &str) -> Result<String, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        features: Vec<String>,
    }
    let document: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    match document.features.iter().find(|entry| entry.contains(',')) {
        Some(entry) => Err(format!("\"{entry}\" holds a comma (give each feature an entry of its own)")),
        None => Ok(document.features.join(",")),
    }
}

/// The columns that a specification asks for on bars of this kind. Presets leave out what says nothing on
/// them; a feature that is asked for by name and says nothing is an error.
pub fn parse(text: &str, is_intraday: bool) -> Result<Vec<Feature>, String> {
    let mut features: Vec<Feature> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (head, transforms) = entry.find('@').map_or((entry, ""), |at| entry.split_at(at));
        let found = match preset::find(head) {
            Some(preset) => {
                let mut found = Vec::new();
                for entry in preset.specification().split(',') {
                    found.extend(parse_entry(&format!("{entry}{transforms}"))?);
                }
                found.retain(|feature| is_intraday || !feature.definition.is_intraday_only);
                found
            }
            None => parse_entry(entry)?,
        };
        for feature in found {
            if !is_intraday && feature.definition.is_intraday_only {
                return Err(format!("{entry}: says nothing on daily bars (leave it out)"));
            }
            // The same column twice, as from a preset and by name, is made once.
            if features.iter().all(|other| other.column != feature.column) {
                features.push(feature);
            }
        }
    }
    if features.is_empty() {
        return Err("names no feature (try core; featgen list shows all)".to_owned());
    }
    Ok(features)
}

fn parse_entry(entry: &str) -> Result<Vec<Feature>, String> {
    let mut parts = entry.split('@');
    let head = parts.next().unwrap_or_default();
    let mut words = head.split(':');
    let (name, output) = match words.next().unwrap_or_default().split_once('.') {
        Some((name, output)) => (name, Some(output)),
        None => (head.split(':').next().unwrap_or_default(), None),
    };
    let definition = catalogue::find(name).ok_or_else(|| unknown("feature", name, feature_names()))?;
    let other = if definition.is_pair() {
        let other = words.next().filter(|word| !word.is_empty());
        Some(other.ok_or_else(|| {
            format!("{entry}: {name} needs the other symbol's name (write {name}:NIFTY, say)")
        })?)
    } else {
        None
    };
    let parameters = parse_parameters(entry, name, &definition.parameters, words)?;
    let is_refused =
        matches!(definition.origin, Origin::TaLib(_)) && definition.lookback(&parameters).is_none();
    if is_refused {
        return Err(format!("{entry}: {name} does not take these parameters together"));
    }
    let transforms = parts.map(|part| parse_transform(entry, part)).collect::<Result<Vec<_>, _>>()?;
    let outputs: Vec<usize> = match output {
        None => (0..definition.outputs.len()).collect(),
        Some(wanted) => {
            let is_it = |output: &String| output == wanted || (output.is_empty() && wanted == name);
            let place = definition.outputs.iter().position(is_it);
            vec![place.ok_or_else(|| {
                let names = definition.outputs.iter().map(|o| if o.is_empty() { name } else { o.as_str() });
                format!(
                    "{entry}: {name} has no output {wanted}, but {}",
                    names.collect::<Vec<_>>().join(", ")
                )
            })?]
        }
    };
    let feature = |output: usize| Feature {
        column: column_name(definition, other, &parameters, output, &transforms),
        other: other.map(str::to_owned),
        definition,
        parameters: parameters.clone(),
        output,
        transforms: transforms.clone(),
    };
    Ok(outputs.into_iter().map(feature).collect())
}

fn parse_transform(entry: &str, part: &str) -> Result<Transform, String> {
    let mut words = part.split(':');
    let name = words.next().unwrap_or_default();
    let names = TRANSFORMS.iter().map(|definition| definition.name);
    let definition = transform::find(name).ok_or_else(|| unknown("transform", name, names))?;
    let parameters = parse_parameters(entry, name, &definition.parameters(), words)?;
    Ok(Transform { definition, parameters })
}

fn parse_parameters<'a>(
    entry: &str,
    name: &str,
    parameters: &[Parameter],
    words: impl Iterator<Item = &'a str>,
) -> Result<Vec<f64>, String> {
    let mut values: Vec<f64> = parameters.iter().map(|parameter| parameter.default).collect();
    for (place, word) in words.enumerate() {
        let Some(parameter) = parameters.get(place) else {
            return Err(format!("{entry}: {name} takes {} parameters, not more", parameters.len()));
        };
        let value = word.parse::<f64>().ok().filter(|value| {
            (parameter.min..=parameter.max).contains(value) && (!parameter.is_whole || value.fract() == 0.0)
        });
        values[place] = value.ok_or_else(|| {
            let kind = if parameter.is_whole { "a whole number" } else { "a number" };
            format!(
                "{entry}: {} of {name} must be {kind} from {} to {}, not \"{word}\"",
                parameter.name, parameter.min, parameter.max
            )
        })?;
    }
    Ok(values)
}

/// Name, output, parameters, then transforms after two underscores, with defaults spelled out.
fn column_name(
    definition: &Definition,
    other: Option<&str>,
    parameters: &[f64],
    output: usize,
    transforms: &[Transform],
) -> String {
    let mut column = definition.name.clone();
    let output = &definition.outputs[output];
    if !output.is_empty() {
        column.push('_');
        column.push_str(output);
    }
    if let Some(other) = other {
        column.push('_');
        column.push_str(other);
    }
    push_numbers(&mut column, parameters);
    for transform in transforms {
        column.push_str("__");
        column.push_str(transform.definition.name);
        push_numbers(&mut column, &transform.parameters);
    }
    column
}

fn push_numbers(column: &mut String, numbers: &[f64]) {
    for number in numbers {
        column.push('_');
        column.push_str(&number.to_string());
    }
}

fn feature_names() -> impl Iterator<Item = &'static str> {
    let presets = preset::PRESETS.iter().map(|preset| preset.name);
    catalogue::all().iter().map(|definition| definition.name.as_str()).chain(presets)
}

fn unknown<'a>(kind: &str, name: &str, names: impl Iterator<Item = &'a str>) -> String {
    match catalogue::nearest(name, names) {
        Some(nearest) => {
            format!("unknown {kind} \"{name}\" (did you mean {nearest}? featgen list shows all)")
        }
        None => format!("unknown {kind} \"{name}\" (featgen list shows all)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Vec<String> {
        parse(text, true).unwrap().into_iter().map(|feature| feature.column).collect()
    }

    #[test]
    fn names_spell_out_outputs_parameters_and_transforms() {
        assert_eq!(columns("rsi"), ["rsi_14"]);
        assert_eq!(columns("rsi:14@zscore:100@lag:1"), ["rsi_14__zscore_100__lag_1"]);
        assert_eq!(columns("macd"), ["macd_12_26_9", "macd_signal_12_26_9", "macd_hist_12_26_9"]);
        assert_eq!(columns("macd.hist:5:8:3@per_close"), ["macd_hist_5_8_3__per_close"]);
        assert_eq!(columns("bollinger_position:20:2.5"), ["bollinger_position_20_2.5"]);
        assert_eq!(columns("bop,rsi,bop"), ["bop", "rsi_14"]);
    }

    #[test]
    fn a_preset_may_stand_in_a_list() {
        let core = columns("core");
        let more = columns("core,rsi:21");
        assert_eq!(more[..core.len()], core);
        assert_eq!(more[core.len()..], ["rsi_21"]);
    }

    #[test]
    fn transforms_after_a_preset_apply_to_all_of_it() {
        let binned = columns("core@quantile:5:50");
        assert_eq!(binned.len(), columns("core").len());
        assert!(binned.iter().all(|column| column.ends_with("__quantile_5_50")), "{binned:?}");
    }

    #[test]
    fn every_preset_can_be_read_for_both_kinds_of_bars() {
        for preset in preset::PRESETS {
            for is_intraday in [true, false] {
                assert!(parse(preset.name, is_intraday).is_ok(), "{}", preset.name);
            }
        }
        assert_eq!(columns("alpha158").len(), 158);
    }

    #[test]
    fn a_feature_of_two_symbols_names_the_other() {
        assert_eq!(columns("beta_to:NIFTY:60"), ["beta_to_NIFTY_60"]);
        let error = parse("beta_to", true).unwrap_err();
        assert_eq!(error, "beta_to: beta_to needs the other symbol's name (write beta_to:NIFTY, say)");
    }

    #[test]
    fn a_toml_file_holds_a_list() {
        assert_eq!(from_toml("features = ['core', 'rsi:21@lag:1']").unwrap(), "core,rsi:21@lag:1");
        assert!(from_toml("features = ['a,b']").unwrap_err().contains("an entry of its own"));
        assert!(from_toml("feature = []").is_err());
    }

    #[test]
    fn daily_bars_have_a_smaller_core() {
        let daily = parse("core", false).unwrap();
        assert!(daily.len() >= 36 && daily.iter().all(|feature| !feature.definition.is_intraday_only));
        let error = parse("session_return", false).unwrap_err();
        assert_eq!(error, "session_return: says nothing on daily bars (leave it out)");
    }

    #[test]
    fn lookbacks_add_up() {
        let lookback = |text: &str| parse(text, true).unwrap()[0].lookback();
        assert_eq!(lookback("rsi:14"), Some(14));
        assert_eq!(lookback("rsi:14@zscore:100@lag:1"), Some(14 + 99 + 1));
        assert_eq!(lookback("overnight_gap"), None);
    }

    #[test]
    fn what_is_wrong_names_the_entry_and_the_way_out() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text, true).unwrap_err(), expected);
        check("rsl:14", "unknown feature \"rsl\" (did you mean rsi? featgen list shows all)");
        check("rsi@zscor", "unknown transform \"zscor\" (did you mean zscore? featgen list shows all)");
        check("rsi:1", "rsi:1: time_period of rsi must be a whole number from 2 to 100000, not \"1\"");
        check("rsi:14:3", "rsi:14:3: rsi takes 1 parameters, not more");
        check("macd.slope", "macd.slope: macd has no output slope, but macd, signal, hist");
        check(" , ", "names no feature (try core; featgen list shows all)");
    }
}
