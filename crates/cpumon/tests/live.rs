//! The live view on a terminal of its own: drawn, resized, and given back on any end.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};

use common::{code_of, cpumon, send, until};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal, and cpumon in front of it.
struct Terminal {
    primary: File,
    secondary: OwnedFd,
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(words: &[&str]) -> Self {
        let (mut primary, mut secondary) = (0, 0);
        let mut size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the two numbers and the size are live; the other arguments may be null.
        let (primary, secondary) = unsafe {
            let failed =
                libc::openpty(&raw mut primary, &raw mut secondary, null_mut(), null_mut(), &raw mut size);
            assert_eq!(failed, 0);
            (File::from_raw_fd(primary), OwnedFd::from_raw_fd(secondary))
        };
        let mut command = cpumon(words);
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        command.stdin(secondary.try_clone().unwrap()).stdout(secondary.try_clone().unwrap());
        command.stderr(Stdio::null());
        // SAFETY: both calls are async-signal-safe, and make the terminal that of a new session.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY as _, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (into, mut from) = (Arc::clone(&shown), primary.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { primary, secondary, child, shown }
    }

    fn shows(&self, text: &str) -> bool {
        self.shown.lock().unwrap().contains(text)
    }

    fn echoes(&self) -> bool {
        // SAFETY: termios is plain numbers, valid when zeroed, and tcgetattr fills it.
        let settings = unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.secondary.as_raw_fd(), &raw mut settings), 0);
            settings
        };
        settings.c_lflag & libc::ECHO != 0 && settings.c_lflag & libc::ICANON != 0
    }

    /// Checks that the terminal is as it was, and gives the exit code.
    fn ended(self) -> i32 {
        until("the terminal's return", || self.shows(LEAVE));
        until("the settings' return", || self.echoes());
        code_of(self.child)
    }
}

#[test]
fn frames_are_drawn_in_the_size_that_the_terminal_has() {
    let mut terminal = Terminal::start(&["--interval", "200ms"]);
    until("a frame", || terminal.shows("the machine: "));
    assert!(terminal.shows(ENTER) && !terminal.echoes());
    let size = libc::winsize { ws_row: 9, ws_col: 33, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open, and the size is live. The kernel tells the process in front.
    assert_eq!(unsafe { libc::ioctl(terminal.primary.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    terminal.shown.lock().unwrap().clear();
    until("a narrow frame", || {
        let shown = terminal.shown.lock().unwrap();
        let frame = shown.split("\x1b[H").nth(2).unwrap_or_default().to_owned();
        let lines: Vec<_> = frame.split("\x1b[K").filter(|line| !line.contains("\x1b[J")).collect();
        lines.len() > 3 && lines.iter().all(|line| line.trim().chars().count() <= 33)
    });
    terminal.primary.write_all(b"q").unwrap();
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn any_signal_gives_the_terminal_back() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let terminal = Terminal::start(&["--interval", "200ms"]);
        until("a frame", || terminal.shows("the machine: "));
        send(&terminal.child, signal);
        assert_eq!(terminal.ended(), 0, "signal {signal}");
    }
}

#[test]
fn the_view_ends_with_the_process_that_it_follows() {
    let mut subject = std::process::Command::new("sleep").arg("1").spawn().unwrap();
    let terminal = Terminal::start(&["--interval", "200ms", "--pid", &subject.id().to_string()]);
    until("a frame", || terminal.shows("process "));
    assert_eq!(terminal.ended(), 0);
    subject.wait().unwrap();
}

#[test]
fn around_a_command_the_terminal_is_the_commands() {
    let terminal = Terminal::start(&["--interval", "50ms", "--", "sleep", "0.3"]);
    let shown = Arc::clone(&terminal.shown);
    assert_eq!(code_of(terminal.child), 0);
    assert_eq!(*shown.lock().unwrap(), "");
}
