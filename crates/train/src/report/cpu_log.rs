//! What the cores did while a run learnt: the JSON lines of `cpumon` as a strip of colour for the report.

use std::fs;
use std::path::Path;

use plot::{HeatMap, XAxis};
use serde_json::Value;

/// The strip as SVG, or a line that says why there is none: a log must not cost the report.
pub fn chart(path: &Path) -> String {
    let problem = |what: String| format!("<p>No picture of the cores: {}: {what}</p>\n", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problem(error.to_string()),
    };
    match heat_map(&text) {
        None => problem("it holds no samples of cpumon".into()),
        Some(map) => map.to_svg().unwrap_or_else(|error| problem(error.to_string())),
    }
}

/// Rows by time out of the lines of kind `sample`. A last line that is still being written is passed over.
fn heat_map(text: &str) -> Option<HeatMap> {
    let samples = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let columns: Vec<(f64, Vec<f64>)> = samples
        .filter(|sample| sample["kind"] == "sample")
        .filter_map(|sample| {
            let cores = sample["cores"].as_array()?;
            Some((
                sample["t_s"].as_f64()?,
                cores.iter().map(|core| core.as_f64().unwrap_or(f64::NAN)).collect(),
            ))
        })
        .collect();
    let cores = columns.iter().map(|(_, cores)| cores.len()).max()?;
    let columns = columns
        .into_iter()
        .map(|(at, mut values)| {
            values.resize(cores, f64::NAN);
            (at, values)
        })
        .collect();
    Some(HeatMap {
        title: "What the cores did, from idle (light) to busy (dark)".into(),
        rows: (0..cores).map(|core| format!("core {core}")).collect(),
        x: XAxis::Number { label: "seconds".into() },
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_columns_and_a_torn_last_line_is_passed_over() {
        let text = "{\"kind\":\"header\",\"schema\":1}\n\
                    {\"kind\":\"sample\",\"t_s\":0.5,\"cores\":[0.25,1.0]}\n\
                    {\"kind\":\"sample\",\"t_s\":1.0,\"cores\":[null]}\n{\"kind\":\"sam";
        let map = heat_map(text).unwrap();
        assert_eq!(map.rows, ["core 0", "core 1"]);
        assert_eq!(map.columns[0], (0.5, vec![0.25, 1.0]));
        assert!(map.columns[1].1.iter().all(|value| value.is_nan()));
        assert!(heat_map("").is_none());
        assert!(chart(Path::new("no-such-log")).contains("no-such-log"));
    }
}
