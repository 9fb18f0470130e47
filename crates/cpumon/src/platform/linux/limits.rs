//! How many cores a process may really use: its affinity, and the quotas of its control groups.

use std::fs;
use std::path::{Path, PathBuf};

/// Cores that process `pid` (or this one) may use at once; with a quota this need not be a whole number.
pub fn effective_cores(pid: Option<u32>) -> f64 {
    let process = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let read = |name: &str| fs::read_to_string(format!("{process}/{name}")).ok();
    let allowed = read("status").and_then(|status| allowed_cores(&status));
    let allowed = allowed.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let quota = read("cgroup").and_then(|groups| quota(Path::new(MOUNT), &groups));
    quota.map_or(allowed as f64, |quota| quota.min(allowed as f64))
}

/// The number of cores in the line `Cpus_allowed_list: 0-3,8`.
fn allowed_cores(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    cores_in(list.trim()).map(|cores| cores.len())
}

/// The cores in a list such as `0-3,8`.
pub fn cores_in(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last < first || last > 65_536 {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// The `cpu.stat` files of all groups that limit `pid` (or this process) by a quota.
pub fn throttling_files(pid: Option<u32>) -> Vec<PathBuf> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    throttling_files_under(Path::new(MOUNT), &text)
}

/// The same of the groups named in `/proc/PID/cgroup`, with control groups mounted at `mount`.
pub fn throttling_files_under(mount: &Path, text: &str) -> Vec<PathBuf> {
    let limiting = groups(mount, text).into_iter().filter(|group| group.quota().is_some());
    limiting.map(|group| group.path.join("cpu.stat")).collect()
}

const MOUNT: &str = "/sys/fs/cgroup";

/// The tightest quota over the groups named in `/proc/PID/cgroup` and everything above them, in cores.
fn quota(mount: &Path, text: &str) -> Option<f64> {
    groups(mount, text).iter().filter_map(Group::quota).reduce(f64::min)
}

/// A control group that may limit cores.
struct Group {
    path: PathBuf,
    is_v2: bool,
}

impl Group {
    fn quota(&self) -> Option<f64> {
        if self.is_v2 { read_v2(&self.path) } else { read_v1(&self.path) }
    }
}

/// The groups named in `/proc/PID/cgroup` and everything above them. Both versions of control groups are looked
/// at, as systems mix them.
fn groups(mount: &Path, text: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_v2 = controllers.is_empty();
        let bases = if is_v2 {
            vec![mount.to_owned(), mount.join("unified")]
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            vec![mount.join(controllers)]
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        let above = |base: &PathBuf| path.ancestors().map(|group| base.join(group)).collect::<Vec<_>>();
        found.extend(bases.iter().flat_map(above).map(|path| Group { path, is_v2 }));
    }
    found
}

/// `cpu.max` holds `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn read_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn read_v1(group: &Path) -> Option<f64> {
    let quota = fs::read_to_string(group.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(group.join("cpu.cfs_period_us")).ok()?;
    ratio(quota.trim(), period.trim())
}

/// No quota is written as `max` or -1.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let ratio = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    Some(ratio).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        let check = |list: &str, expected| {
            assert_eq!(allowed_cores(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n")), expected, "{list}");
        };
        check("0", Some(1));
        check("0-1", Some(2));
        check("0-3,8,10-11", Some(7));
        check("", None);
        check("3-1", None);
    }

    #[test]
    fn the_tightest_group_above_decides() {
        let mount = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/cpu.max", "150000 100000\n");
        write("a/b/cpu.max", "max 100000\n");
        assert_eq!(quota(mount.path(), "0::/a/b\n"), Some(1.5));
        assert_eq!(quota(mount.path(), "0::/c\n"), None);
        write("cpu,cpuacct/d/cpu.cfs_quota_us", "50000\n");
        write("cpu,cpuacct/d/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(mount.path(), "4:memory:/a\n3:cpu,cpuacct:/d\n0::/a\n"), Some(0.5));
        write("cpu,cpuacct/d/cpu.cfs_quota_us", "-1\n");
        assert_eq!(quota(mount.path(), "3:cpu,cpuacct:/d\n"), None);
    }

    #[test]
    fn this_process_may_use_a_core() {
        assert!(effective_cores(None) > 0.0);
        assert_eq!(effective_cores(None), effective_cores(Some(std::process::id())));
    }
}
