//! One client's conversation: requests in, answers out, whatever carries them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use wire::message::{ErrorCode, Refusal};
use wire::{Carrier, Connection, Incoming, Request, WireError};

use crate::served::Served;
use crate::session::Session;
use crate::stop::Gate;
use crate::watch::{self, Waits};

/// Name and version of this server, for the client's logs.
const SERVER: &str = concat!("envpool ", env!("CARGO_PKG_VERSION"));

/// What a request is answered with.
enum Answer {
    Opened,
    Slab,
    Snapshot(Vec<u8>),
    Share,
    Closed,
    Refused(Refusal),
}

/// Serves one client until it is done. Its sessions end with it, however it ends. `on_sessions` hears how many are open:
/// none when the client has said hello, and then after each that opens or closes.
///
/// # Errors
/// If the client does not speak the protocol, or the operating system fails; a client that goes away, at
/// whatever point, is no error.
pub fn converse(
    served: &Served,
    gate: &Gate,
    carrier: Carrier,
    reader: impl Incoming + Send,
    writer: impl Write + AsFd + Send,
    on_sessions: impl FnMut(usize) + Send,
) -> Result<(), WireError> {
    let outcome = exchanges(served, gate, carrier, reader, writer, on_sessions);
    match outcome {
        Err(WireError::Io(error)) if is_departure(&error) => Ok(()),
        other => other,
    }
}

/// What a conversation is about.
struct Conversation<'a, R, W, F> {
    served: &'a Served,
    gate: &'a Gate,
    connection: Connection<R, W>,
    sessions: BTreeMap<u32, Session>,
    /// Whether the last step was spread over the pool.
    is_spread: bool,
    waits: Waits,
    on_sessions: F,
}

fn exchanges(
    served: &Served,
    gate: &Gate,
    carrier: Carrier,
    reader: impl Incoming + Send,
    writer: impl Write + AsFd + Send,
    mut on_sessions: impl FnMut(usize) + Send,
) -> Result<(), WireError> {
    let Some(connection) = Connection::accept(reader, writer, carrier, SERVER, &served.spec)? else {
        return Ok(());
    };
    on_sessions(0);
    let _told = gate.tell_at_the_end(connection.writer());
    let (sessions, waits) = (BTreeMap::new(), Waits::default());
    let mut conversation =
        Conversation { served, gate, connection, sessions, is_spread: false, waits, on_sessions };
    loop {
        let is_asked_soon = conversation.connection.is_asked_soon() || conversation.waits.are_short();
        let goes_on = if conversation.is_spread && is_asked_soon {
            watch::with_all_threads(|| conversation.exchange())
        } else {
            conversation.exchange()
        };
        if !goes_on? {
            return Ok(());
        }
    }
}

impl<R: Incoming, W: Write + AsFd, F: FnMut(usize)> Conversation<'_, R, W, F> {
    /// One request and its answer; `false` if the client is done.
    fn exchange(&mut self) -> Result<bool, WireError> {
        let Self { served, gate, connection, sessions, is_spread, waits, on_sessions } = self;
        let begun = Instant::now();
        let Some(request) = connection.next_request()? else { return Ok(false) };
        waits.learn(begun.elapsed());
        // A signal waits for an exchange that has begun.
        let _pass = gate.enter();
        let id = match request {
            Request::Open { session, .. }
            | Request::Reset { session, .. }
            | Request::Step { session, .. }
            | Request::Close { session }
            | Request::Snapshot { session }
            | Request::Restore { session, .. }
            | Request::Share { session } => session,
        };
        let answer = answer(served, sessions, &request).unwrap_or_else(Answer::Refused);
        *is_spread = sessions.get(&id).is_some_and(Session::was_spread);
        if matches!(answer, Answer::Opened | Answer::Closed) {
            on_sessions(sessions.len());
        }
        match (answer, sessions.get_mut(&id)) {
            (Answer::Opened, Some(session)) => connection.opened(id, session.asked(), session.opened())?,
            (Answer::Slab, Some(session)) => connection.slab(id, session.slab())?,
            (Answer::Snapshot(bytes), _) => connection.snapshotted(id, &bytes)?,
            (Answer::Refused(refusal), _) => connection.refuse(id, refusal.code, refusal.text)?,
            (Answer::Closed, _) => connection.closed(id)?,
            (Answer::Share, Some(session)) => {
                if let Some(words) = connection.shared_words(id) {
                    session.share(words);
                    connection.mapped(id)?;
                } else {
                    let text = format!("session {id} has been offered no memory to map");
                    connection.refuse(id, ErrorCode::BadSession, text)?;
                }
            }
            (Answer::Opened | Answer::Slab | Answer::Share, None) => {
                unreachable!("the session was just used")
            }
        }
        Ok(true)
    }
}

fn answer(
    served: &Served,
    sessions: &mut BTreeMap<u32, Session>,
    request: &Request<'_>,
) -> Result<Answer, Refusal> {
    let unknown = |id: u32| Refusal {
        code: ErrorCode::BadSession,
        text: format!("session {id} is not open (open it first)"),
    };
    match *request {
        Request::Open { session: id, ref open } => {
            if sessions.contains_key(&id) {
                let text = format!("session {id} is open already (close it first, or take another number)");
                return Err(Refusal { code: ErrorCode::BadSession, text });
            }
            if sessions.len() >= served.spec.max_sessions as usize {
                let text = format!("{} sessions are open, which is the most (close one)", sessions.len());
                return Err(Refusal { code: ErrorCode::TooMany, text });
            }
            sessions.insert(id, Session::open(served, open)?);
            Ok(Answer::Opened)
        }
        Request::Reset { session: id, slot, body } => {
            sessions.get_mut(&id).ok_or_else(|| unknown(id))?.reset(slot, body)?;
            Ok(Answer::Slab)
        }
        Request::Step { session: id, slot, body } => {
            sessions.get_mut(&id).ok_or_else(|| unknown(id))?.step(slot, body)?;
            Ok(Answer::Slab)
        }
        Request::Snapshot { session: id } => {
            sessions.get(&id).ok_or_else(|| unknown(id))?.snapshot(served).map(Answer::Snapshot)
        }
        Request::Restore { session: id, slot, snapshot } => {
            sessions.get_mut(&id).ok_or_else(|| unknown(id))?.restore(served, slot, snapshot)?;
            Ok(Answer::Slab)
        }
        Request::Share { session: id } => {
            sessions.contains_key(&id).then_some(Answer::Share).ok_or_else(|| unknown(id))
        }
        Request::Close { session: id } => {
            sessions.remove(&id).ok_or_else(|| unknown(id))?;
            Ok(Answer::Closed)
        }
    }
}

/// Whether an error only says that the client is gone.
fn is_departure(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::tests::served;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;
    use wire::message::{Hello, encode};
    use wire::{Actions, Client, Open, Range};

    /// A listener whose clients are all served by threads, and its address.
    fn listening(flags: &[&str]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let served = std::sync::Arc::new(served(flags));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let served = served.clone();
                let reader = stream.try_clone().unwrap();
                std::thread::spawn(move || {
                    converse(&served, &Gate::default(), Carrier::Socket, reader, stream, |_| ())
                });
            }
        });
        (folder, format!("unix:{}", path.display()))
    }

    fn connect(address: &str) -> Client {
        Client::connect(address, Duration::from_secs(5), "test").unwrap()
    }

    #[test]
    fn sessions_of_one_client_and_of_several_do_not_meet() {
        let (_folder, address) = listening(&["--test-days", "3"]);
        let play = |client: &mut Client, seed: u64| {
            let mut session = client.open(&Open::training(4, seed)).unwrap();
            client.reset(&mut session).unwrap();
            let mut seen = session.slab().observations().to_vec();
            for step in 0..40 {
                client.step(&mut session, Actions::Discrete(&[step % 3, 1, 2, 0])).unwrap();
                seen.extend(session.slab().observations().to_vec());
            }
            seen
        };
        let alone = play(&mut connect(&address), 1);
        let (mut first, mut second) = (connect(&address), connect(&address));
        let mut held = first.open(&Open::evaluation(2, Range::Test)).unwrap();
        first.reset(&mut held).unwrap();
        assert_eq!(play(&mut first, 1), alone);
        assert_ne!(play(&mut second, 2), alone);
        drop(second);
        first.step(&mut held, Actions::Discrete(&[0, 2])).unwrap();
        first.close(held).unwrap();
        assert_eq!(play(&mut first, 1), alone);
    }

    #[test]
    fn a_refusal_is_answered_and_the_conversation_goes_on() {
        let (_folder, address) = listening(&[]);
        let mut client = connect(&address);
        let mut session = client.open(&Open::training(2, 1)).unwrap();
        client.reset(&mut session).unwrap();
        let error = client.step(&mut session, Actions::Discrete(&[0, 7])).unwrap_err();
        assert!(error.to_string().contains("environment 1: action 7"), "{error}");
        client.step(&mut session, Actions::Discrete(&[0, 1])).unwrap();
        for _ in 1..served(&[]).spec.max_sessions {
            client.open(&Open::training(1, 1)).unwrap();
        }
        let error = client.open(&Open::training(1, 1)).unwrap_err();
        assert!(error.to_string().contains("close one"), "{error}");
    }

    #[test]
    fn a_session_is_opened_while_a_refusal_of_another_is_under_way() {
        let (_folder, address) = listening(&[]);
        for transport in [wire::Transport::Shared, wire::Transport::Inline] {
            let mut client =
                Client::connect_over(&address, Duration::from_secs(5), "test", transport).unwrap();
            let mut first = client.open(&Open::training(2, 1)).unwrap();
            client.reset(&mut first).unwrap();
            for _ in 0..20 {
                client.send(&mut first, Actions::Discrete(&[0, 7])).unwrap();
                let mut second = client.open(&Open::training(3, 1)).unwrap();
                client.reset(&mut second).unwrap();
                let error = client.receive(&mut first).unwrap_err();
                assert!(error.to_string().contains("environment 1: action 7"), "{error}");
                client.step(&mut first, Actions::Discrete(&[0, 1])).unwrap();
                client.close(second).unwrap();
            }
        }
    }

    #[test]
    fn a_client_that_dies_in_the_middle_of_a_frame_ends_its_conversation_quietly() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let hello = encode(&Hello { client: "dying".into(), capabilities: 0 }).unwrap();
        wire::frame::write(&mut &theirs, wire::frame::Kind::Hello, 0, &hello).unwrap();
        (&theirs).write_all(b"ENVP\x01\x00").unwrap();
        drop(theirs);
        let reader = ours.try_clone().unwrap();
        converse(&served(&[]), &Gate::default(), Carrier::Socket, reader, ours, |_| ()).unwrap();
    }

    #[test]
    fn a_client_of_another_language_is_told_what_it_did_wrong() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let reader = ours.try_clone().unwrap();
        let error =
            converse(&served(&[]), &Gate::default(), Carrier::Socket, reader, ours, |_| ()).unwrap_err();
        assert!(matches!(error, WireError::Garbled { .. }), "{error}");
    }
}
