//! What each core did, from `/proc/stat`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::platform::Cores;

pub struct CoreReader {
    file: Option<File>,
    text: Vec<u8>,
    last: Vec<Ticks>,
}

/// Time of one core since boot, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ticks {
    core: u32,
    busy: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

impl CoreReader {
    pub fn new() -> Self {
        Self { file: File::open("/proc/stat").ok(), text: vec![0; 4096], last: Vec::new() }
    }

    pub fn read(&mut self) -> Option<Cores> {
        let file = self.file.as_ref()?;
        let mut length = file.read_at(&mut self.text, 0).ok()?;
        // The cores come first; with many of them they take more room.
        while length == self.text.len() && !has_all_cores(&self.text) {
            self.text.resize(2 * length, 0);
            length = file.read_at(&mut self.text, 0).ok()?;
        }
        let now = parse(&String::from_utf8_lossy(&self.text[..length]));
        let last = std::mem::replace(&mut self.last, now);
        shares(&last, &self.last)
    }
}

/// Whether the lines of the cores are followed by another one.
fn has_all_cores(text: &[u8]) -> bool {
    text.windows(5).any(|bytes| bytes == b"\nintr")
}

fn parse(text: &str) -> Vec<Ticks> {
    let lines = text.lines().take_while(|line| line.starts_with("cpu"));
    lines.filter_map(parse_line).collect()
}

/// Reads `cpuN user nice system idle iowait irq softirq steal guest guest_nice`. User time contains the
/// guests' already. The line without a number is the sum of the others, and has no core.
fn parse_line(line: &str) -> Option<Ticks> {
    let mut words = line.split_ascii_whitespace();
    let core = words.next()?.strip_prefix("cpu")?.parse().ok()?;
    let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, idle] = *numbers.first_chunk::<4>()?;
    let later = |position: usize| numbers.get(position).copied().unwrap_or(0);
    let busy = user + nice + system + later(5) + later(6);
    Some(Ticks { core, busy, idle, iowait: later(4), steal: later(7) })
}

/// What happened between two looks; `None` if there is no earlier one, or cores came or went in between.
fn shares(last: &[Ticks], now: &[Ticks]) -> Option<Cores> {
    if now.is_empty() || !last.iter().map(|core| core.core).eq(now.iter().map(|core| core.core)) {
        return None;
    }
    let (mut busy, mut all, mut iowait, mut steal) = (Vec::with_capacity(now.len()), 0, 0, 0);
    for (last, now) in last.iter().zip(now) {
        // The kernel lets the idle counters of a core step back now and then.
        let busy_ticks = now.busy.saturating_sub(last.busy);
        let iowait_ticks = now.iowait.saturating_sub(last.iowait);
        let steal_ticks = now.steal.saturating_sub(last.steal);
        let ticks = busy_ticks + now.idle.saturating_sub(last.idle) + iowait_ticks + steal_ticks;
        busy.push(busy_ticks as f64 / ticks.max(1) as f64);
        all += ticks;
        iowait += iowait_ticks;
        steal += steal_ticks;
    }
    let share = |ticks: u64| Some(ticks as f64 / all.max(1) as f64);
    Some(Cores { busy, iowait: share(iowait), steal: share(steal) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "cpu  30 0 0 0 0 0 0 0 0 0\ncpu0 10 0 0 0 0 0 0 0 0 0\ncpu1 20 0 5 5 0 0 0 0 0 0\nintr 1 2\n";
    const AFTER: &str =
        "cpu  99 0 0 0 0 0 0 0 0 0\ncpu0 60 10 20 5 5 0 0 0 40 0\ncpu1 20 0 5 75 10 5 5 10 0 0\nintr 1 2\n";

    #[test]
    fn idle_waiting_and_stolen_time_are_told_apart() {
        let cores = shares(&parse(BEFORE), &parse(AFTER)).unwrap();
        // Core 0: 80 of 90 ticks busy. Core 1: 10 of 100 busy (interrupts), 10 waiting, 10 stolen.
        assert_eq!(cores.busy, [80.0 / 90.0, 0.1]);
        assert_eq!((cores.iowait, cores.steal), (Some(15.0 / 190.0), Some(10.0 / 190.0)));
    }

    #[test]
    fn the_first_look_and_a_changed_set_of_cores_tell_nothing() {
        assert_eq!(shares(&[], &parse(AFTER)), None);
        assert_eq!(shares(&parse(BEFORE)[..1], &parse(AFTER)), None);
    }

    #[test]
    fn more_cores_than_fit_at_first_are_read_too() {
        let mut reader = CoreReader::new();
        reader.text = vec![0; 16];
        reader.read();
        assert!(has_all_cores(&reader.text) && !reader.last.is_empty());
    }

    #[test]
    fn the_machine_that_runs_this_can_be_read() {
        let mut reader = CoreReader::new();
        assert_eq!(reader.read(), None);
        let cores = reader.read().unwrap();
        assert!(!cores.busy.is_empty() && cores.busy.iter().all(|busy| (0.0..=1.0).contains(busy)));
    }
}
