//! Serving any number of clients on a Unix socket, a thread each.

mod awaited;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cli::UsageError;
use rustix::fs::Mode;
use wire::frame::{self, Kind};
use wire::message::{ErrorCode, Refusal, encode};
use wire::{Awake, Carrier, WireError};

use serde_json::json;

use self::awaited::Awaited;
use crate::client::converse;
use crate::log;
use crate::served::Served;
use crate::stop::{self, Gate};

/// The most clients at a time.
const MAX_CLIENTS: usize = 64;
/// How long a client may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread before it is taken for dead.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait after a connection could not be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most descriptors that a client takes at a time: its stream, a copy of it, and shared memory on its way.
const CLIENT_DESCRIPTORS: usize = 8;
/// How long one wait for a client lasts; the next follows.
const ACCEPT_WAIT: Duration = Duration::from_secs(3600);

/// A socket that this process listens on.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
    gate: Gate,
}

/// The path in `unix:PATH`.
pub fn parse_address(address: &str) -> Result<&Path, UsageError> {
    match address.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        Some(path) => Ok(Path::new(path)),
        None => Err(UsageError(format!("--listen {address}: not of the form unix:PATH"))),
    }
}

impl Listening {
    /// Listens at `path`, for whom `mode` lets in, and has a signal end the process with the socket removed. A
    /// socket that nobody serves any more is replaced.
    pub fn bind(path: &Path, mode: u32) -> Result<Self> {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            let shown = path.display();
            if !metadata.file_type().is_socket() {
                bail!("--listen unix:{shown}: a file that is not a socket is there (choose another path)");
            }
            match UnixStream::connect(path) {
                Ok(_) => {
                    bail!("--listen unix:{shown}: a server is listening there already (choose another path)")
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
                    .with_context(|| {
                        format!("--listen unix:{shown}: cannot remove a dead server's socket")
                    })?,
                Err(error) => return Err(error).with_context(|| format!("--listen unix:{shown}")),
            }
        }
        // From before the socket is there, so that no signal can leave it behind.
        let signals = stop::catch_signals()?;
        // The mode must hold from the first moment on, so that nobody else can slip in between.
        let umask_before = rustix::process::umask(Mode::from_raw_mode((0o777 & !mode) as _));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask_before);
        let listener = bound.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                let bytes = path.as_os_str().len();
                anyhow!("--listen unix:{}: {bytes} bytes (take a path of at most 103)", path.display())
            }
            _ => anyhow!(error).context(format!("--listen unix:{}", path.display())),
        })?;
        let gate = Gate::default();
        let own = identity(path);
        let socket = path.to_owned();
        stop::on_signal(signals, gate.clone(), false, move || {
            // Not one that somebody else has put in its place since.
            if identity(&socket) == own {
                let _ = fs::remove_file(&socket);
            }
        })?;
        Ok(Self { listener, path: path.to_owned(), gate })
    }

    /// Serves clients until a signal ends the process. One is ended when it has had no session for as long as `idle_limit`.
    pub fn serve(self, served: Served, idle_limit: Option<Duration>) -> Result<()> {
        log::tell("listening", &format!("listening on unix:{}", self.path.display()));
        let served = Arc::new(served);
        let n_clients = Arc::new(AtomicUsize::new(0));
        loop {
            let stream = match self.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    log::warn("accept", &format!("cannot accept a client: {error}"));
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            if !has_room() {
                let text = "too few file descriptors are left for another client (raise `ulimit -n`)";
                log::warn("accept", text);
                refuse(&stream, text);
                continue;
            }
            let place = Place::take(&n_clients);
            if place.number > MAX_CLIENTS {
                let text =
                    format!("{MAX_CLIENTS} clients are connected, which is the most (wait for one to end)");
                refuse(&stream, &text);
                continue;
            }
            let (served, gate) = (served.clone(), self.gate.clone());
            let spawned = thread::Builder::new().name("client".into()).spawn(move || {
                let client = place.id;
                log::note("connected", json!({ "client": client }));
                serve_client(&served, &gate, &stream, idle_limit);
                log::note("gone", json!({ "client": client }));
                drop(place);
            });
            if let Err(error) = spawned {
                log::warn("client", &format!("cannot serve a client: {error}"));
            }
        }
    }

    /// The next client. Its descriptor is asked for when it knocks: an accept fails for want of one even while
    /// nobody does.
    fn accept(&self) -> io::Result<UnixStream> {
        while !wire::wait::readable(&self.listener, ACCEPT_WAIT)? {}
        Ok(self.listener.accept()?.0)
    }
}

/// Whether what a client takes is left, for the descriptors it comes with are not all.
fn has_room() -> bool {
    let tried = (0..CLIENT_DESCRIPTORS).map_while(|_| fs::File::open("/dev/null").ok());
    tried.collect::<Vec<_>>().len() == CLIENT_DESCRIPTORS
}

/// Which file is at `path`, if any.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok()
}

/// A client's place among those that are served; given back when it is dropped, even by a panic.
struct Place {
    taken: Arc<AtomicUsize>,
    number: usize,
    /// Counts all clients that ever came.
    id: usize,
}

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Self {
        static CLIENTS: AtomicUsize = AtomicUsize::new(1);
        let number = taken.fetch_add(1, Ordering::Relaxed) + 1;
        Self { taken: taken.clone(), number, id: CLIENTS.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Hello,
    Session,
    Anything,
}

fn serve_client(served: &Served, gate: &Gate, stream: &UnixStream, idle_limit: Option<Duration>) {
    const NO_HELLO_YET: usize = usize::MAX;
    let n_sessions = AtomicUsize::new(NO_HELLO_YET);
    let awaited = Awaited::new(stream);
    awaited.wait_for(Some(HELLO_LIMIT));
    let on_sessions = |n_open: usize| {
        n_sessions.store(n_open, Ordering::Relaxed);
        // A client that has a session may think as long as it likes.
        awaited.wait_for(idle_limit.filter(|_| n_open == 0));
    };
    let reader = Awake::buffered(&awaited);
    let outcome = stream
        .set_write_timeout(Some(UNREAD_LIMIT))
        .map_err(WireError::Io)
        .and_then(|()| converse(served, gate, Carrier::Socket, reader, stream, on_sessions));
    let Err(error) = outcome else { return };
    let due = match n_sessions.into_inner() {
        NO_HELLO_YET => Due::Hello,
        0 => Due::Session,
        _ => Due::Anything,
    };
    let text = in_words(&error, due, idle_limit);
    log::warn("client", &text);
    // Who does not read his answers has half a frame, which must not be broken into.
    if is_waited_for_in_vain(&error) && due != Due::Anything {
        // It may ask for something later, and is then to know.
        refuse(stream, &text);
    }
}

fn is_waited_for_in_vain(error: &WireError) -> bool {
    matches!(error, WireError::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

/// What went wrong with a client; of one that was waited for in vain the system only says that it is not ready.
fn in_words(error: &WireError, due: Due, idle_limit: Option<Duration>) -> String {
    if !is_waited_for_in_vain(error) {
        return error.to_string();
    }
    let unread = format!("left an answer unread for {} s", UNREAD_LIMIT.as_secs());
    match (due, idle_limit) {
        (Due::Hello, _) => format!("a client said no hello for {} s, or {unread}", HELLO_LIMIT.as_secs()),
        (Due::Session, Some(limit)) => {
            let seconds = limit.as_secs_f64();
            format!("a client had no session for {seconds} s (--idle-timeout), or {unread}")
        }
        _ => format!("a client {unread}"),
    }
}

fn refuse(stream: &UnixStream, text: &str) {
    let text = text.to_owned();
    let _ = stream.set_write_timeout(Some(ACCEPT_PAUSE));
    if let Ok(body) = encode(&Refusal { code: ErrorCode::TooMany, text }) {
        let _ = frame::write(&mut &*stream, Kind::Refused, 0, &body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_for_its_user_alone_and_a_live_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listening = Listening::bind(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Listening::bind(&path, 0o600).unwrap_err().to_string();
        assert!(error.contains("listening there already"), "{error}");
        // What a dead server leaves behind is replaced.
        drop(listening);
        assert!(path.exists());
        Listening::bind(&path, 0o600).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(Listening::bind(&path, 0o600).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert!(Listening::bind(Path::new("/nonexistent/socket"), 0o600).is_err());
        assert!(parse_address("tcp:1234").is_err() && parse_address("unix:").is_err());
        assert_eq!(parse_address("unix:/a").unwrap(), Path::new("/a"));
    }
}
