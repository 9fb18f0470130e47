//! The client's byte stream: frames out and in with an end to every wait, and the process at the other end
//! where it is ours.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::early::{Early, Sending};
use crate::frame::{self, HEADER_BYTES, Header, HeaderError, Kind};
use crate::message::{MAX_CONTROL_BYTES, Refusal, decode, encode};
use crate::shared::spin::Spinner;
use crate::{WireError, wait};

/// How long a server may take to answer a step, reset or open. Generous: stepping takes microseconds, so
/// this only ends the wait for a server that is stopped.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a server that was told to go may take before it is killed.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// How long a server may still take to answer once the caller has been asked to stop.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// The most refusals that are kept for later: of as many requests as may be in flight.
const MAX_KEPT_REFUSALS: usize = 1 << 16;
/// How often a caller that waits looks whether it was asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The two directions of a connection, and the process at the other end if it is ours.
#[derive(Debug)]
pub(crate) struct Channel {
    reader: File,
    writer: Option<File>,
    child: Option<Child>,
    peer: String,
    hurry: Hurry,
    early: Early,
    /// Refusals of requests that are not waited for yet, each with its session, the oldest first.
    refusals: VecDeque<(u32, WireError)>,
    spinner: Spinner,
}

impl Channel {
    pub(crate) fn new(
        reader: File,
        writer: File,
        child: Option<Child>,
        peer: String,
    ) -> Result<Self, WireError> {
        wait::set_nonblocking(&reader)?;
        wait::set_nonblocking(&writer)?;
        Ok(Self {
            reader,
            writer: Some(writer),
            child,
            peer,
            hurry: Hurry::default(),
            early: Early::default(),
            refusals: VecDeque::new(),
            spinner: Spinner::new().of_slow_looks(),
        })
    }

    /// Gives up waiting soon after `asked` says that the caller was asked to stop.
    pub(crate) fn give_up_when(&mut self, asked: impl Fn() -> bool + Send + 'static) {
        self.hurry.asked = Some(Box::new(asked));
    }

    /// The process id of a server that was spawned.
    pub(crate) fn child_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn garbled(&self, what: String) -> WireError {
        WireError::Garbled { peer: self.peer.clone(), what }
    }

    pub(crate) fn send_message(
        &mut self,
        kind: Kind,
        session: u32,
        message: &impl serde::Serialize,
    ) -> Result<(), WireError> {
        let body = encode(message).map_err(|what| self.garbled(what))?;
        self.send(kind, session, &body)
    }

    pub(crate) fn send(&mut self, kind: Kind, session: u32, body: &[u8]) -> Result<(), WireError> {
        let Some(writer) = &mut self.writer else {
            return Err(self.gone());
        };
        let (reader, early, hurry) = (&mut self.reader, &mut self.early, &self.hurry);
        let mut out = Sending { writer, reader, early, limit: ANSWER_LIMIT, hurry };
        match frame::write(&mut out, kind, session, body) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Err(self.last_words())
            }
            Err(error) => Err(self.explain(error, ANSWER_LIMIT)),
        }
    }

    /// Why a peer reads no more. What it said before it went can still be read, and is why where it is a refusal or a
    /// goodbye.
    fn last_words(&mut self) -> WireError {
        match self.receive_header(Duration::ZERO) {
            Ok(header) if header.kind == Kind::Refused => self.receive_refusal(header),
            Ok(_) | Err(WireError::Timeout { .. }) => self.gone(),
            Err(error) => error,
        }
    }

    /// The header of an answer for `session` that is likely to come soon.
    pub(crate) fn receive_header_soon(&mut self, session: u32, limit: Duration) -> Result<Header, WireError> {
        if self.early.is_empty() {
            let reader = &self.reader;
            // What is wrong with the stream is for the read to say.
            self.spinner.wait(|| wait::readable(reader, Duration::ZERO).unwrap_or(true));
        }
        let outcome = self.receive_header_for(session, limit);
        self.spinner.ready();
        outcome
    }

    /// The header of the next answer for `session`. Where requests are posted for several sessions, the server may have
    /// refused one of another session first; that is kept for its turn.
    pub(crate) fn receive_header_for(&mut self, session: u32, limit: Duration) -> Result<Header, WireError> {
        loop {
            let header = self.receive_header(limit)?;
            if self.is_for(session, header)? {
                return Ok(header);
            }
        }
    }

    /// The same, and the descriptors that come with it: only over a Unix socket.
    pub(crate) fn receive_header_and_descriptors_for(
        &mut self,
        session: u32,
        limit: Duration,
    ) -> Result<(Header, Vec<OwnedFd>), WireError> {
        loop {
            let (header, descriptors) = self.receive_header_and_descriptors(limit)?;
            if self.is_for(session, header)? {
                return Ok((header, descriptors));
            }
        }
    }

    /// Whether an answer is for `session`, and not a refusal of another, which is then kept.
    fn is_for(&mut self, session: u32, header: Header) -> Result<bool, WireError> {
        let is_for = header.kind != Kind::Refused || [0, session].contains(&header.session);
        if !is_for {
            self.keep_refusal(header)?;
        }
        Ok(is_for)
    }

    /// Reads a refusal, and keeps it until its session is waited for.
    pub(crate) fn keep_refusal(&mut self, header: Header) -> Result<(), WireError> {
        match self.receive_refusal(header) {
            refusal @ WireError::Refused { .. } if self.refusals.len() < MAX_KEPT_REFUSALS => {
                self.refusals.push_back((header.session, refusal));
                Ok(())
            }
            WireError::Refused { .. } => Err(self.garbled("more refusals than requests".into())),
            error => Err(error),
        }
    }

    /// The oldest refusal that is kept for `session`.
    pub(crate) fn kept_refusal(&mut self, session: u32) -> Option<WireError> {
        let at = self.refusals.iter().position(|(of, _)| *of == session)?;
        self.refusals.remove(at).map(|(_, refusal)| refusal)
    }

    pub(crate) fn receive_header(&mut self, limit: Duration) -> Result<Header, WireError> {
        let mut bytes = [0; HEADER_BYTES];
        self.receive_exact(&mut bytes, limit)?;
        self.decode_header(&bytes)
    }

    fn decode_header(&self, bytes: &[u8; HEADER_BYTES]) -> Result<Header, WireError> {
        let header = Header::decode(bytes).map_err(|error| match error {
            HeaderError::Version(theirs) => WireError::Version { peer: self.peer.clone(), theirs },
            HeaderError::Magic(bytes) => self
                .garbled(format!("{:?} (only frames may be on its stdout)", String::from_utf8_lossy(&bytes))),
            other => self.garbled(format!("{other:?}")),
        })?;
        if header.kind == Kind::Goodbye {
            return Err(WireError::PeerGone {
                peer: self.peer.clone(),
                detail: ": it was told to end".into(),
            });
        }
        Ok(header)
    }

    fn receive_header_and_descriptors(
        &mut self,
        limit: Duration,
    ) -> Result<(Header, Vec<OwnedFd>), WireError> {
        let mut bytes = [0; HEADER_BYTES];
        let mut descriptors = Vec::new();
        if !self.early.is_empty() {
            // Not what is asked for, and without descriptors.
            self.receive_exact(&mut bytes, limit)?;
            return Ok((self.decode_header(&bytes)?, descriptors));
        }
        let mut patient = Patient { file: &mut self.reader, limit, hurry: &self.hurry };
        let mut filled = 0;
        while filled < HEADER_BYTES {
            let receive =
                |file: &mut File| receive_with_descriptors(file, &mut bytes[filled..], &mut descriptors);
            match patient.retry(receive, wait::readable) {
                Ok(0) => return Err(self.gone()),
                Ok(received) => filled += received,
                Err(error) => return Err(self.explain(error, limit)),
            }
        }
        Ok((self.decode_header(&bytes)?, descriptors))
    }

    pub(crate) fn receive_message<M: serde::de::DeserializeOwned>(
        &mut self,
        header: Header,
        due: Kind,
    ) -> Result<M, WireError> {
        if header.kind == Kind::Refused {
            return Err(self.receive_refusal(header));
        }
        if header.kind != due {
            return Err(self.garbled(format!("{:?} where {due:?} was due", header.kind)));
        }
        self.receive_control(header)
    }

    pub(crate) fn receive_refusal(&mut self, header: Header) -> WireError {
        match self.receive_control::<Refusal>(header) {
            Ok(refusal) => {
                WireError::Refused { server: self.peer.clone(), code: refusal.code, text: refusal.text }
            }
            Err(error) => error,
        }
    }

    fn receive_control<M: serde::de::DeserializeOwned>(&mut self, header: Header) -> Result<M, WireError> {
        if header.length > MAX_CONTROL_BYTES as u64 {
            return Err(self.garbled(format!("a control message of {} bytes", header.length)));
        }
        let mut body = vec![0; header.length as usize];
        self.receive_exact(&mut body, ANSWER_LIMIT)?;
        decode(&body).map_err(|what| self.garbled(what))
    }

    pub(crate) fn receive_exact(&mut self, bytes: &mut [u8], limit: Duration) -> Result<(), WireError> {
        let n_early = self.early.take(bytes);
        let mut patient = Patient { file: &mut self.reader, limit, hurry: &self.hurry };
        let outcome = patient.read_exact(&mut bytes[n_early..]);
        outcome.map_err(|error| self.explain(error, limit))
    }

    /// An operating system's error as what it means here: a peer that is slow, or gone.
    fn explain(&mut self, error: io::Error, limit: Duration) -> WireError {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let waited = if self.hurry.gave_up.get() { LAST_PATIENCE } else { limit };
                WireError::Timeout { peer: self.peer.clone(), waited }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.gone()
            }
            _ => error.into(),
        }
    }

    fn gone(&mut self) -> WireError {
        let detail = match self.end_child(Duration::from_millis(500)) {
            Some(status) => format!(" ({status}); its own message, if any, stands above"),
            None => String::new(),
        };
        WireError::PeerGone { peer: self.peer.clone(), detail }
    }

    /// Closes our end, waits up to `limit` for a spawned server to end by itself, and kills it after.
    fn end_child(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        self.writer = None;
        let mut child = self.child.take()?;
        // One that does not answer would not go by itself either.
        let limit = if self.hurry.gave_up.get() { Duration::ZERO } else { limit };
        let deadline = Instant::now() + limit;
        let mut killed = false;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
                Ok(None) if Instant::now() >= deadline && !killed => {
                    // Its end comes from the kernel now, so the wait below is short.
                    let _ = child.kill();
                    killed = true;
                }
                Ok(None) => sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Reads what is there, and takes the descriptors that come with it, none of which a child of ours inherits.
fn receive_with_descriptors(
    socket: &File,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    #[cfg(not(target_os = "linux"))]
    for descriptor in descriptors.iter() {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(received)
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.end_child(EXIT_LIMIT);
    }
}

/// Whether a wait is to end early.
#[derive(Default)]
pub(crate) struct Hurry {
    asked: Option<Box<dyn Fn() -> bool + Send>>,
    since: Cell<Option<Instant>>,
    /// Whether a wait has ended early: then none is begun any more.
    gave_up: Cell<bool>,
}

impl Hurry {
    /// Waits until `file` is `ready`, the time is up, or the caller has been asked to stop and has waited a moment
    /// longer. Says whether it is ready.
    pub(crate) fn wait(
        &self,
        file: &File,
        limit: Duration,
        ready: impl Fn(&File, Duration) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let Some(asked) = &self.asked else {
            return ready(file, limit);
        };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = if self.gave_up.get() { Duration::ZERO } else { left.min(LOOK_EVERY) };
            if ready(file, slice)? {
                return Ok(true);
            }
            if self.since.get().is_none() && asked() {
                self.since.set(Some(Instant::now()));
            }
            let is_over = self.since.get().is_some_and(|since| since.elapsed() >= LAST_PATIENCE);
            if is_over {
                self.gave_up.set(true);
            }
            if is_over || left.is_zero() {
                return Ok(false);
            }
        }
    }
}

impl fmt::Debug for Hurry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hurry")
            .field("since", &self.since)
            .field("gave_up", &self.gave_up)
            .finish_non_exhaustive()
    }
}

/// A file whose reads wait, but not for ever: each byte of progress starts the limit anew.
struct Patient<'a> {
    file: &'a mut File,
    limit: Duration,
    hurry: &'a Hurry,
}

impl Patient<'_> {
    fn retry(
        &mut self,
        mut attempt: impl FnMut(&mut File) -> io::Result<usize>,
        ready: impl Fn(&File, Duration) -> io::Result<bool>,
    ) -> io::Result<usize> {
        loop {
            match attempt(self.file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.hurry.wait(self.file, self.limit, &ready)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.retry(|file| file.read(bytes), wait::readable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_refusal_is_heard_also_by_whom_it_reaches_before_he_has_written() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = |stream: &UnixStream| File::from(OwnedFd::from(stream.try_clone().unwrap()));
        let mut channel = Channel::new(file(&ours), file(&ours), None, "envpool".into()).unwrap();
        let refusal = Refusal { code: crate::message::ErrorCode::TooMany, text: "no room".into() };
        frame::write(&mut &theirs, Kind::Refused, 0, &encode(&refusal).unwrap()).unwrap();
        drop(theirs);
        let error = channel.send(Kind::Hello, 0, b"hello").unwrap_err();
        assert_eq!(error.to_string(), "envpool refused: no room");
        let error = channel.send(Kind::Hello, 0, b"hello").unwrap_err();
        assert!(matches!(error, WireError::PeerGone { .. }), "{error}");
    }

    #[test]
    fn whoever_is_asked_to_stop_gives_up_on_a_silent_server() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = |stream: &UnixStream| File::from(OwnedFd::from(stream.try_clone().unwrap()));
        let mut channel = Channel::new(file(&ours), file(&ours), None, "envpool".into()).unwrap();
        let looks = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&looks);
        // The third look finds that it was asked.
        channel.give_up_when(move || seen.fetch_add(1, Ordering::Relaxed) == 2);
        let error = channel.receive_header(ANSWER_LIMIT).unwrap_err();
        assert!(matches!(error, WireError::Timeout { waited: LAST_PATIENCE, .. }), "{error}");
        assert_eq!(looks.load(Ordering::Relaxed), 3);
        // What is there is read all the same; what is not is not waited for.
        frame::write(&mut &theirs, Kind::Closed, 1, &[]).unwrap();
        assert_eq!(channel.receive_header(ANSWER_LIMIT).unwrap().kind, Kind::Closed);
        assert!(matches!(channel.receive_header(ANSWER_LIMIT), Err(WireError::Timeout { .. })));
    }
}
