//! Samples as comma-separated values, for spreadsheets and `replay`: a row a sample, a column a number, nothing
//! where the system does not tell. The columns `effective_cores` and `subject` are the same in every row, so that
//! a table can be judged by itself.

use anyhow::{Context, Result, anyhow, bail};

use crate::losses::Losses;
use crate::sample::{Hot, Sample};

/// The columns before those of the losses.
const FIRST: [&str; 15] = [
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
];

/// The columns after those of the losses, before one for each core.
const LAST: [&str; 5] = ["load_1min", "resident_bytes", "available_bytes", "effective_cores", "subject"];

/// Writes rows that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// How many columns of cores there are.
    pub cores: usize,
    /// What is the same in every row.
    pub effective_cores: f64,
    /// The same.
    pub subject: String,
}

impl Table {
    /// The first row.
    pub fn header(&self) -> Result<String> {
        let names = FIRST.into_iter().chain(Losses::NAMES).chain(LAST).map(str::to_owned);
        line(names.chain((0..self.cores).map(|core| format!("core_{core}"))))
    }

    /// The row of one sample, as wide as the header.
    pub fn row(&self, sample: &Sample) -> Result<String> {
        let s = sample;
        let name = |hot: &Option<Hot>| hot.as_ref().map_or(String::new(), |hot| hot.name.clone());
        let share = |hot: &Option<Hot>| cell(hot.as_ref().map(|hot| hot.cores));
        let first = [
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
            name(&s.hottest),
            share(&s.hottest),
            name(&s.next_hottest),
            share(&s.next_hottest),
        ];
        let last = [
            cell(s.load_1min),
            cell(s.resident_bytes),
            cell(s.available_bytes),
            self.effective_cores.to_string(),
            self.subject.clone(),
        ];
        let busy = s.cores.as_deref().unwrap_or_default();
        // Cores that come or go during a run must not shift a column.
        let cores = (0..self.cores).map(|core| cell(busy.get(core)));
        line(first.into_iter().chain(s.losses.values().map(cell)).chain(last).chain(cores))
    }
}

/// Reads rows again, whatever the order of the columns.
pub struct Columns(Vec<String>);

impl Columns {
    /// The columns in the first row; `None` if it is none of ours.
    pub fn of(header: &[u8]) -> Option<Self> {
        let names = cells(header).ok()?;
        let is_ours = ["t_s", "interval_s", "effective_cores", "subject"]
            .iter()
            .all(|name| names.iter().any(|n| n == name));
        is_ours.then_some(Self(names))
    }

    /// A sample, the effective cores, and the subject.
    pub fn read(&self, row: &[u8]) -> Result<(Sample, f64, String)> {
        let cells = cells(row)?;
        if cells.len() != self.0.len() {
            bail!("{} cells under {} columns", cells.len(), self.0.len());
        }
        let text = |name: &str| {
            let place = self.0.iter().position(|column| column == name)?;
            Some(cells[place].as_str()).filter(|text| !text.is_empty())
        };
        let number = |name: &str| {
            let parse =
                |text: &str| text.parse::<f64>().map_err(|_| anyhow!("{name} {text:?} is not a number"));
            text(name).map(parse).transpose()
        };
        let whole = |name: &str| {
            let parse = |text: &str| {
                text.parse::<u64>().map_err(|_| anyhow!("{name} {text:?} is not a whole number"))
            };
            text(name).map(parse).transpose()
        };
        let count = |name: &str| {
            Ok::<_, anyhow::Error>(whole(name)?.map(|count| count.min(u64::from(u32::MAX)) as u32))
        };
        let needed = |name: &str| number(name)?.with_context(|| format!("{name} is missing"));
        let hot = |name: &str| {
            let thread = text(name).map(str::to_owned).zip(number(&format!("{name}_cores"))?);
            Ok::<_, anyhow::Error>(thread.map(|(name, cores)| Hot { name, cores }))
        };
        let mut losses = [None; 6];
        for (value, name) in losses.iter_mut().zip(Losses::NAMES) {
            *value = number(name)?;
        }
        let cores = (0..).map(|core| format!("core_{core}")).take_while(|name| text(name).is_some());
        let cores = cores.map(|name| needed(&name)).collect::<Result<Vec<f64>>>()?;
        let sample = Sample {
            t_s: needed("t_s")?,
            interval_s: needed("interval_s")?,
            cores: (!cores.is_empty()).then_some(cores),
            parallelism: number("parallelism")?,
            cpu_s: number("cpu_s")?,
            processes: count("processes")?,
            threads: count("threads")?,
            running: number("running")?,
            waiting: number("waiting")?,
            run_wait: number("run_wait")?,
            allowed_cores: count("allowed_cores")?,
            in_disk_wait: count("in_disk_wait")?,
            hottest: hot("hottest")?,
            next_hottest: hot("next_hottest")?,
            losses: Losses::from_values(losses),
            load_1min: number("load_1min")?,
            resident_bytes: whole("resident_bytes")?,
            available_bytes: whole("available_bytes")?,
        };
        Ok((sample, needed("effective_cores")?, text("subject").unwrap_or_default().to_owned()))
    }
}

fn cell(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// One row without its end. A line break within a cell would make two rows of one for whoever reads lines.
fn line(cells: impl Iterator<Item = String>) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells.map(|cell| crate::figures::plain(&cell)))?;
    let bytes = writer.into_inner().map_err(|error| anyhow!("{error}"))?;
    Ok(String::from_utf8(bytes)?.trim_end_matches('\n').to_owned())
}

fn cells(row: &[u8]) -> Result<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
    let record = reader.records().next().context("an empty row")??;
    Ok(record.iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(cores: usize) -> Table {
        Table { cores, effective_cores: 1.5, subject: "make, \"all\"".into() }
    }

    fn full() -> Sample {
        let text = r#"{"t_s":0.5,"interval_s":0.25,"cores":[0.5,1.0],"parallelism":1.25,"cpu_s":3.0,"processes":4,
            "threads":5,"running":0.6,"waiting":0.7,"run_wait":0.8,"allowed_cores":9,"in_disk_wait":1,
            "hottest":{"name":"a, \"b\"","cores":0.9},"next_hottest":{"name":"c","cores":0.1},"iowait":0.11,
            "steal":0.12,"throttled":0.13,"cpu_pressure":0.14,"io_pressure":0.15,"memory_pressure":0.16,
            "load_1min":1.7,"resident_bytes":18,"available_bytes":19}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let columns = Columns::of(table(2).header().unwrap().as_bytes()).unwrap();
        for sample in [full(), Sample { t_s: 1.0, interval_s: 1.0, ..Sample::default() }] {
            let (read, cores, subject) = columns.read(table(2).row(&sample).unwrap().as_bytes()).unwrap();
            assert_eq!((read, cores, subject), (sample, 1.5, "make, \"all\"".into()));
        }
    }

    #[test]
    fn every_row_is_as_wide_as_the_header() {
        for cores in [0, 1, 2, 5] {
            let width = |row: &str| cells(row.as_bytes()).unwrap().len();
            let (header, row) = (table(cores).header().unwrap(), table(cores).row(&full()).unwrap());
            assert_eq!(width(&row), width(&header), "{cores}");
        }
    }

    #[test]
    fn a_name_cannot_break_the_table() {
        let hot = Hot { name: "a\n\"b".into(), cores: 1.0 };
        let row = table(0).row(&Sample { hottest: Some(hot), ..Sample::default() }).unwrap();
        assert!(!row.contains('\n') && row.contains(",\"a \"\"b\",1,"), "{row}");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert!(Columns::of(b"date,open,high").is_none());
        let columns = Columns::of(table(0).header().unwrap().as_bytes()).unwrap();
        assert!(columns.read(b"1,2,3").unwrap_err().to_string().contains("3 cells under 26 columns"));
        let row = table(0).row(&full()).unwrap().replace("1.25", "much");
        assert!(columns.read(row.as_bytes()).unwrap_err().to_string().contains("parallelism \"much\""));
    }
}
