//! A stream whose reader looks for a while whether something has come before it goes to sleep, as
//! [`crate::shared`] does where memory is shared. For clients whose every request is a frame: to wake a sleeping
//! reader costs the writer as much time as the reader.

use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::shared::spin::Spinner;
use crate::wait;

/// Requests are small; a buffer takes a frame's header and body in one system call.
const BUFFER_BYTES: usize = 64 << 10;

/// A server's stream of requests.
#[derive(Debug)]
pub struct Awake<S> {
    stream: S,
    spinner: Spinner,
}

impl<S: Read + AsFd> Awake<S> {
    /// `stream`, whose reads wait, with a buffer.
    pub fn buffered(stream: S) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER_BYTES, Self::new(stream))
    }

    fn new(stream: S) -> Self {
        Self { stream, spinner: Spinner::new().of_slow_looks() }
    }
}

impl<S: Read + AsFd> Read for Awake<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.spinner.wait(|| is_readable(&self.stream));
        let outcome = self.stream.read(bytes);
        self.spinner.ready();
        outcome
    }
}

/// What a server reads requests from.
pub trait Incoming: Read {
    /// Whether a read would not wait.
    fn has_come(&self) -> bool;
}

impl<S: Read + AsFd> Incoming for BufReader<Awake<S>> {
    fn has_come(&self) -> bool {
        !self.buffer().is_empty() || is_readable(&self.get_ref().stream)
    }
}

impl Incoming for UnixStream {
    fn has_come(&self) -> bool {
        is_readable(self)
    }
}

impl Incoming for &[u8] {
    fn has_come(&self) -> bool {
        true
    }
}

/// What is wrong with a stream is for the read to say.
fn is_readable(stream: &impl AsFd) -> bool {
    wait::readable(stream, Duration::ZERO).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread::{sleep, spawn};

    #[test]
    fn what_is_buffered_has_come_and_so_has_the_end() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut reader = Awake::buffered(ours);
        assert!(!reader.has_come());
        theirs.write_all(&[7, 8]).unwrap();
        for byte in [7, 8] {
            assert!(reader.has_come());
            let mut read = [0];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(read, [byte]);
        }
        assert!(!reader.has_come());
        drop(theirs);
        assert!(reader.has_come());
    }

    #[test]
    fn what_comes_at_once_late_and_never_is_read_alike() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut reader = Awake::new(ours);
        let mut byte = [0];
        theirs.write_all(&[7]).unwrap();
        assert_eq!((reader.read(&mut byte).unwrap(), byte), (1, [7]));
        let writer = spawn(move || {
            sleep(Duration::from_millis(20));
            theirs.write_all(&[8]).unwrap();
        });
        assert_eq!((reader.read(&mut byte).unwrap(), byte), (1, [8]));
        writer.join().unwrap();
        assert_eq!(reader.read(&mut byte).unwrap(), 0, "its end");
    }
}
