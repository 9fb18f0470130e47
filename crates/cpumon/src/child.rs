//! The wrapped command: starting, signals, waiting, counting every process that ends.
//!
//! The command must behave as if nobody watched: it inherits the three streams and the process group, its exit
//! code is passed on, and no failure of the watching may end it or leave it behind without a word.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::platform;

/// What is known of processes that ended, each counted with everything that it waited for itself.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// CPU time in the programs, in seconds.
    pub user_s: f64,
    /// CPU time in the kernel on their behalf, in seconds.
    pub system_s: f64,
    /// How the command itself ended, as `wait` reports it; `None` while it runs.
    pub status: Option<i32>,
}

/// [`Ended`], shared by whoever waits, samples and forwards signals. While it is locked nothing is reaped, so
/// that no process is counted twice or not at all, and no signal goes to a number that belongs to another.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Ended>);

impl Shared {
    /// Locks it. A thread that panicked cannot have left it in the middle of a change.
    pub fn lock(&self) -> MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a command did not start, and the exit code that says so.
#[derive(Debug)]
pub struct StartError {
    /// 127 not found, 126 cannot be run, 125 the system had no room for a process.
    pub code: u8,
    /// The cause.
    pub cause: io::Error,
}

/// Takes over the signals that are to be passed on, before there is a command to pass them on to. What the
/// caller had ignored stays ignored, here and in the command: `nohup` relies on it.
pub fn catch_signals() -> io::Result<Signals> {
    // A caller that ignores SIGCHLD would otherwise make the exit code of the command vanish.
    // SAFETY: setting a disposition to its default runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SIGXFSZ is caught so that a limit on the size of files is an error of writing the output, not our end.
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ];
    Signals::new(wanted.into_iter().filter(|signal| !is_ignored(*signal)))
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action given, sigaction only fills in the old one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Starts `command` with our own streams, in our own process group, and gives its process number.
pub fn start(command: &[OsString]) -> Result<i32, StartError> {
    platform::adopt_orphans();
    let (program, arguments) = command.split_first().ok_or_else(|| StartError {
        code: 125,
        cause: io::Error::new(io::ErrorKind::InvalidInput, "there is no command"),
    })?;
    match Command::new(program).args(arguments).spawn() {
        // The handle is let go: waiting is done here, for every process at once.
        Ok(child) => Ok(child.id() as i32),
        Err(cause) => {
            let code = match cause.kind() {
                io::ErrorKind::NotFound => 127,
                io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => 125,
                _ => 126,
            };
            Err(StartError { code, cause })
        }
    }
}

/// Passes signals on to `pid` until `signals` is closed. What comes from the terminal reaches the whole group,
/// so the command has it already, and decides for both.
pub fn forward(signals: &mut Signals, pid: i32, ended: &Shared) {
    for signal in signals.forever() {
        let pass = match signal {
            SIGXFSZ => false,
            SIGINT | SIGQUIT => !is_in_foreground(),
            _ => true,
        };
        let ended = ended.lock();
        if pass && ended.status.is_none() {
            // SAFETY: kill takes plain numbers; under the lock the process is not reaped, so the number is its own.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

/// Whether the keys of the terminal send their signals to this process.
fn is_in_foreground() -> bool {
    use std::os::fd::AsRawFd;
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    // SAFETY: both calls take plain numbers, and the descriptor is open.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// Waits until `pid` has ended, reaping and counting everything that ends before, and gives its exit code.
pub fn wait(pid: i32, ended: &Shared) -> io::Result<u8> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // Only looks, and leaves the process where it is until the lock is held.
        // SAFETY: waitid fills the structure it is given, which is plain numbers and valid when zeroed.
        let looked =
            unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if looked != 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: waitid succeeded, so the structure describes a child that ended.
        let who = unsafe { info.assume_init().si_pid() };
        let mut ended = ended.lock();
        if let Some(status) = reap(who, &mut ended)
            && who == pid
        {
            ended.status = Some(status);
            while reap(-1, &mut ended).is_some() {}
            return Ok(exit_code(status));
        }
    }
}

/// Reaps `pid`, or with -1 any process that has ended, and adds up what it used.
fn reap(pid: i32, ended: &mut Ended) -> Option<i32> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live values of the right type, and WNOHANG keeps the call from waiting.
    let (reaped, usage) = unsafe {
        (libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()), usage.assume_init())
    };
    if reaped <= 0 {
        return None;
    }
    ended.user_s += platform::seconds(usage.ru_utime);
    ended.system_s += platform::seconds(usage.ru_stime);
    Some(status)
}

fn exit_code(status: i32) -> u8 {
    if libc::WIFSIGNALED(status) {
        (128 + libc::WTERMSIG(status)) as u8
    } else {
        libc::WEXITSTATUS(status) as u8
    }
}
