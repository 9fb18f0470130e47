//! The environment server's end of one connection: handshake, requests, answers. What a request means is
//! the server's business; that it is well formed is checked here, before anything is allocated for it.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::WireError;
use crate::awake::Incoming;
use crate::frame::{self, HEADER_BYTES, Header, HeaderError, Kind};
use crate::layout::SlabLayout;
use crate::message::{CAN_BATCH, ErrorCode, Hello, Open, Opened, Refusal, Welcome, decode, encode};
use crate::shared::exchange::{AnswerKind, Slots};
use crate::shared::server_end::{Posted, ServerEnd};
use crate::slab::{SharedWords, Slab};
use crate::spec::Spec;

/// No request needs a longer control message than this.
const MAX_REQUEST_BYTES: usize = 4096;
/// A longer body is read in pieces of this size, so that only what really comes takes memory.
const PIECE_WORDS: usize = (1 << 20) / 8;

/// One client's connection, as the server sees it.
#[derive(Debug)]
pub struct Connection<R, W> {
    reader: R,
    writer: W,
    client: String,
    // Words, so that actions are aligned for their type.
    body: Vec<u64>,
    max_body: usize,
    max_snapshot: usize,
    values_per_env: usize,
    capabilities: u64,
    shared: ServerEnd,
}

/// What carries a connection's bytes: it decides how memory can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Two pipes, usually to the process that started this one.
    Pipes,
    /// A Unix socket.
    Socket,
}

/// What a client asks for.
#[derive(Debug)]
pub enum Request<'a> {
    /// A new session under this number.
    Open {
        /// The client's number for it.
        session: u32,
        /// What it is to be.
        open: Open,
    },
    /// New episodes where a mask says so.
    Reset {
        /// Which session.
        session: u32,
        /// The slab for the answer, where there are several.
        slot: usize,
        /// The mask as it came: empty, or a byte an environment; the environments' numbers before it where a request
        /// names some. See [`env_ids`].
        body: &'a [u8],
    },
    /// One step; the bytes are not yet checked against the action space.
    Step {
        /// Which session.
        session: u32,
        /// The slab for the answer, where there are several.
        slot: usize,
        /// The actions as they came; see [`discrete_actions`] and [`continuous_actions`]. The environments' numbers
        /// come before them where a request names some.
        body: &'a [u8],
    },
    /// The end of a session.
    Close {
        /// Which session.
        session: u32,
    },
    /// A session's whole state.
    Snapshot {
        /// Which session.
        session: u32,
    },
    /// A session's return to the state of a snapshot.
    Restore {
        /// Which session.
        session: u32,
        /// The slab for the answer, where there are several.
        slot: usize,
        /// What the client says is one.
        snapshot: &'a [u8],
    },
    /// The client has mapped the memory for a session's slab, which is to lie there from now on.
    Share {
        /// Which session.
        session: u32,
    },
}

impl<R: Incoming, W: Write + AsFd> Connection<R, W> {
    /// Reads the client's hello and answers with `spec`. `None` if the client went away without a word, as a
    /// probe of the socket does. `max_envs` is the largest batch, which bounds what a frame may carry.
    ///
    /// # Errors
    /// If the client does not speak this protocol; it is told so.
    pub fn accept(
        reader: R,
        writer: W,
        carrier: Carrier,
        server: &str,
        spec: &Spec,
    ) -> Result<Option<Self>, WireError> {
        // An action and the number of its environment.
        let requests = 4 * spec.max_envs as usize * (spec.action.values_per_env() + 1);
        let max_body = requests.max(MAX_REQUEST_BYTES);
        let largest = Opened {
            n_envs: spec.max_envs,
            obs_len: spec.observation.len,
            n_cost_kinds: spec.cost_kinds.len() as u32,
            trace: true,
        };
        let mut connection = Self {
            reader,
            writer,
            client: "client".into(),
            body: vec![0; max_body.div_ceil(8)],
            max_body,
            max_snapshot: SlabLayout::new(&largest).max_snapshot_bytes(),
            values_per_env: spec.action.values_per_env(),
            capabilities: 0,
            shared: ServerEnd::new(0, carrier),
        };
        let Some(header) = connection.read_frame()? else { return Ok(None) };
        if header.kind != Kind::Hello {
            return Err(connection.hang_up(format!("{:?} where a hello was due", header.kind)));
        }
        let hello: Hello = match decode(connection.body_bytes(header)) {
            Ok(hello) => hello,
            Err(what) => return Err(connection.hang_up(what)),
        };
        connection.shared = ServerEnd::new(hello.capabilities, carrier);
        let capabilities = connection.shared.capabilities() | hello.capabilities & CAN_BATCH;
        connection.capabilities = capabilities;
        let spec = spec.to_json().map_err(io::Error::other)?;
        let welcome = Welcome { server: server.to_owned(), capabilities, spec };
        connection.client = hello.client;
        connection.answer(Kind::Welcome, 0, &welcome)?;
        Ok(Some(connection))
    }

    /// What carries answers.
    pub fn writer(&self) -> &W {
        &self.writer
    }

    /// The client's name for itself.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Whether the next request is likely to come within microseconds, by what the client told of late.
    pub fn is_asked_soon(&self) -> bool {
        self.shared.is_asked_soon()
    }

    /// The next request, or `None` when the client is done: it said goodbye, closed its end, or died.
    /// A frame whose body does not decode is refused and the next one read.
    ///
    /// # Errors
    /// If what comes is not this protocol, so that the connection cannot go on; the client is told so.
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>, WireError> {
        loop {
            match self.shared.take_posted(&mut self.body) {
                Ok(None) => {}
                Ok(Some(Posted { session, slot, bytes })) => {
                    let body = &bytemuck::cast_slice(&self.body)[..bytes];
                    return Ok(Some(Request::Step { session, slot, body }));
                }
                Err(what) => return Err(self.hang_up(what)),
            }
            let reader = &self.reader;
            if self.shared.spin(|| reader.has_come()) || !self.shared.fall_asleep() {
                continue;
            }
            let Some(header) = self.read_frame()? else { return Ok(None) };
            self.shared.woken_by(header.kind);
            let session = header.session;
            match header.kind {
                Kind::Wake if header.length == 0 => {}
                Kind::Map => match *self.body_bytes(header) {
                    [1] => return Ok(Some(Request::Share { session })),
                    [0] => {
                        self.shared.mapped(session, false);
                        self.mapped(session)?;
                    }
                    _ => self.refuse(session, ErrorCode::BadFrame, "map: not one byte, 0 or 1".into())?,
                },
                Kind::Goodbye => return Ok(None),
                Kind::Open => match Open::decode(self.body_bytes(header), self.capabilities) {
                    Ok(open) => return Ok(Some(Request::Open { session, open })),
                    Err(what) => self.refuse(session, ErrorCode::BadFrame, format!("open: {what}"))?,
                },
                Kind::Reset => {
                    let slot = self.shared.take_turn(session);
                    return Ok(Some(Request::Reset { session, slot, body: self.body_bytes(header) }));
                }
                Kind::Step => {
                    let slot = self.shared.take_turn(session);
                    let mut bytes = header.length as usize;
                    if bytes == 0 {
                        bytes = self.shared.copy_request(session, slot, &mut self.body).unwrap_or(0);
                    }
                    let body = &bytemuck::cast_slice(&self.body)[..bytes];
                    return Ok(Some(Request::Step { session, slot, body }));
                }
                Kind::Close => return Ok(Some(Request::Close { session })),
                Kind::Snapshot => return Ok(Some(Request::Snapshot { session })),
                Kind::Restore => {
                    let slot = self.shared.take_turn(session);
                    return Ok(Some(Request::Restore { session, slot, snapshot: self.body_bytes(header) }));
                }
                other => {
                    let text = format!("a client does not send {other:?} here");
                    self.refuse(session, ErrorCode::BadFrame, text)?;
                }
            }
        }
    }

    /// Says that a session is open, and offers it shared memory if the client can map it.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn opened(&mut self, session: u32, open: &Open, opened: &Opened) -> Result<(), WireError> {
        let slots = Slots::of(open, self.values_per_env);
        let slab_bytes = SlabLayout::of(open, opened).total_bytes();
        let (sharing, descriptors) = self.shared.offer(session, slots, slab_bytes);
        if descriptors.is_empty() {
            return self.answer(Kind::Opened, session, &(opened, sharing));
        }
        let body = encode(&(opened, sharing)).map_err(io::Error::other)?;
        let header = Header { kind: Kind::Opened, session, length: body.len() as u64 }.encode();
        let frame = [&header[..], &body].concat();
        let sent = send_with_descriptors(&self.writer, &frame, &descriptors)?;
        Ok(self.writer.write_all(&frame[sent..])?)
    }

    /// The memory that the client has mapped for a session's slabs, one a slot: the answer to [`Request::Share`] is
    /// [`Connection::mapped`], after it is in use. `None` if none was offered.
    pub fn shared_words(&mut self, session: u32) -> Option<Vec<SharedWords>> {
        Some(self.shared.mapped(session, true)?.into_iter().map(SharedWords).collect())
    }

    /// Says that a session uses shared memory from now on, or that it does not.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn mapped(&mut self, session: u32) -> Result<(), WireError> {
        Ok(frame::write(&mut self.writer, Kind::Mapped, session, &[])?)
    }

    /// Sends what an exchange brought, or says that it lies in shared memory.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn slab(&mut self, session: u32, slab: &Slab) -> Result<(), WireError> {
        match self.shared.answer(session, AnswerKind::Slab) {
            Some(false) => return Ok(()),
            Some(true) => return Ok(frame::write(&mut self.writer, Kind::Wake, session, &[])?),
            None if self.shared.is_shared(session) => {
                return Ok(frame::write(&mut self.writer, Kind::Slab, session, &[])?);
            }
            None => {}
        }
        Ok(frame::write(&mut self.writer, Kind::Slab, session, &slab.bytes())?)
    }

    /// Sends a session's whole state.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn snapshotted(&mut self, session: u32, snapshot: &[u8]) -> Result<(), WireError> {
        Ok(frame::write(&mut self.writer, Kind::Snapshotted, session, snapshot)?)
    }

    /// Says that a session is closed.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn closed(&mut self, session: u32) -> Result<(), WireError> {
        self.shared.close(session);
        Ok(frame::write(&mut self.writer, Kind::Closed, session, &[])?)
    }

    /// Refuses a request with one line that names the object and the way out.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn refuse(&mut self, session: u32, code: ErrorCode, text: String) -> Result<(), WireError> {
        self.answer(Kind::Refused, session, &Refusal { code, text })?;
        // The frame comes first: a client that sees the counter move reads it at once.
        self.shared.answer(session, AnswerKind::Frame);
        Ok(())
    }

    fn answer(&mut self, kind: Kind, session: u32, message: &impl serde::Serialize) -> Result<(), WireError> {
        let body = encode(message).map_err(io::Error::other)?;
        Ok(frame::write(&mut self.writer, kind, session, &body)?)
    }

    fn body_bytes(&self, header: Header) -> &[u8] {
        &bytemuck::cast_slice(&self.body)[..header.length as usize]
    }

    /// Reads a whole frame into the body buffer; `None` at the end of the stream between two frames.
    fn read_frame(&mut self) -> Result<Option<Header>, WireError> {
        let mut bytes = [0; HEADER_BYTES];
        if !read_whole(&mut self.reader, &mut bytes)? {
            return Ok(None);
        }
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            Err(HeaderError::Version(theirs)) => {
                let error = WireError::Version { peer: self.client.clone(), theirs };
                let _ = self.refuse(0, ErrorCode::BadFrame, error.to_string());
                return Err(error);
            }
            Err(other) => return Err(self.hang_up(format!("{other:?}"))),
        };
        let most = if header.kind == Kind::Restore { self.max_snapshot } else { self.max_body };
        if header.length > most as u64 {
            return Err(self.hang_up(format!("a body of {} bytes, where {most} are the most", header.length)));
        }
        // A client that dies within a frame has nothing more to say: no error of ours.
        Ok(self.read_body(header.length as usize)?.then_some(header))
    }

    /// Reads a body of `length` bytes; `false` if the stream ends first.
    fn read_body(&mut self, length: usize) -> io::Result<bool> {
        // What a snapshot took is given back at the next request.
        let usual_words = self.max_body.div_ceil(8);
        if self.body.len() > usual_words {
            self.body.truncate(usual_words);
            self.body.shrink_to_fit();
        }
        let mut filled = 0;
        while filled < length {
            if filled == 8 * self.body.len() {
                let words = length.div_ceil(8).min(self.body.len() + PIECE_WORDS);
                self.body.resize(words, 0);
            }
            let end = length.min(8 * self.body.len());
            let piece = &mut bytemuck::cast_slice_mut(&mut self.body)[filled..end];
            if !read_whole(&mut self.reader, piece)? {
                return Ok(false);
            }
            filled = end;
        }
        Ok(true)
    }

    fn hang_up(&mut self, what: String) -> WireError {
        let _ = self.refuse(0, ErrorCode::BadFrame, what.clone());
        WireError::Garbled { peer: self.client.clone(), what }
    }
}

/// The numbers of environments in a request's bytes, if they are a whole number of them.
pub fn env_ids(bytes: &[u8]) -> Option<&[u32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// The discrete actions in a step's bytes, if they are a whole number of them.
pub fn discrete_actions(bytes: &[u8]) -> Option<&[i32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// The continuous actions in a step's bytes, if they are a whole number of values.
pub fn continuous_actions(bytes: &[u8]) -> Option<&[f32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// Sends as much of `bytes` as the socket takes, and `descriptors` with its first byte.
fn send_with_descriptors(socket: &impl AsFd, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let rights: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&rights));
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Fills `bytes`; `false` if the stream ends first.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
