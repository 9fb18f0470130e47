//! The thread pools that programs commonly have: how each is known, and which variable governs its size.

use serde::Serialize;

use crate::figures;
use crate::platform::Inside;

/// One kind of pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// What it is called.
    pub name: &'static str,
    /// The variable that governs it; the first of several is the one to set.
    pub variables: &'static [&'static str],
    /// Parts of the names of files that are mapped where it is at work.
    pub files: &'static [&'static str],
    /// Beginnings of the names of its threads.
    pub threads: &'static [&'static str],
    /// Where it exists.
    pub place: Place,
    /// What else a person should know.
    pub note: &'static str,
}

/// Where a library exists at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Everywhere.
    Anywhere,
    /// On x86 alone.
    X86,
    /// On Apple's systems alone.
    Apple,
}

impl Place {
    /// Whether it can exist here.
    pub fn is_here(self) -> bool {
        match self {
            Self::Anywhere => true,
            Self::X86 => cfg!(any(target_arch = "x86_64", target_arch = "x86")),
            Self::Apple => cfg!(target_vendor = "apple"),
        }
    }
}

const fn pool(
    name: &'static str,
    variables: &'static [&'static str],
    files: &'static [&'static str],
) -> Pool {
    Pool { name, variables, files, threads: &[], place: Place::Anywhere, note: "" }
}

/// All that are known here. Nothing but these names is ever read from an environment.
pub const POOLS: [Pool; 16] = [
    pool("OpenMP", &["OMP_NUM_THREADS", "OMP_THREAD_LIMIT"], &["libgomp", "libomp.", "libomp5", "libiomp5"]),
    Pool {
        note: "follows OMP_NUM_THREADS unless the program calls set_num_threads; small networks are often faster on one",
        ..pool("PyTorch", &["OMP_NUM_THREADS"], &["libtorch_cpu", "libtorch."])
    },
    Pool {
        place: Place::X86,
        ..pool("MKL", &["MKL_NUM_THREADS", "OMP_NUM_THREADS"], &["libmkl_", "mkl_rt"])
    },
    pool("OpenBLAS", &["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"], &["openblas"]),
    pool("BLIS", &["BLIS_NUM_THREADS", "OMP_NUM_THREADS"], &["libblis"]),
    Pool {
        place: Place::Apple,
        ..pool("Accelerate", &["VECLIB_MAXIMUM_THREADS"], &["vecLib", "Accelerate.framework"])
    },
    pool("NumExpr", &["NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"], &["/numexpr/"]),
    Pool { threads: &["rayon"], ..pool("Rayon", &["RAYON_NUM_THREADS"], &[]) },
    Pool {
        threads: &["polars-"],
        ..pool("Polars", &["POLARS_MAX_THREADS"], &["/polars/", "polars.abi", "_polars"])
    },
    Pool { threads: &["tokio-r"], ..pool("Tokio", &["TOKIO_WORKER_THREADS"], &[]) },
    Pool {
        note: "reads the quota of its control group since Go 1.25 only",
        ..pool("Go", &["GOMAXPROCS"], &[])
    },
    Pool {
        threads: &["tf_"],
        ..pool("TensorFlow", &["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"], &["libtensorflow"])
    },
    Pool {
        threads: &["tf_XLAEigen"],
        note: "XLA_CPU_MULTI_THREAD_EIGEN is read by nobody; the switch of that name is in XLA_FLAGS, and on",
        ..pool("XLA (JAX)", &["PJRT_NPROC", "NPROC"], &["xla_extension", "/jaxlib/"])
    },
    Pool {
        note: "has no variable; its program or an affinity limits it",
        ..pool("oneTBB", &[], &["libtbb"])
    },
    Pool {
        note: "is told with -XX:ActiveProcessorCount",
        threads: &["GC Thread#"],
        ..pool("Java", &[], &["libjvm"])
    },
    Pool { threads: &["julia"], ..pool("Julia", &["JULIA_NUM_THREADS"], &["libjulia"]) },
];

/// A variable and its value as the process was started with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Setting {
    /// A name on the list.
    pub name: String,
    /// The value, if it is a number of threads; anything else is not repeated.
    pub value: String,
}

impl Pool {
    /// The file or thread that shows that a process has this pool.
    pub fn evidence(&self, inside: &Inside) -> Option<String> {
        let file_name = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
        let has = |path: &&String| self.files.iter().any(|part| path.contains(part));
        let mapped = inside.mapped.iter().find(has).map(file_name);
        mapped.or_else(|| {
            let of = |name: &&String| self.threads.iter().any(|start| name.starts_with(start));
            let count = inside.threads.iter().filter(of).count();
            inside.threads.iter().find(of).map(|name| format!("{count} threads such as {name:?}"))
        })
    }
}

/// The variables on the list that an environment sets, and nothing else of it.
pub fn settings<'a>(environment: impl IntoIterator<Item = &'a str>) -> Vec<Setting> {
    let known = |name: &str| POOLS.iter().any(|pool| pool.variables.contains(&name));
    let pairs = environment.into_iter().filter_map(|entry| entry.split_once('='));
    let mut found: Vec<Setting> = pairs
        .filter(|(name, _)| known(name))
        .map(|(name, value)| {
            let is_count = value.len() <= 32 && value.chars().all(|c| c.is_ascii_digit() || c == ',');
            let value = match value {
                "" => "(empty)",
                value if is_count => value,
                _ => "(no number)",
            };
            Setting { name: name.to_owned(), value: value.to_owned() }
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// How many threads each of `workers` processes may have so that all together do not want more than the cores.
pub fn threads_each(effective_cores: f64, workers: u32) -> usize {
    ((effective_cores / f64::from(workers.max(1))) as usize).max(1)
}

/// Shell exports that give every pool its share; a variable that is set already is kept, as somebody meant it.
pub fn exports(effective_cores: f64, workers: u32, set: &[Setting]) -> String {
    let each = threads_each(effective_cores, workers);
    let cores = figures::cores(effective_cores);
    let mut lines = vec![format!("# {workers} side by side on {cores} cores: {each} for each")];
    let mut seen = Vec::new();
    for pool in POOLS.iter().filter(|pool| pool.place.is_here()) {
        // What merely follows another pool's variable needs none of its own.
        let Some(name) = pool.variables.first().filter(|name| !seen.contains(*name)) else { continue };
        seen.push(name);
        match set.iter().find(|setting| setting.name == **name) {
            Some(setting) => lines.push(format!("# {name} is {} already, and kept", setting.value)),
            None => lines.push(format!("export {name}={each}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_on_the_list_and_only_numbers_are_shown() {
        let environment = [
            "AWS_SECRET=hush",
            "OMP_NUM_THREADS=4,2",
            "MKL_NUM_THREADS=$(hush)",
            "GOMAXPROCS=3",
            "NPROC=",
            "PATH=/x",
        ];
        let found = settings(environment);
        let shown: Vec<_> = found.iter().map(|s| format!("{}={}", s.name, s.value)).collect();
        assert_eq!(
            shown,
            ["GOMAXPROCS=3", "MKL_NUM_THREADS=(no number)", "NPROC=(empty)", "OMP_NUM_THREADS=4,2"]
        );
    }

    #[test]
    fn workers_share_the_cores() {
        let check = |cores, workers, each| assert_eq!(threads_each(cores, workers), each);
        check(16.0, 1, 16);
        check(16.0, 8, 2);
        check(16.0, 5, 3);
        check(2.0, 8, 1);
        check(1.5, 1, 1);
        check(0.5, 1, 1);
    }

    #[test]
    fn exports_do_not_oversubscribe_and_keep_what_is_set() {
        let set = [Setting { name: "RAYON_NUM_THREADS".into(), value: "5".into() }];
        let text = exports(16.0, 8, &set);
        assert!(text.contains("\nexport OMP_NUM_THREADS=2\n"), "{text}");
        assert!(text.contains("# RAYON_NUM_THREADS is 5 already") && !text.contains("export RAYON"));
        assert_eq!(text.matches("export OMP_NUM_THREADS=").count(), 1);
        assert_eq!(text.contains("MKL"), Place::X86.is_here());
        assert!(!text.contains("XLA_CPU_MULTI_THREAD_EIGEN"));
    }

    #[test]
    fn pools_are_known_by_their_files_and_threads() {
        let inside = Inside {
            mapped: vec!["/opt/lib/libgomp-a34b.so.1".into(), "/usr/lib/libc.so.6".into()],
            threads: vec!["main".into(), "polars-0".into(), "polars-1".into()],
            environment: None,
        };
        let found: Vec<_> = POOLS.iter().filter_map(|p| Some((p.name, p.evidence(&inside)?))).collect();
        let expected = [("OpenMP", "libgomp-a34b.so.1"), ("Polars", "2 threads such as \"polars-0\"")];
        assert_eq!(found, expected.map(|(name, why)| (name, why.to_owned())));
    }
}
