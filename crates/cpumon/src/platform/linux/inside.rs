//! What one process shows of itself: mapped files, names of threads, environment at its start. And which kinds
//! of core there are.

use std::collections::BTreeSet;
use std::fs;

use crate::platform::{CoreKind, Inside};

/// Looks into process `pid`; `None` if it is gone or belongs to somebody else.
pub fn look_into(pid: u32) -> Option<Inside> {
    // Names of files and threads may be no text.
    let text = |path: std::path::PathBuf| Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned());
    let maps = text(format!("/proc/{pid}/maps").into())?;
    let mapped: BTreeSet<&str> = maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).collect();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let name = |task: fs::DirEntry| text(task.path().join("comm"));
    let environment = fs::read(format!("/proc/{pid}/environ")).ok().map(|bytes| {
        let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries.map(|entry| String::from_utf8_lossy(entry).into_owned()).collect()
    });
    Some(Inside {
        mapped: mapped.into_iter().map(str::to_owned).collect(),
        threads: tasks.flatten().filter_map(name).map(|name| name.trim_end().to_owned()).collect(),
        environment,
    })
}

/// The kind of each core in the order of their numbers; empty where all are alike.
pub fn core_kinds() -> Vec<CoreKind> {
    // ARM tells how much each core can do; Intel's hybrids list the small ones.
    let capacity = |core: usize| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/cpu_capacity")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let capacities: Vec<u32> = (0..).map_while(capacity).collect();
    if let (Some(least), Some(most)) = (capacities.iter().min(), capacities.iter().max())
        && least < most
    {
        let kind =
            |capacity: &u32| if capacity == least { CoreKind::Efficiency } else { CoreKind::Performance };
        return capacities.iter().map(kind).collect();
    }
    let listed = |name: &str| {
        let text = fs::read_to_string(format!("/sys/devices/{name}/cpus")).unwrap_or_default();
        super::limits::cores_in(text.trim()).unwrap_or_default()
    };
    let (small, large) = (listed("cpu_atom"), listed("cpu_core"));
    if small.is_empty() || large.is_empty() {
        return Vec::new();
    }
    let count = small.len() + large.len();
    let kind = |core| if small.contains(&core) { CoreKind::Efficiency } else { CoreKind::Performance };
    (0..count).map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_shows_its_files_threads_and_environment() {
        let mut child = Command::new("sleep").arg("20").env("OMP_NUM_THREADS", "3").spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // Right after the start it is still this program, and then one whose libraries are being loaded.
        let has_libc = |inside: &Inside| inside.mapped.iter().any(|path| path.contains("libc"));
        let inside = loop {
            let inside = look_into(child.id()).unwrap();
            if (inside.threads == ["sleep"] && has_libc(&inside)) || std::time::Instant::now() > deadline {
                break inside;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(inside.threads, ["sleep"]);
        // What is asserted is never shown with its environment, which may hold secrets.
        assert!(has_libc(&inside), "{:?}", inside.mapped);
        assert!(inside.environment.unwrap().contains(&"OMP_NUM_THREADS=3".to_owned()));
        assert_eq!(look_into(child.id()), None);
    }
}
