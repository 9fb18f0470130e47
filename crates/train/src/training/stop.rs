//! Being asked to stop: Ctrl-C and SIGTERM set a flag that loops look at, so that what was learnt is kept.
//! A second signal ends the program at once.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether, and by which signal, the program was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
}

/// The error that a loop ends with once it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Stop {
    /// One that is never asked for, for whoever cannot be interrupted.
    pub fn never() -> Self {
        Self::default()
    }

    /// One that has been asked for.
    #[cfg(test)]
    pub fn asked() -> Self {
        Self { signal: Arc::new(AtomicUsize::new(SIGTERM as usize)) }
    }

    /// Listens for Ctrl-C and SIGTERM from now on.
    ///
    /// # Errors
    /// If the system takes no handler.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, a second one finds it set.
            let code = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&asked))?;
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
        }
        Ok(stop)
    }

    /// Asks to stop once standard input ends. A member of a group has a pipe there that nothing is written to:
    /// its end says that the group is gone, however it went.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn when_standard_input_ends(&self) -> Result<()> {
        let signal = Arc::clone(&self.signal);
        let listen = move || {
            let mut buffer = [0; 64];
            while std::io::stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
            signal.store(SIGTERM as usize, Ordering::Relaxed);
        };
        std::thread::Builder::new().name("group".into()).spawn(listen)?;
        Ok(())
    }

    /// Goes on unless it was asked to stop.
    ///
    /// # Errors
    /// If it was.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.signal.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(Interrupted) }
    }

    /// What a shell expects of a program that the signal ended: 130 for Ctrl-C, 143 for SIGTERM; none if
    /// there was no signal.
    pub fn exit_code(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::Relaxed);
        (signal != 0).then(|| (128 + signal).min(255) as u8)
    }
}
