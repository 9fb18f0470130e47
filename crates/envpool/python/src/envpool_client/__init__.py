"""A Gymnasium vector environment over an envpool server, and the judgement of a policy on held-out days.

Layout
------
errors         what can go wrong, told apart as far as callers act differently
protocol       frames, control messages and slabs: the bytes, and nothing that touches a file
specification  what a server says that it serves
channel        the byte stream and the process at its other end; every wait has an end
memory         memory that the server shares with us
connection     the handshake, and sessions on one connection
arrays         actions and infos as arrays
opened         what both environments share: a connection of their own, and the session on it
vector_env     `VectorEnv`, a `gymnasium.vector.VectorEnv`
rows           rows of several answers put together, for batches that do not come out even
async_env      `AsyncEnv`: some environments step while the policy looks at others
statistics     trades and figures out of a trace
evaluate       `evaluate`, a policy over the held-out days
sb3            `Sb3VecEnv` for Stable-Baselines3; imported only when asked for
"""

from .async_env import AsyncEnv
from .connection import Connection, Session
from .errors import EnvpoolError, NotReached, ProtocolError, Refused, ServerGone, ServerTimeout
from .evaluate import Evaluation, evaluate
from .specification import Specification
from .vector_env import VectorEnv

__all__ = [
    "AsyncEnv",
    "Connection",
    "EnvpoolError",
    "Evaluation",
    "NotReached",
    "ProtocolError",
    "Refused",
    "ServerGone",
    "ServerTimeout",
    "Session",
    "Specification",
    "VectorEnv",
    "evaluate",
]
__version__ = "0.1.0"
