//! The learner's end of a connection: spawn a server or connect to one, read its specification, open
//! sessions, step them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::channel::{ANSWER_LIMIT, Channel};
use crate::frame::Kind;
use crate::layout::SlabLayout;
use crate::message::{
    Actions, CAN_BATCH, CAN_MAP_DESCRIPTORS, CAN_MAP_FILES, CAN_POST, Hello, Open, Opened, Sharing, Welcome,
};
use crate::partial::InParts;
use crate::shared::client_end::ClientEnd;
use crate::shared::exchange::Slots;
use crate::slab::Slab;
use crate::spec::Spec;
use crate::{WireError, wait};

/// How long a spawned server may take to load its tables and say hello.
const START_LIMIT: Duration = Duration::from_secs(300);

/// How actions and slabs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// In shared memory where both sides can map it, in frames elsewhere.
    #[default]
    Shared,
    /// In frames.
    Inline,
}

/// A connection to an environment server.
#[derive(Debug)]
pub struct Client {
    pub(crate) channel: Channel,
    server: String,
    capabilities: u64,
    spec: Spec,
    next_session: u32,
}

/// A batch of environments on a connection, and the slab that the last exchange left.
#[derive(Debug)]
pub struct Session {
    pub(crate) id: u32,
    /// One for each request that may be in flight, where they are the server's; else one that answers are read into.
    pub(crate) slabs: Vec<Slab>,
    latest: usize,
    /// Requests without an answer, the oldest first.
    pub(crate) in_flight: VecDeque<Flight>,
    /// How many requests have had a slab for their answer.
    n_turns: usize,
    pub(crate) shared: Option<ClientEnd>,
    pub(crate) parts: Option<InParts>,
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// Whether it was posted in shared memory, and not sent as a frame.
    pub(crate) is_posted: bool,
    /// Which slab the answer has.
    pub(crate) slot: usize,
}

impl Session {
    /// What the last exchange brought.
    pub fn slab(&self) -> &Slab {
        &self.slabs[self.latest]
    }

    /// Whether its actions and slabs travel in shared memory.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// How many requests have been sent whose answers have not been received.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn must_be_idle(&self, asked: &str) -> Result<(), WireError> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        Err(misuse(format!("{asked} called for a session with a step in flight (receive it first)")))
    }

    /// The slab for the answer to the next request, which is the server's to write from now on.
    pub(crate) fn take_turn(&mut self) -> usize {
        let slot = self.n_turns % self.slabs.len();
        self.n_turns = self.n_turns.wrapping_add(1);
        self.slabs[slot].hand_over();
        slot
    }
}

impl Client {
    /// Starts `command` (a program and its arguments) and talks to it over its standard input and output.
    /// It is told to go, and if need be killed, when this value is dropped.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not speak the protocol.
    pub fn spawn(command: &[OsString], client: &str) -> Result<Self, WireError> {
        Self::spawn_over(command, client, Transport::Shared)
    }

    /// [`Client::spawn`] with a choice of transport.
    ///
    /// # Errors
    /// As [`Client::spawn`].
    pub fn spawn_over(command: &[OsString], client: &str, transport: Transport) -> Result<Self, WireError> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no server command given"))?;
        let name = program.to_string_lossy().into_owned();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| WireError::CannotStart { command: name.clone(), cause })?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both streams were asked for as pipes")
        };
        wait::widen_pipe(&stdin);
        wait::widen_pipe(&stdout);
        let (writer, reader) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
        let name = Path::new(program).file_name().map_or(name, |n| n.to_string_lossy().into_owned());
        let channel = Channel::new(reader.into(), writer.into(), Some(child), name)?;
        Self::greet(channel, client, capabilities(transport, CAN_MAP_FILES))
    }

    /// Connects to a server at `address`, of the form `unix:PATH`, waiting up to `patience` for it to listen.
    ///
    /// # Errors
    /// If nobody listens in time, or whoever does speaks another protocol.
    pub fn connect(address: &str, patience: Duration, client: &str) -> Result<Self, WireError> {
        Self::connect_over(address, patience, client, Transport::Shared)
    }

    /// [`Client::connect`] with a choice of transport.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_over(
        address: &str,
        patience: Duration,
        client: &str,
        transport: Transport,
    ) -> Result<Self, WireError> {
        let path = address
            .strip_prefix("unix:")
            .filter(|path| !path.is_empty())
            .ok_or_else(|| WireError::BadAddress(address.to_owned()))?;
        let deadline = Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(cause) if !is_absence(&cause) => {
                    return Err(WireError::CannotConnect { address: address.to_owned(), cause });
                }
                Err(_) if Instant::now() >= deadline => {
                    return Err(WireError::NobodyListens { address: address.to_owned(), waited: patience });
                }
                Err(_) => sleep(Duration::from_millis(50)),
            }
        };
        let reader = OwnedFd::from(stream.try_clone()?);
        let writer = OwnedFd::from(stream);
        let channel = Channel::new(reader.into(), writer.into(), None, address.to_owned())?;
        Self::greet(channel, client, capabilities(transport, CAN_MAP_DESCRIPTORS))
    }

    fn greet(mut channel: Channel, client: &str, capabilities: u64) -> Result<Self, WireError> {
        let hello = Hello { client: client.to_owned(), capabilities };
        channel.send_message(Kind::Hello, 0, &hello)?;
        let header = channel.receive_header(START_LIMIT)?;
        let welcome: Welcome = channel.receive_message(header, Kind::Welcome)?;
        let spec = Spec::from_json(&welcome.spec).map_err(|what| channel.garbled(what))?;
        let capabilities = capabilities & welcome.capabilities;
        Ok(Self { channel, server: welcome.server, capabilities, spec, next_session: 1 })
    }

    /// Gives up waiting for the server soon after `asked` says that the caller was asked to stop. Without this, a
    /// server that is stopped is waited for as long as one that is slow.
    pub fn give_up_when(&mut self, asked: impl Fn() -> bool + Send + 'static) {
        self.channel.give_up_when(asked);
    }

    /// The server's specification.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The server's name and version.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The process id of a server that was spawned.
    pub fn server_pid(&self) -> Option<u32> {
        self.channel.child_id()
    }

    /// Opens a session. Its environments must be reset before they are stepped.
    ///
    /// # Errors
    /// If the server refuses, or is gone.
    pub fn open(&mut self, open: &Open) -> Result<Session, WireError> {
        let id = self.next_session;
        let body = open.encode(self.capabilities).map_err(misuse)?;
        self.channel.send(Kind::Open, id, &body)?;
        let (header, descriptors) = if self.capabilities & CAN_MAP_DESCRIPTORS == 0 {
            (self.channel.receive_header_for(id, ANSWER_LIMIT)?, Vec::new())
        } else {
            self.channel.receive_header_and_descriptors_for(id, ANSWER_LIMIT)?
        };
        let (opened, sharing): (Opened, Sharing) = self.channel.receive_message(header, Kind::Opened)?;
        if opened.n_envs != open.n_envs || opened.obs_len != self.spec.observation.len {
            return Err(self.channel.garbled("an opened session of other shapes than asked for".into()));
        }
        let agreed = match sharing {
            Sharing::Inline => 0,
            Sharing::Files { .. } => CAN_MAP_FILES,
            Sharing::Descriptors => CAN_MAP_DESCRIPTORS,
        };
        if self.capabilities & agreed != agreed {
            return Err(self.channel.garbled("an offer of memory in a way that was not agreed on".into()));
        }
        self.next_session += 1;
        let layout = SlabLayout::of(open, &opened);
        let mut mapped = None;
        if sharing != Sharing::Inline {
            let slots = Slots::of(open, self.spec.action.values_per_env());
            mapped = ClientEnd::map(&sharing, descriptors, &layout, slots);
            self.channel.send(Kind::Map, id, &[mapped.is_some().into()])?;
            self.receive_nothing(Kind::Mapped, id)?;
        }
        let (shared, slabs) = match mapped {
            Some((shared, slabs)) => (Some(shared), slabs),
            None => (None, vec![Slab::new(layout)]),
        };
        let parts = open.is_partial().then(|| InParts::new(open, self.spec.action.values_per_env()));
        let in_flight = VecDeque::with_capacity(open.max_in_flight() as usize);
        Ok(Session { id, slabs, latest: 0, in_flight, n_turns: 0, shared, parts })
    }

    /// Starts new episodes in all environments; their first observations are then in the slab.
    ///
    /// # Errors
    /// If the server refuses, or is gone.
    pub fn reset(&mut self, session: &mut Session) -> Result<(), WireError> {
        self.reset_where(session, &[])
    }

    /// Starts new episodes where `mask` is 1.
    ///
    /// # Errors
    /// If the server refuses, or is gone.
    pub fn reset_where(&mut self, session: &mut Session, mask: &[u8]) -> Result<(), WireError> {
        session.must_be_whole("reset", "reset_some")?;
        session.must_be_idle("reset")?;
        let slot = session.take_turn();
        self.channel.send(Kind::Reset, session.id, mask)?;
        session.in_flight.push_back(Flight { is_posted: false, slot });
        self.receive(session)
    }

    /// Makes one step in all environments; what it brought is then in the slab.
    ///
    /// # Errors
    /// If the server refuses an action, or is gone.
    pub fn step(&mut self, session: &mut Session, actions: Actions<'_>) -> Result<(), WireError> {
        self.send(session, actions)?;
        self.receive(session)
    }

    /// Sends actions without waiting, so that the caller can do other work while the server steps.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn send(&mut self, session: &mut Session, actions: Actions<'_>) -> Result<(), WireError> {
        let bytes = actions.bytes();
        session.must_be_whole("send", "send_some")?;
        session.must_be_idle("send")?;
        let slot = session.take_turn();
        let is_posted = match &mut session.shared {
            Some(shared) => shared.post(slot, [bytes, &[]], session.id, &mut self.channel)?,
            None => false,
        };
        if !is_posted {
            self.channel.send(Kind::Step, session.id, bytes)?;
        }
        session.in_flight.push_back(Flight { is_posted, slot });
        Ok(())
    }

    /// Waits for what [`Client::send`] asked for, or [`Client::send_some`] longest ago. Sessions must be received in
    /// the order in which they were sent.
    ///
    /// # Errors
    /// If the server refused an action, or is gone.
    pub fn receive(&mut self, session: &mut Session) -> Result<(), WireError> {
        let Some(flight) = session.in_flight.pop_front() else {
            return Err(misuse("receive called for a session with nothing in flight".into()));
        };
        let outcome = self.receive_answer(session, flight);
        match outcome {
            Ok(()) => session.latest = flight.slot,
            Err(WireError::Refused { .. }) => session.slabs[flight.slot].take_back(),
            Err(_) => {}
        }
        if let Some(parts) = &mut session.parts {
            let described = session.slabs[session.latest].env_id();
            let is_other = parts.landed().is_some_and(|asked| asked != described);
            if outcome.is_ok() && is_other {
                return Err(self.channel.garbled("a slab of other environments than asked for".into()));
            }
        }
        outcome
    }

    fn receive_answer(&mut self, session: &mut Session, flight: Flight) -> Result<(), WireError> {
        let slab = &mut session.slabs[flight.slot];
        if let (true, Some(shared)) = (flight.is_posted, &mut session.shared) {
            shared.wait(flight.slot, session.id, &mut self.channel)?;
            return slab.receive().map_err(|what| self.channel.garbled(what));
        }
        if let Some(refusal) = self.channel.kept_refusal(session.id) {
            return Err(refusal);
        }
        let header = self.channel.receive_header_soon(session.id, ANSWER_LIMIT)?;
        if header.kind == Kind::Refused {
            return Err(self.channel.receive_refusal(header));
        }
        if header.kind != Kind::Slab || header.session != session.id {
            return Err(self.channel.garbled(format!("{header:?} where a slab was due")));
        }
        let length = header.length as usize;
        if slab.is_of_server() && length == 0 {
            return slab.receive().map_err(|what| self.channel.garbled(what));
        }
        if slab.is_of_server() || header.length > slab.layout().max_bytes() as u64 {
            return Err(self.channel.garbled(format!("a slab of {length} bytes")));
        }
        self.channel.receive_exact(slab.body_mut(length), ANSWER_LIMIT)?;
        slab.check(length).map_err(|what| self.channel.garbled(what))
    }

    /// The session's whole state, to be kept and given to [`Client::restore`], of this server or of another
    /// one that serves the same.
    ///
    /// # Errors
    /// If the server refuses, or is gone.
    pub fn snapshot(&mut self, session: &Session) -> Result<Vec<u8>, WireError> {
        session.must_be_idle("snapshot")?;
        self.channel.send(Kind::Snapshot, session.id, &[])?;
        let header = self.channel.receive_header_for(session.id, ANSWER_LIMIT)?;
        if header.kind == Kind::Refused {
            return Err(self.channel.receive_refusal(header));
        }
        if header.kind != Kind::Snapshotted || header.session != session.id {
            return Err(self.channel.garbled(format!("{header:?} where a snapshot was due")));
        }
        if header.length > session.slab().layout().max_snapshot_bytes() as u64 {
            return Err(self.channel.garbled(format!("a snapshot of {} bytes", header.length)));
        }
        let mut bytes = vec![0; header.length as usize];
        self.channel.receive_exact(&mut bytes, ANSWER_LIMIT)?;
        Ok(bytes)
    }

    /// Puts a session back to where it was when `snapshot` was taken: its environments and, bit for bit, its
    /// slab. It must have been opened in the same way as that one.
    ///
    /// # Errors
    /// If the server refuses, and then nothing has changed, or is gone.
    pub fn restore(&mut self, session: &mut Session, snapshot: &[u8]) -> Result<(), WireError> {
        session.must_be_idle("restore")?;
        // The server would hang up on more, as it could not tell where the next request begins.
        let most = session.slab().layout().max_snapshot_bytes();
        if snapshot.len() > most {
            return Err(misuse(format!(
                "a snapshot of {} bytes, where {most} are the most for this session",
                snapshot.len()
            )));
        }
        let slot = session.take_turn();
        self.channel.send(Kind::Restore, session.id, snapshot)?;
        session.in_flight.push_back(Flight { is_posted: false, slot });
        if let Some(parts) = &mut session.parts {
            parts.sent(&[]);
        }
        self.receive(session)
    }

    /// Frees a session; what is in flight is received and forgotten.
    ///
    /// # Errors
    /// If the server refuses, or is gone.
    pub fn close(&mut self, mut session: Session) -> Result<(), WireError> {
        while session.in_flight() > 0 {
            match self.receive(&mut session) {
                Ok(()) | Err(WireError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.channel.send(Kind::Close, session.id, &[])?;
        self.receive_nothing(Kind::Closed, session.id)
    }

    /// An answer without a body.
    fn receive_nothing(&mut self, due: Kind, session: u32) -> Result<(), WireError> {
        match self.channel.receive_header_for(session, ANSWER_LIMIT)? {
            header if header.kind == due && header.length == 0 => Ok(()),
            header if header.kind == Kind::Refused => Err(self.channel.receive_refusal(header)),
            header => Err(self.channel.garbled(format!("{header:?} where {due:?} was due"))),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.channel.send(Kind::Goodbye, 0, &[]);
    }
}

fn capabilities(transport: Transport, way: u64) -> u64 {
    match transport {
        Transport::Shared => way | CAN_POST | CAN_BATCH,
        Transport::Inline => CAN_BATCH,
    }
}

/// What a caller has asked for that makes no sense.
pub(crate) fn misuse(what: String) -> WireError {
    io::Error::new(io::ErrorKind::InvalidInput, what).into()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
