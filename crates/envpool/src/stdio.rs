//! Serving the one client at the other end of stdin and stdout.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use anyhow::Result;
use cli::UsageError;
use wire::{Awake, Carrier};

use crate::client::converse;
use crate::served::Served;
use crate::stop::{self, Gate};

/// Refuses to speak a binary protocol with somebody at a keyboard.
pub fn check() -> Result<(), UsageError> {
    if io::stdin().is_terminal() {
        let text = "stdin is a terminal, and envpool speaks a binary protocol there (let a learner start it, as in \
                    `train ppo -- envpool …`, or serve on a socket with --listen unix:PATH)";
        return Err(UsageError(text.into()));
    }
    Ok(())
}

/// Has a signal end the process from now on. To be called before anything is loaded: process 1 of a container has
/// no other end while it loads.
pub fn stop_on_signals() -> Result<Gate> {
    let gate = Gate::default();
    stop::on_signal(stop::catch_signals()?, gate.clone(), true, || ())?;
    Ok(gate)
}

/// Serves until the client is done, or `gate` closes.
pub fn serve(served: &Served, gate: &Gate) -> Result<()> {
    // Plain files, for the standard streams of the library buffer lines and lock.
    let reader = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let writer = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    for stream in [&reader, &writer] {
        // A client may have left its own mode on a stream that it shares with us.
        rustix::io::ioctl_fionbio(stream, false).map_err(io::Error::from)?;
        wire::wait::widen_pipe(stream);
    }
    Ok(converse(served, gate, Carrier::Pipes, Awake::buffered(reader), writer, |_| ())?)
}
