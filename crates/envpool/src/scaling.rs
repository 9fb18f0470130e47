//! How features are scaled: fitted here, read from a file, or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cli::UsageError;
use market::FeatureTable;
use serde_json::Value;
use trading_env::{Scaler, SessionRange};
use wire::spec;

use crate::config::ScalerSource;

/// The scaler of `table` with the training days `train`, and what the specification says of it.
pub fn scaler(
    table: &FeatureTable,
    train: SessionRange,
    source: &ScalerSource,
) -> Result<(Scaler, Option<spec::Scaler>)> {
    let scaler = match source {
        ScalerSource::Unscaled => return Ok((Scaler::unscaled(table, train), None)),
        ScalerSource::Fit => Scaler::fit(table, train),
        ScalerSource::File(path) => {
            let spec::Scaler { mean, deviation, clip } = read(path)?;
            Scaler::fit(table, train)
                .with_moments(mean, deviation, clip)
                .with_context(|| format!("--scaler {}", path.display()))?
        }
    };
    let Scaler { mean, deviation, clip, .. } = scaler.clone();
    Ok((scaler, Some(spec::Scaler { mean, deviation, clip })))
}

/// The scaler in a checkpoint's `scaler.json`, or in a specification that `envpool describe --json` printed.
fn read(path: &Path) -> Result<spec::Scaler> {
    let wrong = |what: String| UsageError(format!("--scaler {}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| {
        wrong(format!("{error} (take fit, none, or a file that train or describe --json wrote)"))
    })?;
    let document: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let found = document.pointer("/market/scaler").unwrap_or(&document);
    Ok(serde_json::from_value(found.clone())
        .map_err(|error| wrong(format!("no scaler with mean, deviation and clip: {error}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trading_env::testing::random_walk_table;

    #[test]
    fn a_scaler_that_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scaler.json");
        let table = random_walk_table(1, 10, 5, 2, 1);
        let range = SessionRange { first: 0, last: 6 };
        let of = |source: &ScalerSource| scaler(&table, range, source);
        let file = ScalerSource::File(path.clone());
        let (fitted, spec) = of(&ScalerSource::Fit).unwrap();
        for text in [
            serde_json::to_string(&spec).unwrap(),
            format!("{{\"market\": {{\"scaler\": {}}}}}", serde_json::to_string(&spec).unwrap()),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(of(&file).unwrap(), (fitted.clone(), spec.clone()));
        }
        assert!(of(&ScalerSource::Unscaled).unwrap().1.is_none());
        for text in ["", "{}", "{\"mean\": [1.0], \"deviation\": [1.0], \"clip\": 5.0}"] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", of(&file).unwrap_err());
            assert!(error.contains("--scaler") && error.contains("scaler.json"), "{error}");
        }
    }
}
