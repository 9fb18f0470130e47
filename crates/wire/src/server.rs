//! The environment server's end of one connection: handshake, requests, answers. What a request means is
//! the server's business; that it is well formed is checked here, before anything is allocated for it.

use std::io::{self, Read, Write};

use crate::WireError;
use crate::frame::{self, HEADER_BYTES, Header, HeaderError, Kind};
use crate::message::{ErrorCode, Hello, Open, Opened, Refusal, Welcome, decode, encode};
use crate::slab::{Slab, SlabLayout};
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
    /// New episodes where `mask` is 1; in all environments if it is empty.
    Reset {
        /// Which session.
        session: u32,
        /// Empty, or a byte an environment.
        mask: &'a [u8],
    },
    /// One step; the bytes are not yet checked against the action space.
    Step {
        /// Which session.
        session: u32,
        /// The actions as they came; see [`discrete_actions`] and [`continuous_actions`].
        actions: &'a [u8],
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
        /// What the client says is one.
        snapshot: &'a [u8],
    },
}

impl<R: Read, W: Write> Connection<R, W> {
    /// Reads the client's hello and answers with `spec`. `None` if the client went away without a word, as a
    /// probe of the socket does. `max_envs` is the largest batch, which bounds what a frame may carry.
    ///
    /// # Errors
    /// If the client does not speak this protocol; it is told so.
    pub fn accept(reader: R, writer: W, server: &str, spec: &Spec) -> Result<Option<Self>, WireError> {
        let actions = 4 * spec.max_envs as usize * spec.action.values_per_env();
        let max_body = actions.max(MAX_REQUEST_BYTES);
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
        };
        let Some(header) = connection.read_frame()? else { return Ok(None) };
        if header.kind != Kind::Hello {
            return Err(connection.hang_up(format!("{:?} where a hello was due", header.kind)));
        }
        let hello: Hello = match decode(connection.body_bytes(header)) {
            Ok(hello) => hello,
            Err(what) => return Err(connection.hang_up(what)),
        };
        let spec = spec.to_json().map_err(io::Error::other)?;
        let welcome = Welcome { server: server.to_owned(), capabilities: 0, spec };
        connection.client = hello.client;
        connection.answer(Kind::Welcome, 0, &welcome)?;
        Ok(Some(connection))
    }

    /// The client's name for itself.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The next request, or `None` when the client is done: it said goodbye, closed its end, or died.
    /// A frame whose body does not decode is refused and the next one read.
    ///
    /// # Errors
    /// If what comes is not this protocol, so that the connection cannot go on; the client is told so.
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>, WireError> {
        loop {
            let Some(header) = self.read_frame()? else { return Ok(None) };
            let session = header.session;
            match header.kind {
                Kind::Goodbye => return Ok(None),
                Kind::Open => match decode(self.body_bytes(header)) {
                    Ok(open) => return Ok(Some(Request::Open { session, open })),
                    Err(what) => self.refuse(session, ErrorCode::BadFrame, format!("open: {what}"))?,
                },
                Kind::Reset => {
                    return Ok(Some(Request::Reset { session, mask: self.body_bytes(header) }));
                }
                Kind::Step => {
                    return Ok(Some(Request::Step { session, actions: self.body_bytes(header) }));
                }
                Kind::Close => return Ok(Some(Request::Close { session })),
                Kind::Snapshot => return Ok(Some(Request::Snapshot { session })),
                Kind::Restore => {
                    return Ok(Some(Request::Restore { session, snapshot: self.body_bytes(header) }));
                }
                other => {
                    let text = format!("a client does not send {other:?} here");
                    self.refuse(session, ErrorCode::BadFrame, text)?;
                }
            }
        }
    }

    /// Says that a session is open.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn opened(&mut self, session: u32, opened: &Opened) -> Result<(), WireError> {
        self.answer(Kind::Opened, session, opened)
    }

    /// Sends what an exchange brought.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn slab(&mut self, session: u32, slab: &Slab) -> Result<(), WireError> {
        Ok(frame::write(&mut self.writer, Kind::Slab, session, slab.bytes())?)
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
        Ok(frame::write(&mut self.writer, Kind::Closed, session, &[])?)
    }

    /// Refuses a request with one line that names the object and the way out.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn refuse(&mut self, session: u32, code: ErrorCode, text: String) -> Result<(), WireError> {
        self.answer(Kind::Refused, session, &Refusal { code, text })
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

/// The discrete actions in a step's bytes, if they are a whole number of them.
pub fn discrete_actions(bytes: &[u8]) -> Option<&[i32]> {
    bytemuck::try_cast_slice(bytes).ok()
}

/// The continuous actions in a step's bytes, if they are a whole number of values.
pub fn continuous_actions(bytes: &[u8]) -> Option<&[f32]> {
    bytemuck::try_cast_slice(bytes).ok()
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
