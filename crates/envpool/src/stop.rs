//! The end on a signal: an exchange that has begun is finished, the socket is removed, the exit code is 0.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use wire::frame::{Header, Kind};

use crate::log;

/// How long a signal waits for exchanges that have begun, such as one with a client that does not read.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How long a server on stdin and stdout outlives an interrupt. Ctrl-C reaches the learner in front of it too,
/// which may want to finish what it saves, and ends the server by closing its stdin.
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(3);

/// Lets exchanges in until the server stops, and knows whom to tell that it does.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<()>>, Arc<Mutex<BTreeMap<u64, OwnedFd>>>);

/// A client that will be told; forgotten when this is dropped.
#[derive(Debug)]
pub struct Told {
    gate: Gate,
    number: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.gate.1.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Gate {
    /// Held while one request is answered.
    pub fn enter(&self) -> RwLockReadGuard<'_, ()> {
        // Nothing lies behind the lock that a panic could have left half done.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the client behind `writer` told when the server stops. Nothing if there are no descriptors left for it.
    pub fn tell_at_the_end(&self, writer: &impl AsFd) -> Option<Told> {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let writer = writer.as_fd().try_clone_to_owned().ok()?;
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(number, writer);
        Some(Told { gate: self.clone(), number })
    }

    /// Says goodbye to all clients, but waits for none of them.
    fn say_goodbye(&self) {
        for writer in self.1.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if wire::wait::writable(writer, Duration::ZERO).unwrap_or(false) {
                let _ = rustix::io::write(
                    writer,
                    &Header { kind: Kind::Goodbye, session: 0, length: 0 }.encode(),
                );
            }
        }
    }

    /// Waits until no request is being answered, but not long.
    fn drain(&self) -> Option<std::sync::RwLockWriteGuard<'_, ()>> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        loop {
            match self.0.try_write() {
                Ok(closed) => return Some(closed),
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Has SIGTERM, SIGINT and SIGHUP wait for [`on_signal`] from now on. Also when this is process 1 of a
/// container, where signals without a handler do nothing.
pub fn catch_signals() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Ends the process with code 0 on one of `signals`, after `cleanup`.
pub fn on_signal(
    mut signals: Signals,
    gate: Gate,
    is_stdio: bool,
    cleanup: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name("signals".into()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        log::note("stopping", json!({ "signal": signal_name(signal) }));
        if is_stdio && signal == SIGINT {
            thread::sleep(INTERRUPT_PATIENCE);
        }
        let closed = gate.drain();
        // Where an exchange still goes on, its frame must not be broken into.
        if closed.is_some() {
            gate.say_goodbye();
        }
        cleanup();
        wire::shared::remove_pending();
        std::process::exit(0);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_waits_for_an_exchange_but_not_for_ever() {
        let gate = Gate::default();
        assert!(gate.drain().is_some());
        let held = gate.clone();
        let pass = held.enter();
        let started = Instant::now();
        assert!(gate.drain().is_none());
        assert!(started.elapsed() >= DRAIN_LIMIT);
        drop(pass);
        assert!(gate.drain().is_some());
    }
}
