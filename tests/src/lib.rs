//! Runs the real binaries of `target/release`, each test in a directory of its own, and never for ever.
//!
//! # Layout
//! - [`Place`]: a directory that goes away, and what tests keep in it.
//! - [`Run`]: a command with a limit, and [`Outcome`], how it ended.
//! - [`left`]: what a run of `train` leaves.
pub mod left;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Longer than any command here takes on a busy machine; only a hang lasts as long.
const LIMIT: Duration = Duration::from_secs(300);

/// The path of a release binary.
///
/// # Panics
/// If it has not been built: a test that cannot run has failed.
pub fn bin(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = target.join("release").join(name);
    assert!(path.exists(), "{} is missing; `make build` makes it", path.display());
    path
}

/// The top of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A directory that goes away with the test.
#[derive(Debug)]
pub struct Place(tempfile::TempDir);

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A new, empty one.
    ///
    /// # Panics
    /// If the temporary directory cannot be written.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path in it as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file in it and gives its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).expect("a writable temporary directory");
        self.text(name)
    }

    /// The names of what it holds, sorted.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a readable temporary directory");
        let mut names: Vec<_> =
            entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        names
    }

    /// A feature file of `sessions` simulated sessions of one symbol, made by the real `featgen`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn features(&self, symbol: &str, sessions: u32) -> String {
        let csv = self.text(&format!("{symbol}.csv"));
        let features = self.text(&format!("{symbol}.parquet"));
        let sessions = sessions.to_string();
        Run::new("featgen")
            .args(["simulate", "--symbol", symbol, "--seed", "11", "--sessions", &sessions, "-o", &csv])
            .succeeds();
        Run::new("featgen").args(["--quiet", &csv, "-o", &features]).succeeds();
        features
    }

    /// An `envpool` on a socket, and its address.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn listen(&self, args: &[&str]) -> (Guard, String) {
        let address = format!("unix:{}", self.text("s"));
        let server = Run::new("envpool").args(["--listen", &address]).args(args).start();
        (server, address)
    }
}

/// A release binary and its arguments.
#[derive(Debug)]
pub struct Run {
    command: Command,
    limit: Duration,
}

impl Run {
    /// A release binary.
    pub fn new(name: &str) -> Self {
        Self::program(bin(name))
    }

    /// Any program.
    pub fn program(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).current_dir(root()).env("NO_COLOR", "1");
        Self { command, limit: LIMIT }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds the arguments that stand in `text` with spaces between them.
    #[must_use]
    pub fn words(self, text: &str) -> Self {
        self.args(text.split_whitespace())
    }

    /// `train ppo` that does not end by itself; what follows `--` is still to be said.
    pub fn endless_training(out: &str) -> Self {
        Self::new("train")
            .words("ppo --quiet --timesteps 100000000 --envs 16 --device cpu")
            .args(["--out", out])
    }

    /// Starts it with its data thrown away, to be killed or awaited by the test.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self) -> Guard {
        let said = tempfile::tempfile().expect("a temporary file");
        let stderr = said.try_clone().expect("a descriptor");
        let child = self.command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the program starts");
        Guard { child, said: Some(said) }
    }

    /// The same, with what it says kept in the file `log`.
    ///
    /// # Panics
    /// If it cannot be started, or the file not made.
    pub fn start_with_log(mut self, log: &Path) -> Guard {
        let log = fs::File::create(log).expect("a log");
        Guard::of(self.command.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started, or hangs.
    pub fn ends(mut self) -> Outcome {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut guard = Guard::of(child.expect("the program starts"));
        let drain = |stream: Option<Box<dyn Read + Send>>| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stream.map(|mut stream| stream.read_to_end(&mut text));
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let stdout = drain(guard.child.stdout.take().map(|s| Box::new(s) as _));
        let stderr = drain(guard.child.stderr.take().map(|s| Box::new(s) as _));
        let status = guard.wait(self.limit);
        let join = |thread: thread::JoinHandle<String>| thread.join().expect("the stream is read");
        Outcome { status, stdout: join(stdout), stderr: join(stderr) }
    }

    /// Runs it, and fails the test with its words if it fails.
    ///
    /// # Panics
    /// If it exits with another code than 0.
    pub fn succeeds(self) -> Outcome {
        let shown = format!("{:?}", self.command);
        let outcome = self.ends();
        assert!(
            outcome.status.success(),
            "{shown}: {}\n{}\n{}",
            outcome.status,
            outcome.stdout,
            outcome.stderr
        );
        outcome
    }

    /// Runs it, and checks that it fails with `code` and exactly one line on stderr, which is given back.
    ///
    /// # Panics
    /// If it does anything else.
    pub fn fails(self, code: i32) -> String {
        let shown = format!("{:?}", self.command);
        let outcome = self.ends();
        assert_eq!(outcome.status.code(), Some(code), "{shown}: {}\n{}", outcome.status, outcome.stderr);
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{shown} has not failed in one line:\n{}", outcome.stderr);
        assert!(!lines[0].contains("panicked"), "{}", lines[0]);
        lines[0].to_owned()
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

/// A process that does not outlive the test.
#[derive(Debug)]
pub struct Guard {
    /// The process.
    pub child: Child,
    /// What it says, where that is kept to be shown.
    said: Option<fs::File>,
}

impl Guard {
    /// A process whose words somebody else has.
    pub fn of(child: Child) -> Self {
        Self { child, said: None }
    }

    /// Waits until `condition` holds, which it never will once the process has ended.
    ///
    /// # Panics
    /// If it has, with its words, or if the condition does not hold in [`LIMIT`].
    pub fn until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        until(what, || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                // What it did last counts.
                assert!(condition(), "{status} before {what}: {}", self.words());
                return true;
            }
            condition()
        });
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        if let Some(said) = &mut self.said {
            said.rewind().and_then(|()| said.read_to_string(&mut words)).expect("a readable file");
        }
        words
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    panic!("process {} hangs", self.child.id());
                }
                None => sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not in [`LIMIT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5));
    }
}
