//! How many cores a process may really use: its affinity, and the quotas of its control groups.

use std::fs;
use std::path::Path;

/// Cores that process `pid` (or this one) may use at once; with a quota this need not be a whole number.
pub fn effective_cores(pid: Option<u32>) -> f64 {
    let process = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let read = |name: &str| fs::read_to_string(format!("{process}/{name}")).ok();
    let allowed = read("status").and_then(|status| allowed_cores(&status));
    let allowed = allowed.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let quota = read("cgroup").and_then(|groups| quota(Path::new("/sys/fs/cgroup"), &groups));
    quota.map_or(allowed as f64, |quota| quota.min(allowed as f64))
}

/// The number of cores in the line `Cpus_allowed_list: 0-3,8`.
fn allowed_cores(status: &str) -> Option<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut count = 0;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        count += last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1;
    }
    Some(count)
}

/// The tightest quota over the groups named in `/proc/PID/cgroup` and everything above them, in cores. Both
/// versions of control groups are looked at, as systems mix them.
fn quota(mount: &Path, groups: &str) -> Option<f64> {
    let mut tightest: Option<f64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let found = if controllers.is_empty() {
            let bases = [mount.to_owned(), mount.join("unified")];
            bases.iter().filter_map(|base| tightest_above(base, path, read_v2)).reduce(f64::min)
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            tightest_above(&mount.join(controllers), path, read_v1)
        } else {
            None
        };
        tightest = tightest.into_iter().chain(found).reduce(f64::min);
    }
    tightest
}

fn tightest_above(base: &Path, path: &str, read: impl Fn(&Path) -> Option<f64>) -> Option<f64> {
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().filter_map(|group| read(&base.join(group))).reduce(f64::min)
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
