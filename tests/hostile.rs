//! Clients that misbehave in every way that a stream of random numbers finds: what they say grows out of a
//! sound conversation, bent here and there, so that it gets past the first check. The same number gives the
//! same client.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use random::{Purpose, Stream};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use wire::frame::{Header, Kind};
use wire::message::{CAN_BATCH, Hello, encode};
use wire::spec::{ActionSpace, Observation, Spec};
use wire::{Autoreset, Carrier, Connection, Episode, Open, Range, Request, Start};

/// Environments in a session of a client that asks for no more than it may.
pub const N_ENVS: u32 = 8;

/// What client `number` says, frame by frame.
pub fn conversation(number: u64) -> Vec<Vec<u8>> {
    let mut stream = Stream::new(7, Purpose::Test, number, 0);
    let hello = Hello { client: "hostile".into(), capabilities: stream.below(16) };
    let mut frames = vec![frame(Kind::Hello, 0, &encode(&hello).unwrap_or_default())];
    let capabilities = hello.capabilities;
    let n_requests = stream.below(12);
    for _ in 0..n_requests {
        frames.push(request(&mut stream, capabilities));
    }
    // Most of them are bent once, some often, some never.
    for _ in 0..stream.below(4) {
        bend(&mut frames, &mut stream);
    }
    frames
}

fn request(stream: &mut Stream, capabilities: u64) -> Vec<u8> {
    let session = 1 + stream.below(2) as u32;
    match stream.below(16) {
        0..=3 => frame(Kind::Open, session, &open(stream, capabilities)),
        4 => frame(Kind::Map, session, &[stream.below(3) as u8]),
        5 | 6 => frame(Kind::Reset, session, &[]),
        7 => {
            let n = stream.below(2 * u64::from(N_ENVS));
            let mask: Vec<u8> = (0..n).map(|_| stream.below(3) as u8).collect();
            let ids = if stream.below(2) == 0 { env_ids(stream) } else { Vec::new() };
            frame(Kind::Reset, session, &[ids, mask].concat())
        }
        8..=11 => {
            let n = if stream.below(4) == 0 { stream.below(20) } else { u64::from(N_ENVS) };
            let actions: Vec<u8> = (0..n).flat_map(|_| (stream.below(4) as i32 - 1).to_le_bytes()).collect();
            if stream.below(2) == 0 {
                let ids = env_ids(stream);
                let due = ids.len().min(actions.len());
                return frame(Kind::Step, session, &[&ids, &actions[..due]].concat());
            }
            frame(Kind::Step, session, &actions)
        }
        12 => frame(Kind::Snapshot, session, &[]),
        13 => {
            let n = stream.below(600);
            let bytes: Vec<u8> = (0..n).map(|_| stream.below(256) as u8).collect();
            frame(Kind::Restore, session, &[&b"ENVSNAP3"[..], &bytes].concat())
        }
        14 => frame(Kind::Close, session, &[]),
        _ => frame(Kind::Wake, session, &[]),
    }
}

/// Numbers of environments for a partial batch: often in order, sometimes not or not there.
fn env_ids(stream: &mut Stream) -> Vec<u8> {
    let n = [1, 3, 4, stream.below(2 * u64::from(N_ENVS))][stream.below(4) as usize];
    let mut ids: Vec<u32> = (0..n).map(|_| stream.below(u64::from(N_ENVS) + 1) as u32).collect();
    if stream.below(8) > 0 {
        ids.sort_unstable();
        ids.dedup();
    }
    if stream.below(8) == 0 {
        ids.push(stream.below(1 << 32) as u32);
    }
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn open(stream: &mut Stream, capabilities: u64) -> Vec<u8> {
    let mut choose = |n: u64| stream.below(n);
    let open = Open {
        n_envs: if choose(8) == 0 { choose(1 << 31) as u32 } else { N_ENVS },
        seed: choose(1 << 31),
        range: [
            Range::Train,
            Range::Validation,
            Range::Test,
            Range::Sessions { first: 3, last: choose(40) as u32 },
        ][choose(4) as usize],
        start: [Start::Random, Start::First][choose(2) as usize],
        episode: [Episode::Default, Episode::Steps(choose(9) as u32), Episode::Session, Episode::Full]
            [choose(4) as usize],
        autoreset: [Autoreset::SameStep, Autoreset::Disabled, Autoreset::NextStep][choose(3) as usize],
        trace: choose(2) == 0,
        liquidate_at_end: choose(2) == 0,
        hold_account: choose(4) == 0,
        batch: [0, 1, 3, 4, N_ENVS, 9][choose(6) as usize],
    };
    // A client that cannot have batches may ask for one all the same.
    open.encode(capabilities ^ if choose(8) == 0 { CAN_BATCH } else { 0 }).unwrap_or_default()
}

fn frame(kind: Kind, session: u32, body: &[u8]) -> Vec<u8> {
    [&Header { kind, session, length: body.len() as u64 }.encode(), body].concat()
}

/// Changes what is said: a byte, a length, an end, an order.
fn bend(frames: &mut Vec<Vec<u8>>, stream: &mut Stream) {
    let at = stream.below(frames.len() as u64) as usize;
    let length = frames[at].len() as u64;
    if length < 24 {
        return;
    }
    match stream.below(7) {
        0 => frames[at][stream.below(length) as usize] ^= 1 << stream.below(8),
        // In the header, where it hurts most.
        1 => frames[at][stream.below(24) as usize] = stream.below(256) as u8,
        2 => frames[at].truncate(stream.below(length) as usize),
        3 => frames[at].extend((0..stream.below(64)).map(|_| 0)),
        4 => frames.truncate(at),
        5 => {
            let twice = frames[at].clone();
            frames.insert(at, twice);
        }
        _ => frames.push((0..stream.below(200)).map(|_| stream.below(256) as u8).collect()),
    }
    if frames.is_empty() {
        frames.push(Vec::new());
    }
}

/// Has the frame decoder read what client `number` says; how many requests came out of it.
pub fn decode(number: u64) -> usize {
    let spec = Spec {
        environment: "none".into(),
        observation: Observation {
            len: 4,
            window: 1,
            features: vec![],
            account: vec![],
            feature_major: false,
        },
        action: ActionSpace::Discrete { n: 3, levels: vec![] },
        seed: 1,
        max_envs: N_ENVS,
        max_sessions: 2,
        batch: 0,
        cost_kinds: vec!["fee".into()],
        market: None,
    };
    let said = conversation(number).concat();
    let nowhere = File::options().write(true).open("/dev/null").expect("a place for answers");
    let Ok(Some(mut connection)) = Connection::accept(&said[..], nowhere, Carrier::Pipes, "test", &spec)
    else {
        return 0;
    };
    let mut n_requests = 0;
    while let Ok(Some(request)) = connection.next_request() {
        if let Request::Restore { snapshot, .. } = request {
            assert!(snapshot.len() <= said.len());
        }
        n_requests += 1;
        assert!(n_requests <= said.len(), "requests out of nothing");
    }
    n_requests
}

/// Has client `number` talk to the server at `path`, and die in its own way.
pub fn attack(path: &std::path::Path, number: u64) {
    let mut stream = Stream::new(8, Purpose::Test, number, 0);
    let Ok(mut socket) = UnixStream::connect(path) else { panic!("client {number}: the server is gone") };
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    socket.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let frames = conversation(number);
    let mut memory = Vec::new();
    for said in &frames {
        // The server may have hung up; that is its right.
        if socket.write_all(said).is_err() {
            return;
        }
        match stream.below(3) {
            0 => listen(&socket, &mut memory),
            1 if !memory.is_empty() => scribble(&memory, &mut stream),
            _ => {}
        }
    }
    if stream.below(2) == 0 {
        // Reads what there is before it goes, as most clients do.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read(&mut [0; 4096]);
    }
}

/// Takes what the server has said, with the descriptors of shared memory.
fn listen(socket: &UnixStream, memory: &mut Vec<OwnedFd>) {
    let mut bytes = [0; 1 << 12];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    if rustix::event::poll(
        &mut [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)],
        Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 2_000_000 }),
    )
    .is_ok_and(|n| n > 0)
    {
        let _ = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            memory.extend(rights);
        }
    }
}

/// Writes what it likes where it may write, and tries where it may not.
fn scribble(memory: &[OwnedFd], stream: &mut Stream) {
    for descriptor in memory {
        let Ok(file) = descriptor.try_clone().map(File::from) else { return };
        for _ in 0..8 {
            let word = [0, 1, 2, u32::MAX][stream.below(4) as usize].to_le_bytes();
            let places = [0, 4, 64, 128, 132, 192, 256, 512, 516, 540, 576, 580, 640, 704];
            let at = places[stream.below(places.len() as u64) as usize];
            let _ = file.write_at(&word, at);
        }
        assert!(file.set_len(1).is_err(), "shared memory could be made shorter");
    }
}
