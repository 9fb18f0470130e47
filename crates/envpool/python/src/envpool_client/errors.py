"""What can go wrong between this program and a server. Every text is one line that names the way out."""

from __future__ import annotations


class EnvpoolError(RuntimeError):
    """Any error of the exchange."""


class NotReached(EnvpoolError):
    """A server that cannot be started, or an address where nobody listens."""


class ServerGone(EnvpoolError):
    """The server closed the connection, or died."""


class ServerTimeout(EnvpoolError):
    """The server did not answer in time."""


class ProtocolError(EnvpoolError):
    """Bytes that are not this protocol, or not this version of it."""


class Refused(EnvpoolError):
    """The server refused a request; its state is as before, and the connection goes on."""

    def __init__(self, server: str, code: str, text: str) -> None:
        super().__init__(f"{server} refused: {text}")
        self.code = code
        """The kind: `bad-frame`, `bad-session`, `bad-open`, `bad-action`, `too-many` or `shutting-down`."""
        self.text = text
        """The server's words."""
