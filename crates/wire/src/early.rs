//! Reading while writing. Where several requests are in flight, a server may wait for its answers to be read
//! before it reads on; whoever only writes then waits for a server that waits for it.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::time::Duration;

use crate::channel::Hurry;
use crate::wait;

/// The most that is kept of answers that come early. Nobody who asked for something sensible is sent as much.
const MAX_EARLY_BYTES: usize = 1 << 30;

/// Answers that came while a request was being written.
#[derive(Debug, Default)]
pub(crate) struct Early {
    bytes: Vec<u8>,
    /// How many of them have been taken.
    n_taken: usize,
    is_at_end: bool,
}

impl Early {
    /// Whether nothing came early.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Fills the front of `out` with what came first; how much of it.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> usize {
        let left = &self.bytes[self.n_taken..];
        let n = left.len().min(out.len());
        out[..n].copy_from_slice(&left[..n]);
        self.n_taken += n;
        if self.n_taken == self.bytes.len() {
            self.bytes.clear();
            self.n_taken = 0;
        }
        n
    }

    /// Reads what is there, if anything.
    fn read(&mut self, reader: &mut File) -> io::Result<()> {
        let mut piece = [0; 1 << 14];
        match reader.read(&mut piece) {
            Ok(0) => self.is_at_end = true,
            Ok(n) => self.bytes.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether more may come, and is taken.
    fn is_open(&self) -> bool {
        !self.is_at_end && self.bytes.len() < MAX_EARLY_BYTES
    }
}

/// A file that is written to, and another that is read meanwhile where writing must wait.
pub(crate) struct Sending<'a> {
    pub(crate) writer: &'a mut File,
    pub(crate) reader: &'a mut File,
    pub(crate) early: &'a mut Early,
    pub(crate) limit: Duration,
    pub(crate) hurry: &'a Hurry,
}

impl Sending<'_> {
    fn retry(&mut self, mut attempt: impl FnMut(&mut File) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match attempt(self.writer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let (reader, reads) = (&*self.reader, self.early.is_open());
            let ready = |writer: &File, limit: Duration| {
                if reads {
                    wait::writable_or_readable(writer, reader, limit)
                } else {
                    wait::writable(writer, limit)
                }
            };
            if !self.hurry.wait(self.writer, self.limit, ready)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if reads {
                self.early.read(self.reader)?;
            }
        }
    }
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(|file| file.write(bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.retry(|file| file.write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{ANSWER_LIMIT, Channel};
    use crate::frame::{self, HEADER_BYTES, Kind};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_that_answers_before_it_reads_on_is_not_waited_for_in_vain() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = OwnedFd::from(ours.try_clone().unwrap());
        let mut channel =
            Channel::new(reader.into(), OwnedFd::from(ours).into(), None, "peer".into()).unwrap();
        // Far more than sockets hold, both ways; it reads nothing until all of its answer is taken.
        let peer = std::thread::spawn(move || {
            let mut first = [0; HEADER_BYTES];
            theirs.read_exact(&mut first).unwrap();
            frame::write(&mut theirs, Kind::Slab, 3, &vec![7; 8 << 20]).unwrap();
            let mut rest = vec![0; 8 << 20];
            theirs.read_exact(&mut rest).unwrap();
            rest.iter().all(|&byte| byte == 5)
        });
        channel.send(Kind::Step, 3, &vec![5; 8 << 20]).unwrap();
        let header = channel.receive_header(ANSWER_LIMIT).unwrap();
        assert_eq!((header.kind, header.length), (Kind::Slab, 8 << 20));
        let mut body = vec![0; 8 << 20];
        channel.receive_exact(&mut body, ANSWER_LIMIT).unwrap();
        assert!(body.iter().all(|&byte| byte == 7) && peer.join().unwrap());
    }
}
