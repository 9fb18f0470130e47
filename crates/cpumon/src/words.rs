//! The end of a run in words, one line or a screen.

use crate::figures::{self, block, counted, percent, plain, seconds};
use crate::summary::Summary;
use crate::verdict::LEAST_SAMPLES;

/// More cores than this share lines, so that the summary stays at 20.
const MOST_CORE_LINES: usize = 5;

impl Summary {
    /// One line.
    pub fn short(&self) -> String {
        let peak = self.parallelism_peak.filter(|_| self.samples >= LEAST_SAMPLES);
        let peak = peak.map_or(String::new(), |peak| format!(", peak {peak:.2}"));
        format!("cores: {}{peak}; {}", self.used(), self.verdict.finding.words())
    }

    /// At most 20 lines.
    pub fn full(&self) -> String {
        let exit = self.exit_code.map_or(String::new(), |code| format!(", exit {code}"));
        let mut lines = vec![format!("cpumon: {}, {}{exit}", plain(&self.subject), seconds(self.wall_s))];
        let mut row = |name: &str, text: String| lines.push(format!("  {name:<10} {text}"));
        row("cores", self.short().split_off("cores: ".len()));
        if let Some(cpu_s) = self.cpu_s {
            let parts = self.user_s.zip(self.system_s);
            let parts = parts.map_or(String::new(), |(user, system)| {
                format!(": {} in programs, {} in the kernel", seconds(user), seconds(system))
            });
            row("CPU time", format!("{}{parts}", seconds(cpu_s)));
        }
        // A run of fewer samples gets its totals, and nothing about single cores.
        if self.samples >= LEAST_SAMPLES {
            self.rows_over_time(&mut row);
        }
        if let Some(bytes) = self.resident_peak_bytes {
            let processes = self
                .processes_peak
                .map_or(String::new(), |n| format!(" in {}", counted(n, "process", "processes")));
            let threads =
                self.threads_peak.map_or(String::new(), |n| format!(", {}", counted(n, "thread", "threads")));
            row("memory", format!("{:.0} MB resident{processes}{threads} at most", bytes as f64 / 1e6));
        }
        if let Some(bytes) = self.passed_bytes {
            let (bytes, wall_s) = (bytes as f64 / 1e6, self.wall_s.max(1e-9));
            row("passed", format!("{bytes:.1} MB, {:.1} MB a second", bytes / wall_s));
        }
        if !self.left_running.is_empty() {
            let named = self
                .left_running
                .iter()
                .take(4)
                .map(|member| format!("{} ({})", plain(&member.name), member.pid));
            let named: Vec<_> = named.collect();
            row("left", format!("{} still running: {}", self.left_running.len(), named.join(", ")));
        }
        row("verdict", format!("{} ({})", self.verdict.finding.words(), self.verdict.because));
        row("advice", self.verdict.advice.clone());
        lines.join("\n")
    }

    fn rows_over_time(&self, row: &mut impl FnMut(&str, String)) {
        if let Some(mean) = self.active_cores_mean {
            let peak = self.active_cores_peak;
            row(
                "active",
                format!("{mean:.1} cores more than half busy on average, {peak} at most (all processes)"),
            );
        }
        // With many cores a line stands for several neighbours.
        let per_line = self.core_busy.len().div_ceil(MOST_CORE_LINES).max(1);
        for first in (0..self.core_busy.len()).step_by(per_line) {
            let last = (first + per_line).min(self.core_busy.len()) - 1;
            let name = if first == last { format!("core {first}") } else { format!("core {first}-{last}") };
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
            let strip: String = self
                .strips
                .iter()
                .filter_map(|column| column.get(first..=last))
                .map(|cores| block(mean(cores)))
                .collect();
            row(&name, format!("{:>3.0} % {strip}", mean(&self.core_busy[first..=last]) * 100.0));
        }
        if let Some(run_wait) = self.run_wait {
            row(
                "run queue",
                format!("threads ready to run waited {} of the time for a core", percent(run_wait)),
            );
        }
        if let Some(hottest) = &self.hottest {
            let next = self.next_hottest.as_ref();
            let next = next.map_or(String::new(), |next| format!("; next {:?} {:.2}", next.name, next.cores));
            row("hottest", format!("thread {:?} {:.2} of a core{next}", hottest.name, hottest.cores));
        }
        // What the system does not tell is left out; the file says null.
        let load = self.load_1min_peak.map(|load| format!("load {load:.2}"));
        row("machine", load.into_iter().chain(self.losses.words()).collect::<Vec<_>>().join(", "));
        if let (Some(efficiency), Some(performance)) = (self.efficiency_busy, self.performance_busy) {
            let (efficiency, performance) = (percent(efficiency), percent(performance));
            row("kinds", format!("efficiency cores {efficiency} busy, performance cores {performance}"));
        }
        // A file without a summary does not tell.
        if self.own_cpu_s > 0.0 {
            let share = self.own_cpu_s / self.wall_s.max(1e-9) * 100.0;
            row("cpumon", format!("took {share:.2} % of a core itself"));
        }
    }

    fn used(&self) -> String {
        let of = figures::cores(self.effective_cores);
        let Some(parallelism) = self.parallelism else { return format!("unknown of {of} used") };
        let percent = (parallelism / self.effective_cores.max(0.01) * 100.0).min(100.0);
        format!("{parallelism:.2} of {of} used ({percent:.0} %)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::Losses;
    use crate::platform::{CoreKind, Member, RunQueue};
    use crate::summary::Outcome;
    use crate::totals::{MeanLosses, Totals};

    fn summary(cores: usize, samples: usize) -> Summary {
        let mut losses = MeanLosses::default();
        losses.add(&Losses::from_values([0.01, 0.0, 0.0, 0.1, 0.0, 0.0].map(Some)), 10.0);
        let mut totals = Totals {
            samples,
            time_s: 10.0,
            core_busy_s: vec![9.6; cores],
            active_core_s: 20.0,
            active_cores_peak: 2,
            parallelism_peak: Some(1.999),
            losses,
            run_queue: Some(RunQueue { ran_s: 97.0, waited_s: 3.0 }),
            threads_told_s: 10.0,
            hottest_s: Some(9.9),
            next_hottest_s: 9.4,
            resident_peak_bytes: Some(812_000_000),
            processes_peak: Some(5),
            threads_peak: Some(14),
            ..Totals::default()
        };
        totals.history.columns = (0..500).map(|step| (f64::from(step), vec![1.0; cores])).collect();
        let outcome = Outcome {
            subject: "make train".into(),
            exit_code: Some(0),
            wall_s: 10.0,
            cpu_s: Some(19.3),
            counted_s: 10.0,
            user_and_system_s: Some((19.0, 0.3)),
            effective_cores: 2.0,
            whole_machine: false,
            core_kinds: [CoreKind::Efficiency, CoreKind::Performance].repeat(cores),
            passed_bytes: Some(1_000_000),
            left_running: (0..9).map(|pid| Member { pid, name: "daemon".into() }).collect(),
            own_cpu_s: 0.003,
        };
        Summary::new(outcome, &totals)
    }

    #[test]
    fn one_line_says_it_all() {
        assert_eq!(summary(2, 20).short(), "cores: 1.93 of 2 used (96 %), peak 2.00; well used");
        assert_eq!(summary(2, 2).short(), "cores: 1.93 of 2 used (96 %); too short to say");
    }

    #[test]
    fn the_full_summary_fits_on_a_screen_whatever_the_cores() {
        for cores in [1, 2, 8, 9, 16, 96, 256] {
            let full = summary(cores, 20).full();
            assert!(full.lines().count() <= 20, "{full}");
            assert!(full.lines().all(|line| line.chars().count() <= 110), "{full}");
        }
        assert!(summary(16, 20).full().contains("core 12-15"));
    }

    #[test]
    fn a_short_run_says_nothing_about_single_cores() {
        let full = summary(2, 2).full();
        assert!(
            !full.contains("core 0") && !full.contains("run queue") && full.contains("CPU time   19.3 s")
        );
    }

    #[test]
    fn never_more_than_all_of_the_cores() {
        let mut summary = summary(2, 20);
        summary.parallelism = Some(2.01);
        assert!(summary.short().contains("(100 %)"));
    }
}
