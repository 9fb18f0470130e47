//! Both ends of a connection talking to each other, and each end talking to somebody who does not behave.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use wire::frame::{self, HEADER_BYTES, Header, Kind};
use wire::message::{ErrorCode, Hello, Opened, Sharing, Welcome, encode};
use wire::server::{Connection, Request, discrete_actions};
use wire::spec::{ActionSpace, Observation, Spec};
use wire::{Actions, Carrier, Client, Finished, Open, Slab, SlabLayout, WireError};

const OBS_LEN: u32 = 3;

fn spec() -> Spec {
    Spec {
        environment: "counter".into(),
        observation: Observation {
            len: OBS_LEN,
            window: 1,
            features: vec![],
            account: vec![],
            feature_major: false,
        },
        action: ActionSpace::Discrete { n: 2, levels: vec![] },
        seed: 1,
        max_envs: 8,
        max_sessions: 4,
        batch: 0,
        cost_kinds: vec!["fee".into()],
        market: None,
    }
}

/// Serves one client: an observation is the sum of the actions so far, and action 1 in environment 0 ends
/// its episode. Action 9 is refused.
fn serve(stream: UnixStream) -> Result<u32, WireError> {
    let reader = stream.try_clone()?;
    let Some(mut connection) = Connection::accept(reader, stream, Carrier::Socket, "counter 1", &spec())?
    else {
        return Ok(0);
    };
    let mut sessions: Vec<(u32, Slab)> = Vec::new();
    let mut steps = 0;
    loop {
        let (session, outcome) = match connection.next_request()? {
            None => return Ok(steps),
            Some(Request::Open { session, open }) => {
                let opened =
                    Opened { n_envs: open.n_envs, obs_len: OBS_LEN, n_cost_kinds: 1, trace: open.trace };
                sessions.push((session, Slab::new(SlabLayout::new(&opened))));
                connection.opened(session, &open, &opened)?;
                continue;
            }
            Some(Request::Reset { session, .. }) => (session, Ok(())),
            Some(Request::Close { session }) => {
                connection.closed(session)?;
                continue;
            }
            Some(Request::Share { session }) => {
                let words = connection.shared_words(session).unwrap().remove(0);
                sessions.iter_mut().find(|(id, _)| *id == session).unwrap().1.share(words);
                connection.mapped(session)?;
                continue;
            }
            Some(Request::Snapshot { session }) => {
                let slab = &sessions.iter().find(|(id, _)| *id == session).unwrap().1;
                let snapshot = slab.bytes().to_vec();
                connection.snapshotted(session, &snapshot)?;
                continue;
            }
            Some(Request::Restore { session, snapshot, .. }) => {
                let slab = &mut sessions.iter_mut().find(|(id, _)| *id == session).unwrap().1;
                (session, slab.take_over(snapshot))
            }
            Some(Request::Step { session, body, .. }) => {
                let actions = discrete_actions(body).unwrap().to_vec();
                let slab = &mut sessions.iter_mut().find(|(id, _)| *id == session).unwrap().1;
                slab.clear_finished();
                if actions.contains(&9) {
                    (session, Err("environment 0: action 9 is outside 0..2".to_owned()))
                } else {
                    for (obs, &action) in slab.split_mut().obs.chunks_mut(OBS_LEN as usize).zip(&actions) {
                        for x in obs {
                            *x += action as f32;
                        }
                    }
                    if actions[0] == 1 {
                        let record = Finished { env: 0, length: steps, ..Finished::default() };
                        slab.push_finished(record, &[0.5], &[7.0; OBS_LEN as usize]);
                    }
                    steps += 1;
                    (session, Ok(()))
                }
            }
        };
        match outcome {
            Ok(()) => connection.slab(session, &sessions.iter().find(|(id, _)| *id == session).unwrap().1)?,
            Err(text) => connection.refuse(session, ErrorCode::BadAction, text)?,
        }
    }
}

/// A socket in a directory of its own, and a thread that does `work` with the first client.
fn listen<T: Send + 'static>(work: impl FnOnce(UnixStream) -> T + Send + 'static) -> (Place, JoinHandle<T>) {
    let place = Place(tempfile::tempdir().unwrap());
    let listener = UnixListener::bind(place.path()).unwrap();
    (place, spawn(move || work(listener.accept().unwrap().0)))
}

struct Place(tempfile::TempDir);

impl Place {
    fn path(&self) -> PathBuf {
        self.0.path().join("s")
    }

    fn connect(&self) -> Result<Client, WireError> {
        let address = format!("unix:{}", self.path().display());
        Client::connect(&address, Duration::from_secs(5), "test 1")
    }
}

#[test]
fn two_sessions_on_one_connection_do_not_mix() {
    let (place, server) = listen(serve);
    let mut client = place.connect().unwrap();
    assert_eq!(client.spec(), &spec());
    let mut one = client.open(&Open::training(2, 1)).unwrap();
    let mut two = client.open(&Open { trace: true, ..Open::training(3, 1) }).unwrap();
    client.reset(&mut one).unwrap();
    client.reset(&mut two).unwrap();
    // Both are in flight at once.
    client.send(&mut one, Actions::Discrete(&[1, 0])).unwrap();
    client.send(&mut two, Actions::Discrete(&[0, 1, 1])).unwrap();
    client.receive(&mut one).unwrap();
    client.receive(&mut two).unwrap();
    assert_eq!(one.slab().observations().to_vec(), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(two.slab().observations().to_vec(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let finished: Vec<_> = one.slab().finished().map(|(r, c, o)| (r.env, c.to_vec(), o.to_vec())).collect();
    assert_eq!(finished, [(0, vec![0.5], vec![7.0; 3])]);
    assert_eq!(two.slab().n_finished(), 0);
    client.close(one).unwrap();
    client.step(&mut two, Actions::Discrete(&[0, 0, 0])).unwrap();
    drop(client);
    assert_eq!(server.join().unwrap().unwrap(), 3);
}

#[test]
fn a_refusal_names_the_object_and_the_session_goes_on() {
    let (place, _server) = listen(serve);
    let mut client = place.connect().unwrap();
    let mut session = client.open(&Open::training(1, 1)).unwrap();
    client.reset(&mut session).unwrap();
    let error = client.step(&mut session, Actions::Discrete(&[9])).unwrap_err();
    assert!(error.to_string().ends_with("refused: environment 0: action 9 is outside 0..2"), "{error}");
    client.step(&mut session, Actions::Discrete(&[1])).unwrap();
    assert_eq!(session.slab().observations().to_vec(), [1.0; 3]);
}

#[test]
fn nobody_listening_is_said_after_the_wait() {
    let error = Client::connect("unix:/nonexistent/s", Duration::from_millis(120), "test").unwrap_err();
    assert!(error.to_string().starts_with("nobody listens on unix:/nonexistent/s"), "{error}");
    let error = Client::connect("tcp:1", Duration::ZERO, "test").unwrap_err();
    assert!(error.to_string().contains("unix:PATH"), "{error}");
}

#[test]
fn a_server_that_dies_within_a_slab_is_gone_not_waited_for() {
    let (place, _server) = listen(|mut stream: UnixStream| {
        let mut hello = [0; 512];
        let _ = stream.read(&mut hello).unwrap();
        let welcome = Welcome { server: "dying".into(), capabilities: 0, spec: spec().to_json().unwrap() };
        frame::write(&mut stream, Kind::Welcome, 0, &encode(&welcome).unwrap()).unwrap();
        let _ = stream.read(&mut hello).unwrap();
        let header = Header { kind: Kind::Opened, session: 1, length: 13 };
        stream.write_all(&header.encode()).unwrap();
    });
    let mut client = place.connect().unwrap();
    let error = client.open(&Open::training(1, 1)).unwrap_err();
    assert!(error.to_string().contains("went away"), "{error}");
}

#[test]
fn files_are_not_mapped_that_a_server_on_a_socket_names() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("private");
    std::fs::write(&private, b"SECRET--".repeat(4096)).unwrap();
    std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let named = private.to_str().unwrap().to_owned();
    let (place, server) = listen(move |mut stream| {
        let take = |stream: &mut UnixStream| {
            let mut header = [0; HEADER_BYTES];
            stream.read_exact(&mut header).unwrap();
            let mut body = vec![0; Header::decode(&header).unwrap().length as usize];
            stream.read_exact(&mut body).unwrap();
        };
        take(&mut stream);
        let all = u64::from(u32::MAX);
        let welcome =
            Welcome { server: "hostile".into(), capabilities: all, spec: spec().to_json().unwrap() };
        frame::write(&mut stream, Kind::Welcome, 0, &encode(&welcome).unwrap()).unwrap();
        take(&mut stream);
        let opened = Opened { n_envs: 2, obs_len: OBS_LEN, n_cost_kinds: 1, trace: false };
        let offer = Sharing::Files { exchange: named.clone(), slab: named };
        frame::write(&mut stream, Kind::Opened, 1, &encode(&(opened, offer)).unwrap()).unwrap();
        // Whatever the client would say next.
        let _ = stream.read(&mut [0; HEADER_BYTES]);
    });
    let mut client = place.connect().unwrap();
    let error = client.open(&Open::training(2, 1)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("not agreed on"), "{error}");
    drop(client);
    server.join().unwrap();
    assert_eq!(std::fs::read(&private).unwrap(), b"SECRET--".repeat(4096));
}

#[test]
fn a_spawned_command_that_fails_or_talks_is_named() {
    let run = |script: &str| {
        let command = ["sh", "-c", script].map(Into::into);
        Client::spawn(&command, "test").unwrap_err().to_string()
    };
    let died = run("exit 3");
    assert!(died.contains("sh went away (exit status: 3)"), "{died}");
    let talks = run("echo loading the tables and more text; sleep 5");
    assert!(talks.contains("only frames may be on its stdout"), "{talks}");
    let missing = Client::spawn(&["/no/such/envpool".into()], "test").unwrap_err().to_string();
    assert!(missing.starts_with("cannot start \"/no/such/envpool\""), "{missing}");
}

#[test]
fn a_client_of_another_version_or_protocol_is_told_so() {
    let hello = encode(&Hello { client: "old".into(), capabilities: 0 }).unwrap();
    let good = Header { kind: Kind::Hello, session: 0, length: hello.len() as u64 }.encode();
    let answer_to = |head: [u8; HEADER_BYTES]| {
        let (place, server) = listen(serve);
        let mut stream = UnixStream::connect(place.path()).unwrap();
        stream.write_all(&head).unwrap();
        // The server may hang up before it has read the rest.
        let _ = stream.write_all(&hello);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (server.join().unwrap().unwrap_err().to_string(), String::from_utf8_lossy(&answer).into_owned())
    };
    let mut other_version = good;
    other_version[4] = 9;
    let (error, answer) = answer_to(other_version);
    assert!(error.contains("speaks protocol version 9 and this program speaks 2"), "{error}");
    assert!(answer.contains("protocol version 9"), "{answer}");
    let mut too_long = good;
    too_long[20] = 1;
    assert!(answer_to(too_long).0.contains("a body of"), "a length of 4 GiB is not allocated");
    assert!(answer_to(*b"GET / HTTP/1.1\r\nHost: x\r").0.contains("Magic"));
}
