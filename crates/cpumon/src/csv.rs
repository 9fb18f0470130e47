//! Samples as comma-separated values, for spreadsheets: a row a sample, a column a number, nothing where the
//! system does not tell.

use std::fmt::Write;

use crate::sample::Sample;

const NAMES: [&str; 24] = [
    "t_s",
    "interval_s",
    "parallelism",
    "cpu_s",
    "processes",
    "threads",
    "running",
    "waiting",
    "run_wait",
    "allowed_cores",
    "in_disk_wait",
    "hottest",
    "hottest_cores",
    "next_hottest",
    "next_hottest_cores",
    "iowait",
    "steal",
    "throttled",
    "cpu_pressure",
    "io_pressure",
    "memory_pressure",
    "load_1min",
    "resident_bytes",
    "available_bytes",
];

/// The first row, for a machine of so many cores.
pub fn header(cores: usize) -> String {
    let mut row = NAMES.join(",");
    for core in 0..cores {
        let _ = write!(row, ",core_{core}");
    }
    row
}

/// The row of one sample, as wide as the header.
pub fn row(sample: &Sample, cores: usize) -> String {
    let s = sample;
    let hottest = s.hottest.as_ref();
    let next = s.next_hottest.as_ref();
    let mut cells = vec![
        s.t_s.to_string(),
        s.interval_s.to_string(),
        cell(s.parallelism),
        cell(s.cpu_s),
        cell(s.processes),
        cell(s.threads),
        cell(s.running),
        cell(s.waiting),
        cell(s.run_wait),
        cell(s.allowed_cores),
        cell(s.in_disk_wait),
        hottest.map_or(String::new(), |hot| quoted(&hot.name)),
        cell(hottest.map(|hot| hot.cores)),
        next.map_or(String::new(), |hot| quoted(&hot.name)),
        cell(next.map(|hot| hot.cores)),
        cell(s.iowait),
        cell(s.steal),
        cell(s.throttled),
        cell(s.cpu_pressure),
        cell(s.io_pressure),
        cell(s.memory_pressure),
        cell(s.load_1min),
        cell(s.resident_bytes),
        cell(s.available_bytes),
    ];
    let busy = s.cores.as_deref().unwrap_or_default();
    // Cores that come or go during a run must not shift a column.
    cells.extend((0..cores).map(|core| cell(busy.get(core))));
    cells.join(",")
}

fn cell(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// A name in quotes, as RFC 4180 has it; it may hold anything.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Hot;

    #[test]
    fn every_row_is_as_wide_as_the_header() {
        let width = |row: &str| row.split(',').count();
        let sample = Sample { cores: Some(vec![0.5, 1.0]), parallelism: Some(1.25), ..Sample::default() };
        for cores in [0, 1, 2, 5] {
            assert_eq!(width(&row(&sample, cores)), width(&header(cores)), "{cores}");
        }
        assert!(row(&sample, 2).starts_with("0,0,1.25,,") && row(&sample, 2).ends_with(",0.5,1"));
    }

    #[test]
    fn a_name_cannot_break_the_table() {
        let hot = Hot { name: "a,\"b\"\n".into(), cores: 1.0 };
        let text = row(&Sample { hottest: Some(hot), ..Sample::default() }, 0);
        assert!(text.contains(",\"a,\"\"b\"\" \",1,"), "{text}");
    }
}
