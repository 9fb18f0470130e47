//! The catalogue as a table for people and as JSON for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::catalogue::{self, Definition, Origin, Parameter};
use crate::preset::PRESETS;
use crate::specification;
use crate::talib::EXCLUDED;
use crate::transform::TRANSFORMS;

/// Writes the table.
pub fn write_text(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "PRESETS")?;
    for preset in PRESETS {
        let n =
            |is_intraday| specification::parse(preset.name, is_intraday).map_or(0, |features| features.len());
        writeln!(
            out,
            "  {}: {} ({} features on intraday bars, {} on daily)",
            preset.name,
            preset.summary,
            n(true),
            n(false)
        )?;
        for feature in specification::parse(preset.name, true).unwrap_or_default() {
            writeln!(out, "      {}", feature.column)?;
        }
    }
    writeln!(out, "\nTRANSFORMS (after an @)")?;
    for transform in TRANSFORMS {
        let parameters = parameters_text(&transform.parameters());
        writeln!(out, "  {:<28} {}", format!("{}{parameters}", transform.name), transform.summary)?;
    }
    writeln!(out, "\nFEATURES (parameters at their defaults; rows that are null before the first value)")?;
    for definition in catalogue::all() {
        let parameters = parameters_text(&definition.parameters);
        let other = if definition.is_pair() { ":SYMBOL" } else { "" };
        let name = format!("{}{other}{parameters}", definition.name);
        writeln!(out, "  {name:<40} {:>9}  {}", lookback_text(definition), definition.summary)?;
        if definition.outputs.len() > 1 {
            writeln!(out, "      outputs: {}", output_names(definition).join(", "))?;
        }
    }
    writeln!(out, "\nLEFT OUT (functions of TA-Lib that are no features)")?;
    for (name, why) in EXCLUDED {
        writeln!(out, "  {:<40} {why}", name.to_lowercase())?;
    }
    Ok(())
}

/// Writes the same as one JSON document.
pub fn write_json(out: &mut dyn Write) -> io::Result<()> {
    let presets = PRESETS.iter().map(|preset| {
        let columns = |is_intraday| {
            let features = specification::parse(preset.name, is_intraday).unwrap_or_default();
            features.into_iter().map(|feature| feature.column).collect::<Vec<String>>()
        };
        json!({
            "name": preset.name,
            "summary": preset.summary,
            "specification": preset.specification(),
            "intraday_columns": columns(true),
            "daily_columns": columns(false),
        })
    });
    let transforms = TRANSFORMS.iter().map(|transform| {
        json!({
            "name": transform.name,
            "summary": transform.summary,
            "parameters": parameters_json(&transform.parameters()),
        })
    });
    let features = catalogue::all().iter().map(|definition| {
        json!({
            "name": definition.name,
            "summary": definition.summary,
            "parameters": parameters_json(&definition.parameters),
            "inputs": definition.inputs,
            "outputs": output_names(definition),
            "lookback": definition.lookback(&definition.defaults()),
            "intraday_only": definition.is_intraday_only,
            "takes_another_symbol": definition.is_pair(),
            "origin": match definition.origin {
                Origin::TaLib(_) => "ta-lib",
                Origin::Ta(_) => "ta",
                Origin::Own(_) | Origin::Pair(_) => "featgen",
            },
        })
    });
    let document = json!({
        "presets": presets.collect::<Vec<Value>>(),
        "transforms": transforms.collect::<Vec<Value>>(),
        "features": features.collect::<Vec<Value>>(),
        "excluded": EXCLUDED.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect::<Vec<Value>>(),
    });
    writeln!(out, "{document:#}")
}

fn output_names(definition: &Definition) -> Vec<&str> {
    definition
        .outputs
        .iter()
        .map(|output| if output.is_empty() { definition.name.as_str() } else { output.as_str() })
        .collect()
}

fn lookback_text(definition: &Definition) -> String {
    definition.lookback(&definition.defaults()).map_or_else(|| "by data".to_owned(), |rows| rows.to_string())
}

fn parameters_text(parameters: &[Parameter]) -> String {
    parameters.iter().fold(String::new(), |text, parameter| text + ":" + &parameter.default.to_string())
}

fn parameters_json(parameters: &[Parameter]) -> Vec<Value> {
    let parameter = |parameter: &Parameter| {
        json!({
            "name": parameter.name,
            "default": parameter.default,
            "min": parameter.min,
            "max": parameter.max,
            "whole": parameter.is_whole,
        })
    };
    parameters.iter().map(parameter).collect()
}
