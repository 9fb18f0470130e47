"""A Gymnasium vector environment over an envpool server, and the judgement of a policy on held-out days.

Layout
------
errors         what can go wrong, told apart as far as callers act differently
protocol       frames and control messages: the bytes, and nothing that touches a file
slab           what an exchange brings, as views that are checked
specification  what a server says that it serves
channel        the byte stream and the process at its other end; every wait has an end
awake          how long whoever waits looks before it sleeps
memory         memory that the server shares with us
barrier        memory barriers, where Python has any
posts          steps that are posted in shared memory, without a frame
connection     the handshake, and the exchanges of one connection
session        a batch of environments on a connection
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
from .connection import Connection
from .errors import EnvpoolError, NotReached, ProtocolError, Refused, ServerGone, ServerTimeout
from .evaluate import Evaluation, evaluate
from .session import Session
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
