//! Load, memory, pressure and throttling, from files that stay open.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::limits;
use crate::platform::{Machine, Root};

/// Load and memory move slowly and memory costs more to read than all the others, so both are read once in
/// this time.
const SLOW_EVERY: Duration = Duration::from_millis(990);

/// Reads [`Machine`].
pub struct MachineReader {
    load: Option<File>,
    memory: Option<File>,
    pressures: [Pressure; 3],
    throttles: Vec<Throttle>,
    last: Option<Instant>,
    last_slow: Option<(Instant, Machine)>,
}

struct Pressure {
    file: Option<File>,
    total_us: Option<u64>,
}

struct Throttle {
    file: File,
    last: Option<(u64, u64)>,
}

impl MachineReader {
    /// A reader that has taken its first look, with which the next one is compared.
    pub fn new(root: Root) -> Self {
        let pid = match root {
            Root::Process(pid) => Some(pid),
            Root::Own | Root::Machine | Root::Siblings => None,
        };
        let open = |path: &str| File::open(path).ok();
        let pressure = |of: &str| Pressure { file: open(&format!("/proc/pressure/{of}")), total_us: None };
        let mut reader = Self {
            load: open("/proc/loadavg"),
            memory: open("/proc/meminfo"),
            pressures: ["cpu", "io", "memory"].map(pressure),
            throttles: limits::throttling_files(pid).iter().filter_map(|path| Throttle::open(path)).collect(),
            last: None,
            last_slow: None,
        };
        reader.read();
        reader
    }

    /// The numbers; load and memory of a second ago at most.
    pub fn read(&mut self) -> Machine {
        let now = Instant::now();
        let elapsed_us = self.last.map(|last| now.duration_since(last).as_micros().max(1) as f64);
        self.last = Some(now);
        let mut machine = match self.last_slow {
            Some((at, machine)) if now.duration_since(at) < SLOW_EVERY => machine,
            _ => {
                let machine = Machine {
                    load_1min: self.load.as_ref().and_then(|file| with_text(file, load_1min)),
                    available_bytes: self.memory.as_ref().and_then(|file| with_text(file, available_bytes)),
                    ..Machine::default()
                };
                self.last_slow = Some((now, machine));
                machine
            }
        };
        let [cpu, io, memory] = self.pressures.each_mut().map(|pressure| pressure.read(elapsed_us));
        (machine.cpu_pressure, machine.io_pressure, machine.memory_pressure) = (cpu, io, memory);
        machine.throttled = self.throttles.iter_mut().filter_map(Throttle::read).reduce(f64::max);
        machine
    }
}

impl Pressure {
    fn read(&mut self, elapsed_us: Option<f64>) -> Option<f64> {
        let now = with_text(self.file.as_ref()?, some_total_us);
        let last = std::mem::replace(&mut self.total_us, now);
        Some((now?.saturating_sub(last?) as f64 / elapsed_us?).min(1.0))
    }
}

impl Throttle {
    fn open(path: &Path) -> Option<Self> {
        Some(Self { file: File::open(path).ok()?, last: None })
    }

    fn read(&mut self) -> Option<f64> {
        let now = with_text(&self.file, periods)?;
        let last = self.last.replace(now)?;
        let periods = now.0.saturating_sub(last.0);
        // A group in which nothing ran has no periods, and was not held back.
        Some(now.1.saturating_sub(last.1) as f64 / periods.max(1) as f64)
    }
}

/// Reads a small file from its beginning, in one piece.
fn with_text<T>(file: &File, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0).ok()?;
    parse(std::str::from_utf8(&bytes[..length]).ok()?)
}

/// `0.52 0.58 0.59 1/467 12345`.
fn load_1min(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// The line `MemAvailable:    1234 kB`, the third.
fn available_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `some avg10=1.00 avg60=2.00 avg300=3.00 total=12345`, in microseconds since boot.
fn some_total_us(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.trim().parse().ok()
}

/// How many periods a quota had, and in how many of them it ran out.
fn periods(text: &str) -> Option<(u64, u64)> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((value("nr_periods ")?, value("nr_throttled ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(load_1min("2.68 2.66 2.75 3/120 999\n"), Some(2.68));
        let memory = "MemTotal:  8000 kB\nMemFree:  1000 kB\nMemAvailable:    3000 kB\n";
        assert_eq!(available_bytes(memory), Some(3_072_000));
        let pressure = "some avg10=68.56 avg60=41.08 avg300=28.99 total=921691778\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(some_total_us(pressure), Some(921_691_778));
        assert_eq!(
            periods("usage_usec 9\nnr_periods 20\nnr_throttled 5\nthrottled_usec 100\n"),
            Some((20, 5))
        );
        assert_eq!(periods("usage_usec 9\n"), None);
    }

    #[test]
    fn shares_are_of_the_time_between_two_looks() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"some avg10=0 total=1000\n").unwrap();
        let mut pressure = Pressure { file: Some(file.reopen().unwrap()), total_us: None };
        assert_eq!(pressure.read(None), None);
        std::fs::write(file.path(), "some avg10=0 total=1250\n").unwrap();
        assert_eq!(pressure.read(Some(1000.0)), Some(0.25));
    }

    #[test]
    fn a_quota_of_any_group_above_is_watched() {
        let mount = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let stat = |periods, throttled| {
            format!(
                "usage_usec 9\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 7\nnr_bursts 0\n"
            )
        };
        // The quota is the grandparent's; the parent has a line that says that it has none.
        write("slice/cpu.max", "50000 100000\n");
        write("slice/service/cpu.max", "max 100000\n");
        write("slice/service/cpu.stat", &stat(9, 9));
        write("slice/service/inner/cgroup.procs", "");
        write("slice/cpu.stat", &stat(100, 40));
        let files = limits::throttling_files_under(mount.path(), "0::/slice/service/inner\n");
        assert_eq!(files, [mount.path().join("slice/cpu.stat")]);
        let mut throttle = Throttle::open(&files[0]).unwrap();
        assert_eq!(throttle.read(), None, "what was before the first look is not counted");
        write("slice/cpu.stat", &stat(110, 45));
        assert_eq!(throttle.read(), Some(0.5));
        assert_eq!(throttle.read(), Some(0.0), "no period has passed since");
        assert!(limits::throttling_files_under(mount.path(), "0::/elsewhere\n").is_empty());
    }
}
