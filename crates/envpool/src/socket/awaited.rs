//! A stream whose reads end at some moment. A limit for each read would begin anew with every byte that trickles in.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A client's requests.
#[derive(Debug)]
pub(super) struct Awaited<'a> {
    stream: &'a UnixStream,
    until: Mutex<Option<Instant>>,
}

impl<'a> Awaited<'a> {
    /// `stream`, whose reads take as long as they do.
    pub(super) fn new(stream: &'a UnixStream) -> Self {
        Self { stream, until: Mutex::default() }
    }

    /// From now on reads end when `limit` is over, if there is one.
    pub(super) fn wait_for(&self, limit: Option<Duration>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) =
            limit.map(|limit| Instant::now() + limit);
        let _ = self.stream.set_read_timeout(limit);
    }
}

impl Read for &Awaited<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(until) = *self.until.lock().unwrap_or_else(PoisonError::into_inner) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        Read::read(&mut &*self.stream, bytes)
    }
}

impl AsFd for Awaited<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
