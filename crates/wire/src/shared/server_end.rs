//! The server's side of shared memory: offers it, sees requests that were posted, answers them.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::exchange::{AnswerKind, Exchange, Slots};
use super::mapping::OwnWords;
use super::platform::{self, Files};
use super::spin::{Spinner, nanoseconds_since};
use crate::frame::Kind;
use crate::message::{CAN_MAP_DESCRIPTORS, CAN_MAP_FILES, CAN_POST, Sharing};
use crate::server::Carrier;

/// Looks at memory between two at the stream, on which a side that posts its steps sends all else.
const LOOKS_PER_STREAM_LOOK: u32 = 64;

/// The shared memory of one connection's sessions.
#[derive(Debug)]
pub(crate) struct ServerEnd {
    capabilities: u64,
    offered: Option<Offered>,
    sessions: Vec<Shared>,
    spinner: Spinner,
    /// Frames to wake this side that are under way although it did not sleep.
    n_due_wakes: usize,
}

/// Memory that a client has not mapped yet.
#[derive(Debug)]
struct Offered {
    session: u32,
    exchange: Exchange,
    slab: OwnWords,
    _files: Option<Files>,
}

#[derive(Debug)]
struct Shared {
    session: u32,
    exchange: Exchange,
    answered: u32,
    /// The number and the slot of the request that is being answered, if it was posted.
    current: Option<(u32, usize)>,
    /// When the last request was taken.
    taken: Option<Instant>,
    /// How many requests have had a slot, posted or not.
    n_turns: usize,
    /// Whether its client was told that this side sleeps, and not yet asked whether it has sent a frame since.
    is_told: bool,
}

impl Shared {
    /// The slot of the next request.
    fn take_turn(&mut self) -> usize {
        self.taken = Some(Instant::now());
        let slot = self.n_turns % self.exchange.slots().len();
        self.n_turns = self.n_turns.wrapping_add(1);
        slot
    }
}

/// A request that was posted, copied.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) session: u32,
    pub(crate) slot: usize,
    /// How much of it there is.
    pub(crate) bytes: usize,
}

impl ServerEnd {
    /// For a client with these capabilities at the other end of `carrier`.
    pub(crate) fn new(capabilities: u64, carrier: Carrier) -> Self {
        let way = match carrier {
            Carrier::Pipes => CAN_MAP_FILES,
            Carrier::Socket => CAN_MAP_DESCRIPTORS,
        };
        let capabilities = if capabilities & way == 0 { 0 } else { capabilities & (way | CAN_POST) };
        Self { capabilities, offered: None, sessions: Vec::new(), spinner: Spinner::new(), n_due_wakes: 0 }
    }

    /// What this connection uses of what its client can do.
    pub(crate) fn capabilities(&self) -> u64 {
        self.capabilities
    }

    /// Makes memory for a session: `slab_bytes` for each slot. Where the system has none, frames do what it would have done.
    pub(crate) fn offer(&mut self, session: u32, slots: Slots, slab_bytes: usize) -> (Sharing, Vec<OwnedFd>) {
        self.offered = None;
        self.try_offer(session, slots, slots.len() * slab_bytes).unwrap_or((Sharing::Inline, Vec::new()))
    }

    fn try_offer(
        &mut self,
        session: u32,
        slots: Slots,
        slab_bytes: usize,
    ) -> io::Result<(Sharing, Vec<OwnedFd>)> {
        let exchange_bytes = slots.exchange_bytes();
        let (pieces, files, descriptors, sharing);
        if self.capabilities & CAN_MAP_FILES != 0 {
            let (made, its_files) = Files::create(exchange_bytes, slab_bytes)?;
            let (exchange, slab) = its_files.paths();
            let text = |path: std::path::PathBuf| path.into_os_string().into_string();
            let (Ok(exchange), Ok(slab)) = (text(exchange), text(slab)) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            (pieces, files, descriptors) = (made, Some(its_files), Vec::new());
            sharing = Sharing::Files { exchange, slab };
        } else if self.capabilities & CAN_MAP_DESCRIPTORS != 0 {
            let (made, its_descriptors) = platform::nameless(exchange_bytes, slab_bytes)?;
            (pieces, files, descriptors) = (made, None, its_descriptors.into());
            sharing = Sharing::Descriptors;
        } else {
            return Ok((Sharing::Inline, Vec::new()));
        }
        let exchange = Exchange::new(pieces.exchange, slots);
        self.offered = Some(Offered { session, exchange, slab: pieces.slab, _files: files });
        Ok((sharing, descriptors))
    }

    /// The client has mapped what was offered for `session`, or could not: what it needs no longer is removed.
    /// The memory for the session's slabs, one a slot, if it was offered and is shared from now on.
    pub(crate) fn mapped(&mut self, session: u32, could: bool) -> Option<Vec<OwnWords>> {
        let offered = self.offered.take_if(|offered| offered.session == session)?;
        if !could {
            return None;
        }
        let n_slots = offered.exchange.slots().len();
        self.sessions.push(Shared {
            session,
            exchange: offered.exchange,
            answered: 0,
            current: None,
            taken: None,
            n_turns: 0,
            is_told: false,
        });
        let words_each = offered.slab.len() / n_slots;
        Some(offered.slab.split(words_each))
    }

    /// Forgets a session.
    pub(crate) fn close(&mut self, session: u32) {
        self.sessions.retain(|shared| shared.session != session);
        self.offered.take_if(|offered| offered.session == session);
    }

    /// The next request that was posted, copied into `body`.
    ///
    /// # Errors
    /// If a client says that it has posted more than can be in flight. To believe it would be to play what stands
    /// in the slots for hours, without a look whether the client is still there.
    pub(crate) fn take_posted(&mut self, body: &mut [u64]) -> Result<Option<Posted>, String> {
        let Some(at) = self.posted() else { return Ok(None) };
        let shared = &mut self.sessions[at];
        let slots = shared.exchange.slots();
        let mut number = shared.exchange.last_posted();
        if slots.is_ring() {
            let ahead = number.wrapping_sub(shared.answered);
            if ahead as usize > slots.len() {
                return Err(format!("{ahead} requests posted, where {} can be in flight", slots.len()));
            }
            number = shared.answered.wrapping_add(1);
        }
        let slot = shared.take_turn();
        shared.current = Some((number, slot));
        shared.exchange.copy_request(slot, body);
        self.spinner.tell(shared.exchange.pause());
        Ok(Some(Posted { session: shared.session, slot, bytes: slots.request_bytes() }))
    }

    /// The slot of a request that came as a frame; 0 for a session that is not shared.
    pub(crate) fn take_turn(&mut self, session: u32) -> usize {
        let shared = self.sessions.iter_mut().find(|shared| shared.session == session);
        shared.map_or(0, Shared::take_turn)
    }

    /// Copies the request in `slot` of a session whose client says by a frame that it is there.
    pub(crate) fn copy_request(&self, session: u32, slot: usize, body: &mut [u64]) -> Option<usize> {
        let shared = self.sessions.iter().find(|shared| shared.session == session)?;
        shared.exchange.copy_request(slot, body);
        Some(shared.exchange.slots().request_bytes())
    }

    /// Whether requests have come soon after the answers before them.
    pub(crate) fn is_asked_soon(&self) -> bool {
        self.spinner.is_told_of_short_waits()
    }

    /// Looks for a while whether a request is posted, or whether something `has_come` on the stream. Whether one is posted.
    pub(crate) fn spin(&mut self, has_come: impl Fn() -> bool) -> bool {
        if self.capabilities & CAN_POST == 0 || self.sessions.is_empty() || self.n_due_wakes > 0 {
            return false;
        }
        let (sessions, n_looks) = (&self.sessions, Cell::new(0));
        self.spinner.wait(|| {
            // To look at the stream is to ask the system, which takes as long as dozens of looks at memory.
            n_looks.set(n_looks.get() + 1);
            is_any_posted(sessions) || n_looks.get() % LOOKS_PER_STREAM_LOOK == 0 && has_come()
        });
        is_any_posted(sessions)
    }

    /// Tells all clients that this side sleeps. `false` if it must not, since a request is posted.
    pub(crate) fn fall_asleep(&mut self) -> bool {
        self.tell();
        self.may_sleep()
    }

    fn tell(&mut self) {
        for shared in &mut self.sessions {
            shared.is_told = true;
            shared.exchange.server_falls_asleep();
        }
    }

    fn may_sleep(&mut self) -> bool {
        if self.posted().is_none() {
            return true;
        }
        self.wake();
        // A frame that is under way is read, or they would fill the stream in the end.
        self.n_due_wakes > 0
    }

    /// A frame has come, which ends any sleep.
    pub(crate) fn woken_by(&mut self, kind: Kind) {
        self.wake();
        if kind == Kind::Wake {
            self.n_due_wakes = self.n_due_wakes.saturating_sub(1);
        }
        self.spinner.ready();
    }

    /// Each client is asked once a sleep: a frame that was counted twice would be waited for in vain.
    fn wake(&mut self) {
        for shared in self.sessions.iter_mut().filter(|shared| shared.is_told) {
            shared.is_told = false;
            self.n_due_wakes += usize::from(shared.exchange.server_wakes());
        }
    }

    /// Answers the current request of a session, if it was posted. `None` if it came as a frame, or if the session
    /// is not shared; whether to wake the client otherwise.
    pub(crate) fn answer(&mut self, session: u32, kind: AnswerKind) -> Option<bool> {
        let shared = self.sessions.iter_mut().find(|shared| shared.session == session)?;
        shared.exchange.set_took(shared.taken.map_or(0, nanoseconds_since));
        let (number, slot) = shared.current.take()?;
        shared.answered = number;
        Some(shared.exchange.answer(number, slot, kind))
    }

    /// Whether a session's slab lies in shared memory.
    pub(crate) fn is_shared(&self, session: u32) -> bool {
        self.sessions.iter().any(|shared| shared.session == session)
    }

    fn posted(&self) -> Option<usize> {
        self.sessions.iter().position(|shared| shared.exchange.last_posted() != shared.answered)
    }
}

fn is_any_posted(sessions: &[Shared]) -> bool {
    sessions.iter().any(|shared| shared.exchange.last_posted() != shared.answered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Open;
    use crate::shared::mapping::Mapping;

    /// A server with one session, and its client's exchange.
    fn both_sides() -> (ServerEnd, Exchange) {
        let slots = Slots::of(&Open::training(2, 1), 1);
        let mut server = ServerEnd::new(CAN_MAP_DESCRIPTORS | CAN_POST, Carrier::Socket);
        let (_, mut descriptors) = server.offer(1, slots, 64);
        let mapping = Mapping::read_write(descriptors.remove(0), slots.exchange_bytes()).unwrap();
        let client = Exchange::new(mapping, slots);
        assert!(server.mapped(1, true).is_some());
        (server, client)
    }

    #[test]
    fn a_client_that_wakes_a_server_which_was_not_asleep_yet_is_not_waited_for_twice() {
        let (mut server, client) = both_sides();
        let mut body = [0; 8];
        let mut play = |server: &mut ServerEnd, number: u32| {
            assert_eq!(server.take_posted(&mut body).unwrap().map(|posted| posted.session), Some(1));
            assert_eq!(server.answer(1, AnswerKind::Slab), Some(false), "nobody sleeps");
            assert_eq!(client.answer_to(number, 0), Some(AnswerKind::Slab));
        };
        // It comes while the server is falling asleep: a frame is under way, and is to be read.
        server.tell();
        assert!(client.post(1, 0));
        assert!(server.may_sleep());
        server.woken_by(Kind::Wake);
        play(&mut server, 1);
        // It comes while the server is awake: no frame is under way, and none must be waited for.
        assert!(!client.post(2, 0));
        assert!(!server.fall_asleep());
        play(&mut server, 2);
        // It comes to a sleeper.
        assert!(server.fall_asleep());
        assert!(client.post(3, 0));
        server.woken_by(Kind::Wake);
        play(&mut server, 3);
        assert!(!client.post(4, 0));
        assert!(!server.fall_asleep());
    }

    /// As of a client that cannot exchange a word in one piece: it sees that this side sleeps, and says that it no longer
    /// does when this is so no longer, or so again.
    #[test]
    fn a_wake_too_many_is_ignored() {
        let (mut server, client) = both_sides();
        let mut body = [0; 8];
        for (number, is_told_again) in (1..).zip([false, true, true, false]) {
            assert!(server.fall_asleep());
            if is_told_again {
                assert!(!client.server_wakes(), "it is now said to be awake, and a frame is under way");
            }
            server.woken_by(Kind::Wake);
            assert_eq!(server.n_due_wakes, 0);
            assert!(!client.post(number, 0), "nobody is to be woken");
            assert!(!server.fall_asleep(), "a request is posted, and no frame under way");
            assert!(server.take_posted(&mut body).unwrap().is_some());
            assert_eq!(server.answer(1, AnswerKind::Slab), Some(false));
        }
    }

    #[test]
    fn a_look_for_posts_ends_when_a_frame_has_come() {
        let mut lonely = ServerEnd::new(CAN_MAP_DESCRIPTORS | CAN_POST, Carrier::Socket);
        assert!(!lonely.spin(|| unreachable!("without a session nothing is posted")));
        let (mut server, _client) = both_sides();
        server.spinner = Spinner::patient();
        let asked = Cell::new(0);
        let has_come = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        assert!(!server.spin(has_come), "nothing is posted");
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn posts_are_taken_one_by_one_and_no_more_than_there_is_room_for() {
        let mut server = ServerEnd::new(CAN_MAP_DESCRIPTORS | CAN_POST, Carrier::Socket);
        let slots = Slots::of(&Open { batch: 2, ..Open::training(6, 1) }, 1);
        let (_, mut descriptors) = server.offer(1, slots, 128);
        let mapping = Mapping::read_write(descriptors.remove(0), slots.exchange_bytes()).unwrap();
        let mut client = Exchange::new(mapping, slots);
        assert_eq!(server.mapped(1, true).unwrap().len(), 3);
        let mut body = [0; 2];
        let mut taken = |server: &mut ServerEnd| {
            let posted = server.take_posted(&mut body).map(|posted| posted.map(|posted| posted.slot));
            posted.map(|slot| (slot, body))
        };
        assert_eq!(taken(&mut server).unwrap().0, None);
        for (number, value) in [(1, 1_u8), (2, 2)] {
            client.write_request(number as usize - 1, [&[value; 8], &[value; 8]]);
            client.post(number, 0);
        }
        assert_eq!(taken(&mut server), Ok((Some(0), [u64::from_ne_bytes([1; 8]); 2])));
        server.answer(1, AnswerKind::Slab);
        assert_eq!((client.answer_to(1, 0), client.answer_to(2, 1)), (Some(AnswerKind::Slab), None));
        assert_eq!(taken(&mut server), Ok((Some(1), [u64::from_ne_bytes([2; 8]); 2])));
        server.answer(1, AnswerKind::Frame);
        assert_eq!(client.answer_to(1, 0), Some(AnswerKind::Slab), "also when later ones are answered");
        assert_eq!((client.answer_to(2, 1), client.answer_to(3, 2)), (Some(AnswerKind::Frame), None));
        // A reset in a frame has a slot of its own.
        assert_eq!(server.take_turn(1), 2);
        client.post(5, 0);
        assert_eq!(taken(&mut server).unwrap().0, Some(0));
        server.answer(1, AnswerKind::Slab);
        for liar in [7, 2, u32::MAX] {
            client.post(liar, 0);
            let what = taken(&mut server).unwrap_err();
            assert!(what.contains("requests posted, where 3 can be in flight"), "{what}");
        }
    }
}
