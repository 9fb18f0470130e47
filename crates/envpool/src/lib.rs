//! Serves a batched multi-core trading environment on stdin and stdout or a Unix socket.
