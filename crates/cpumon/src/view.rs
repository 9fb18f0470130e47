//! The live view: a bar a core, and under it what is known of the subject. Composing a frame is pure; only
//! [`View`] draws.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::evidence::Evidence;
use crate::figures::{self, block, counted};
use crate::platform::{self, CoreKind};
use crate::sample::Sample;
use crate::sampler::Sampler;
use crate::terminal::{Screen, size};
use crate::totals::Totals;
use crate::verdict;

/// The verdict is about the newest samples, and strips show them.
const MOST_RECENT: usize = 60;

/// Draws on a terminal.
pub struct View {
    screen: Screen,
    frame: Frame,
}

/// What a frame is composed of.
#[derive(Debug, Clone, Default)]
struct Frame {
    subject: String,
    effective_cores: f64,
    is_machine: bool,
    kinds: Vec<CoreKind>,
    recent: VecDeque<Sample>,
    own_share: f64,
    colour: bool,
}

impl View {
    /// Takes the terminal over.
    pub fn open(subject: String, effective_cores: f64, is_machine: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let kinds = platform::core_kinds();
        let frame = Frame { subject, effective_cores, is_machine, kinds, colour, ..Frame::default() };
        Self { screen: Screen::enter(), frame }
    }

    /// What has to be given back.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Draws with one more sample.
    pub fn show(&mut self, sample: &Sample, sampler: &Sampler) -> io::Result<()> {
        let frame = &mut self.frame;
        if frame.recent.len() == MOST_RECENT {
            frame.recent.pop_front();
        }
        frame.recent.push_back(sample.clone());
        frame.own_share = platform::own_cpu_s() / sampler.wall_s().max(1e-9);
        self.redraw()
    }

    /// Draws again, in the size that the terminal has now. All of a frame is written at once, so that no half of
    /// one is ever seen.
    pub fn redraw(&mut self) -> io::Result<()> {
        let (columns, rows) = size();
        let lines = self.frame.compose(columns, rows);
        let text = format!("\x1b[?2026h\x1b[H{}\x1b[K\x1b[J\x1b[?2026l", lines.join("\x1b[K\r\n"));
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Frame {
    /// At most `rows` lines of at most `columns` characters.
    fn compose(&self, columns: usize, rows: usize) -> Vec<String> {
        let Some(sample) = self.recent.back() else { return vec![fit("cpumon", columns)] };
        let below = self.below(sample);
        let of = figures::cores(self.effective_cores);
        let used = sample.parallelism.map_or("unknown".to_owned(), |cores| format!("{cores:.2}"));
        let head = format!("{}: {used} of {of} cores used, {:.0} s", self.subject, sample.t_s);
        let mut lines = vec![fit(&head, columns)];
        let room = rows.saturating_sub(lines.len() + below.len()).max(1);
        lines.extend(self.bars(sample.cores.as_deref().unwrap_or_default(), columns, room));
        lines.extend(below.iter().map(|line| fit(line, columns)));
        lines.truncate(rows);
        lines
    }

    /// A line a core, or one for several neighbours where there is not enough room.
    fn bars(&self, cores: &[f64], columns: usize, room: usize) -> Vec<String> {
        let per_line = cores.len().div_ceil(room).max(1);
        let mean = |cores: &[f64]| cores.iter().sum::<f64>() / cores.len().max(1) as f64;
        let groups = cores.chunks(per_line).enumerate().map(|(group, busy)| {
            let (first, last) = (group * per_line, group * per_line + busy.len() - 1);
            let kind = match self.kinds.get(first) {
                Some(CoreKind::Efficiency) => " E",
                Some(CoreKind::Performance) => " P",
                None => "",
            };
            let name = if first == last { format!("{first}{kind}") } else { format!("{first}-{last}{kind}") };
            let head = format!("{name:>9} {:>3.0} % ", mean(busy) * 100.0);
            let left = columns.saturating_sub(head.chars().count());
            let strip = (left / 3).min(MOST_RECENT);
            let bar = bar(mean(busy), left.saturating_sub(strip + 1));
            let newest = self.recent.iter().rev().take(strip).rev();
            let past = newest.map(|sample| {
                let busy = sample.cores.as_deref().and_then(|cores| cores.get(first..=last));
                busy.map_or(' ', |busy| block(mean(busy)))
            });
            let past: String = past.collect();
            if self.colour && left > 0 {
                format!("{}\x1b[36m{bar}\x1b[0m {past}", fit(&head, columns))
            } else {
                fit(&format!("{head}{bar} {past}"), columns)
            }
        });
        groups.collect()
    }

    fn below(&self, s: &Sample) -> Vec<String> {
        let mut lines = Vec::new();
        let load = s.load_1min.map(|load| format!("load {load:.2}"));
        let free = s.available_bytes.map(|bytes| format!("{:.1} GB free", bytes as f64 / 1e9));
        lines.push(load.into_iter().chain(free).chain(s.losses.words()).collect::<Vec<_>>().join(", "));
        if let (Some(processes), Some(bytes)) = (s.processes, s.resident_bytes) {
            let threads =
                s.threads.map_or(String::new(), |n| format!(", {}", counted(n, "thread", "threads")));
            let wait = s.run_wait.unwrap_or(0.0) * 100.0;
            let bytes = bytes as f64 / 1e6;
            let processes = counted(processes, "process", "processes");
            lines.push(format!("{processes}{threads}, {bytes:.0} MB, waited {wait:.0} % for a core"));
        }
        if let Some(hot) = &s.hottest {
            let mut text = format!("hottest {:?} {:.2} of a core", hot.name, hot.cores);
            if let Some(next) = &s.next_hottest {
                let _ = write!(text, ", next {:?} {:.2}", next.name, next.cores);
            }
            lines.push(text);
        }
        let mut totals = Totals::default();
        self.recent.iter().for_each(|sample| totals.add(sample));
        let used = self.recent.iter().filter_map(|s| Some(s.parallelism? * s.interval_s)).sum::<f64>();
        let parallelism = s.parallelism.map(|_| used / totals.time_s.max(1e-9));
        let evidence = Evidence::new(&totals, parallelism, self.effective_cores, self.is_machine);
        let judged = verdict::judge(&evidence);
        lines.push(format!("{} ({})", judged.finding.words(), judged.because));
        lines.push(format!("q or Ctrl-C ends; cpumon takes {:.2} % of a core", self.own_share * 100.0));
        lines
    }
}

/// A bar of so many characters, an eighth of one fine.
fn bar(share: f64, width: usize) -> String {
    const PARTS: [char; 8] = ['·', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let cell = |place: usize| match eighths.saturating_sub(place * 8) {
        0 => PARTS[0],
        part @ 1..8 => PARTS[part],
        _ => '█',
    };
    (0..width).map(cell).collect()
}

/// At most so many characters, none of which moves the cursor.
fn fit(text: &str, columns: usize) -> String {
    text.chars().take(columns).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Hot;

    fn frame(cores: usize) -> Frame {
        let sample = Sample {
            t_s: 12.0,
            interval_s: 0.5,
            cores: Some((0..cores).map(|core| (core % 2) as f64).collect()),
            parallelism: Some(1.5),
            processes: Some(3),
            resident_bytes: Some(5_000_000),
            hottest: Some(Hot { name: "evil\x1b[2J".into(), cores: 0.9 }),
            ..Sample::default()
        };
        let recent = VecDeque::from(vec![sample; 40]);
        Frame { subject: "make".into(), effective_cores: cores as f64, recent, ..Frame::default() }
    }

    #[test]
    fn a_frame_fits_any_terminal() {
        for cores in [1, 2, 16, 256] {
            for (columns, rows) in [(1, 1), (5, 3), (20, 5), (80, 24), (300, 100)] {
                let lines = frame(cores).compose(columns, rows);
                assert!(lines.len() <= rows, "{cores} cores on {columns}x{rows}: {} lines", lines.len());
                assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}: {lines:?}");
                assert!(!lines.concat().contains('\x1b'));
            }
        }
    }

    #[test]
    fn colour_takes_no_room() {
        let frame = Frame { colour: true, ..frame(2) };
        let lines = frame.compose(80, 24);
        let bare = |line: &str| line.replace("\x1b[36m", "").replace("\x1b[0m", "").chars().count();
        assert!(lines.iter().all(|line| bare(line) <= 80));
        assert!(lines[1].contains("\x1b[36m") && lines[0].contains("1.50 of 2 cores"));
    }

    #[test]
    fn bars_are_as_long_as_the_share() {
        let check = |share, expected: &str| assert_eq!(bar(share, 4), expected);
        check(0.0, "····");
        check(0.5, "██··");
        check(0.53, "██▏·");
        check(1.0, "████");
        check(7.0, "████");
    }
}
