//! The protocol between an environment server and a learner: messages, frames, slabs, both ends of a connection.
