//! What can go wrong between two ends of a connection, told apart as far as callers act differently.

use std::io;
use std::time::Duration;

use crate::PROTOCOL_VERSION;
use crate::message::ErrorCode;

/// An error of the exchange.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody accepts connections at an address.
    #[error("nobody listens on {address} (waited {:.0} s); start `envpool --listen {address} FEATURES…` first, or mend the address", waited.as_secs_f64())]
    NobodyListens {
        /// The address as given.
        address: String,
        /// How long was waited.
        waited: Duration,
    },
    /// An address that cannot be connected to, by this user or at all.
    #[error("cannot connect to {address}: {cause} ({})", way_in(cause))]
    CannotConnect {
        /// The address as given.
        address: String,
        /// Why.
        cause: io::Error,
    },
    /// An address that is not of the form `unix:PATH`.
    #[error("address {0:?} is not of the form unix:PATH")]
    BadAddress(String),
    /// A server command that could not be started.
    #[error("cannot start {command:?}: {cause}")]
    CannotStart {
        /// The program.
        command: String,
        /// Why.
        cause: io::Error,
    },
    /// The other side closed the connection, or died.
    #[error("{peer} went away{detail}")]
    PeerGone {
        /// Who.
        peer: String,
        /// How it ended, where that is known.
        detail: String,
    },
    /// The other side did not answer in time.
    #[error("{peer} has not answered for {:.0} s; is it stopped, or the machine overloaded?", waited.as_secs_f64())]
    Timeout {
        /// Who.
        peer: String,
        /// The limit.
        waited: Duration,
    },
    /// The other side speaks another version.
    #[error(
        "{peer} speaks protocol version {theirs} and this program speaks {PROTOCOL_VERSION}; install both from one release"
    )]
    Version {
        /// Who.
        peer: String,
        /// Its version.
        theirs: u16,
    },
    /// Bytes that are no frame, or a frame that makes no sense here. The connection cannot go on.
    #[error("{peer} sent something that is not this protocol: {what}")]
    Garbled {
        /// Who.
        peer: String,
        /// What was wrong.
        what: String,
    },
    /// The server refused a request and its state is as before.
    #[error("{server} refused: {text}")]
    Refused {
        /// The server's name.
        server: String,
        /// What kind of refusal.
        code: ErrorCode,
        /// The server's words.
        text: String,
    },
    /// The operating system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What to do about an address that the system does not connect to.
fn way_in(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "connect as the server's user, or give its socket and folder to a group and start it with --socket-mode 0660"
        }
        io::ErrorKind::WouldBlock => "the server is overrun; try again",
        _ => "mend the address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_connect_is_told_where_why_and_the_way_in() {
        let said = |kind: io::ErrorKind| {
            WireError::CannotConnect { address: "unix:/run/s".into(), cause: kind.into() }.to_string()
        };
        let denied = said(io::ErrorKind::PermissionDenied);
        assert!(denied.starts_with("cannot connect to unix:/run/s: permission denied ("), "{denied}");
        assert!(denied.contains("--socket-mode 0660"), "{denied}");
        assert!(said(io::ErrorKind::NotADirectory).ends_with("(mend the address)"));
    }
}
