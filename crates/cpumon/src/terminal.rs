//! The terminal of the live view: entered once, given back on any end that a process can notice.
//!
//! A handful of escape sequences that every terminal of the last decades knows, and two calls for the size and
//! the keys, are all that the view needs; a library for terminals would be many times as much code.

use std::io::{self, IsTerminal, Read, Write};
use std::mem::MaybeUninit;

use signal_hook::consts::SIGTSTP;

/// The second screen, no cursor, and no wrapping: a name in wide letters may take more room than it has letters.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Whether standard output is a terminal that this process may draw on: one that understands, and whose keys go
/// to this process rather than to one in the foreground.
pub fn is_ours() -> bool {
    let understands = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    // SAFETY: both calls take plain numbers and only look.
    understands && unsafe { libc::tcgetpgrp(libc::STDOUT_FILENO) == libc::getpgrp() }
}

/// Columns and rows of the terminal.
pub fn size() -> (usize, usize) {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the call fills the structure, which is plain numbers and valid when zeroed.
    let (failed, size) = unsafe {
        (libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()), size.assume_init())
    };
    if failed != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return (80, 24);
    }
    (usize::from(size.ws_col), usize::from(size.ws_row))
}

/// A terminal that was taken over, and is given back when this is dropped.
pub struct Screen {
    keys: Option<libc::termios>,
}

impl Screen {
    /// Takes the terminal over.
    pub fn enter() -> Self {
        let screen = Self { keys: key_settings() };
        screen.take();
        screen
    }

    fn take(&self) {
        if let Some(saved) = self.keys {
            let mut quiet = saved;
            // Keys arrive at once and are not shown; those that send signals still do.
            quiet.c_lflag &= !(libc::ECHO | libc::ICANON);
            set_keys(&quiet);
        }
        write(ENTER);
    }

    fn give_back(&self) {
        write(LEAVE);
        if let Some(saved) = &self.keys {
            set_keys(saved);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn key_settings() -> Option<libc::termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let mut settings = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: the call fills the structure, which is plain numbers and valid when zeroed.
    unsafe {
        (libc::tcgetattr(libc::STDIN_FILENO, settings.as_mut_ptr()) == 0).then(|| settings.assume_init())
    }
}

fn set_keys(settings: &libc::termios) {
    // SAFETY: the settings came from tcgetattr.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, settings) };
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    // A terminal that is gone needs nothing any more.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Stops this process as Ctrl-Z does, with the terminal given back meanwhile.
pub fn suspend(screen: Option<&Screen>) -> io::Result<()> {
    if let Some(screen) = screen {
        screen.give_back();
    }
    signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
    if let Some(screen) = screen {
        screen.take();
    }
    Ok(())
}

/// Waits for the key `q`; false if there will be no keys.
pub fn wait_for_quit() -> bool {
    let mut input = io::stdin();
    let mut key = [0];
    while input.is_terminal() && matches!(input.read(&mut key), Ok(1)) {
        if matches!(key[0], b'q' | b'Q') {
            return true;
        }
    }
    false
}
