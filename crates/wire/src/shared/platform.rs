//! Pieces of memory to share, and how the other side gets them: the differences between systems live here.
//!
//! - Over a socket they are descriptors of memory without a name. On Linux it is sealed: nobody can make it
//!   shorter under the other's feet, and the slab's can be mapped by nobody else to be written. On macOS it is
//!   POSIX shared memory, which can be given its size once only, and the slab's descriptor cannot write.
//! - Over pipes they are files, mode 0600 (the slab's 0400) in a directory of mode 0700, there for as long as
//!   the other side takes to map them. Files have no seals: they are for a process that started the server,
//!   which it could as well kill. A server that is killed in that moment leaves them, and the next one that
//!   makes some takes them away.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use super::mapping::{Mapping, OwnWords};

/// A session's two pieces of memory, as the server holds them.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Written by both sides.
    pub(crate) exchange: Mapping,
    /// Written by the server.
    pub(crate) slab: OwnWords,
}

/// Directories whose files nobody has mapped yet.
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the files that no client has mapped yet, for a process that ends at a signal.
pub fn remove_pending() {
    for folder in PENDING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Two files in a directory of their own, removed when this is dropped: a mapping outlives its file.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes pieces of these sizes, in memory where the system has a directory for that.
    pub(crate) fn create(exchange_bytes: usize, slab_bytes: usize) -> io::Result<(Pieces, Self)> {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.is_dir()
            && let Ok(made) = Self::create_in(shared_memory, exchange_bytes, slab_bytes)
        {
            return Ok(made);
        }
        Self::create_in(&std::env::temp_dir(), exchange_bytes, slab_bytes)
    }

    fn create_in(place: &Path, exchange_bytes: usize, slab_bytes: usize) -> io::Result<(Pieces, Self)> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| remove_left_over(place));
        let folder = place.join(unused_name());
        DirBuilder::new().mode(0o700).create(&folder)?;
        PENDING.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
        let files = Self { folder };
        let exchange = files.make("exchange", exchange_bytes)?;
        let slab = files.make("slab", slab_bytes)?;
        slab.set_permissions(Permissions::from_mode(0o400))?;
        let exchange = Mapping::read_write(&exchange, exchange_bytes)?;
        // SAFETY: the file can be opened by this user alone, and by its mode by nobody to be written. Who started
        // this process could lift that on purpose, but could as well trace or kill it.
        let slab = unsafe { OwnWords::new(Mapping::read_write(&slab, slab_bytes)?) };
        Ok((Pieces { exchange, slab }, files))
    }

    /// Where the exchange and the slab lie.
    pub(crate) fn paths(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("exchange"), self.folder.join("slab"))
    }

    fn make(&self, name: &str, bytes: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create_new(true).mode(0o600).open(self.folder.join(name))?;
        reserve(&mut file, bytes)?;
        Ok(file)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        PENDING.lock().unwrap_or_else(PoisonError::into_inner).retain(|folder| *folder != self.folder);
    }
}

/// Removes what processes of this user that are no more have left in `place`.
fn remove_left_over(place: &Path) {
    let is_dead = |id: i32| {
        let probed = rustix::process::Pid::from_raw(id).map(rustix::process::test_kill_process);
        probed == Some(Err(rustix::io::Errno::SRCH))
    };
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let maker = entry.file_name().to_str().and_then(maker_of);
        // Not what a link leads to.
        let is_ours = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw());
        if is_ours && maker.is_some_and(is_dead) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made what has this name, as [`unused_name`] gives them.
fn maker_of(name: &str) -> Option<i32> {
    let mut parts = name.strip_prefix("envpool-")?.split('-');
    let maker = i32::from_str_radix(parts.next()?, 16).ok()?;
    (parts.count() == 2).then_some(maker)
}

/// Opens the files of a server that this process started: regular ones of this user, and nobody else's to read.
pub(crate) fn open_files(exchange: &Path, slab: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let open = |path: &Path, to_write: bool| -> io::Result<OwnedFd> {
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(to_write).custom_flags(no_link).open(path)?;
        let metadata = file.metadata()?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_file() || !is_ours || metadata.mode() & 0o077 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a file of this user's own"));
        }
        Ok(file.into())
    };
    Ok((open(exchange, true)?, open(slab, false)?))
}

/// Pieces of these sizes without a name, and the descriptors that the other side gets of them.
pub(crate) fn nameless(exchange_bytes: usize, slab_bytes: usize) -> io::Result<(Pieces, [OwnedFd; 2])> {
    let (exchange, for_exchange) = nameless_piece(exchange_bytes, true)?;
    let (slab, for_slab) = nameless_piece(slab_bytes, false)?;
    // SAFETY: the descriptor that the other side gets cannot be used to write this memory, or to shorten it.
    let slab = unsafe { OwnWords::new(slab) };
    Ok((Pieces { exchange, slab }, [for_exchange, for_slab]))
}

#[cfg(target_os = "linux")]
fn nameless_piece(bytes: usize, may_be_written: bool) -> io::Result<(Mapping, OwnedFd)> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let memory = rustix::fs::memfd_create("envpool", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    reserve(&mut file, bytes)?;
    // Before the seal that forbids to map it so.
    let mapping = Mapping::read_write(&file, bytes)?;
    let writes = if may_be_written { SealFlags::empty() } else { SealFlags::FUTURE_WRITE };
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | writes)?;
    Ok((mapping, file.into()))
}

#[cfg(not(target_os = "linux"))]
fn nameless_piece(bytes: usize, may_be_written: bool) -> io::Result<(Mapping, OwnedFd)> {
    use rustix::fs::Mode;
    use rustix::shm::{self, OFlags};
    let name = format!("/{}", unused_name());
    let memory =
        shm::open(name.as_str(), OFlags::CREATE | OFlags::EXCL | OFlags::RDWR, Mode::RUSR | Mode::WUSR)?;
    let theirs = if may_be_written {
        Ok(memory.try_clone()?)
    } else {
        shm::open(name.as_str(), OFlags::RDONLY, Mode::empty())
    };
    shm::unlink(name.as_str())?;
    rustix::fs::ftruncate(&memory, bytes as u64)?;
    Ok((Mapping::read_write(&memory, bytes)?, theirs?))
}

/// Whether memory that came as a descriptor cannot be made shorter while it is mapped.
pub(crate) fn keeps_its_size(memory: &OwnedFd) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::fcntl_get_seals(memory)
        .is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::SHRINK));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = memory;
        true
    }
}

/// Fills `file` with zeros: space that was only promised could be found missing at a write, which is a SIGBUS.
fn reserve(file: &mut File, bytes: usize) -> io::Result<()> {
    let zeros = [0; 1 << 14];
    let mut left = bytes;
    while left > 0 {
        left -= file.write(&zeros[..left.min(zeros.len())])?;
    }
    Ok(())
}

/// A name that nobody uses; whoever makes something of that name fails if somebody does. Short, as macOS takes
/// 31 characters.
fn unused_name() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    format!("envpool-{:x}-{:x}-{nanos:x}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_this_user_alone_and_gone_once_mapped() {
        let (pieces, files) = Files::create(512, 4096).unwrap();
        let (exchange, slab) = files.paths();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&files.folder), mode(&exchange), mode(&slab)), (0o700, 0o600, 0o400));
        let (exchange, slab) = open_files(&exchange, &slab).unwrap();
        let (ours, theirs) =
            (Mapping::read_write(&exchange, 512).unwrap(), Mapping::read_only(&slab, 4096).unwrap());
        let folder = files.folder.clone();
        drop(files);
        assert!(!folder.exists());
        ours.word(4).store(5, Ordering::SeqCst);
        assert_eq!(pieces.exchange.word(4).load(Ordering::SeqCst), 5);
        let mut slab = pieces.slab;
        slab[1] = 9;
        let mut seen = [0];
        theirs.copy_out(8, &mut seen);
        assert_eq!(seen, [9]);
    }

    #[test]
    fn what_a_killed_server_left_is_removed_and_nothing_else() {
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let (dead, alive) = (dead.id(), std::process::id());
        let place = tempfile::tempdir().unwrap();
        let names =
            ["envpool-DEAD-0-5", "envpool-ALIVE-0-5", "envpool-DEAD", "envpool-xyz-0-5", "other-DEAD-0-5"];
        let path = |name: &str| {
            let name = name.replace("DEAD", &format!("{dead:x}")).replace("ALIVE", &format!("{alive:x}"));
            place.path().join(name)
        };
        for name in names {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("slab"), "").unwrap();
        }
        std::os::unix::fs::symlink(path("other-DEAD-0-5"), path("envpool-DEAD-1-5")).unwrap();
        remove_left_over(place.path());
        let left: Vec<_> = names.into_iter().filter(|name| path(name).join("slab").exists()).collect();
        assert_eq!(left, names[1..]);
    }

    #[test]
    fn files_of_others_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, [0; 8]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(open_files(&path, &path).is_err(), "readable by all");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let link = folder.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open_files(&path, &path).is_ok());
        assert!(open_files(&link, &path).is_err(), "a link");
        assert!(open_files(folder.path(), &path).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_gets_the_descriptors_can_neither_shorten_nor_write_the_slab() {
        let (mut pieces, [exchange, slab]) = nameless(512, 4096).unwrap();
        for memory in [&exchange, &slab] {
            assert!(keeps_its_size(memory));
            assert!(rustix::fs::ftruncate(memory, 1).is_err());
        }
        assert!(Mapping::read_write(&slab, 4096).is_err());
        assert!(rustix::io::write(&slab, &[1]).is_err());
        Mapping::read_write(&exchange, 512).unwrap().word(0).store(3, Ordering::SeqCst);
        assert_eq!(pieces.exchange.word(0).load(Ordering::SeqCst), 3);
        pieces.slab[0] = 4;
        let mut seen = [0];
        Mapping::read_only(&slab, 4096).unwrap().copy_out(0, &mut seen);
        assert_eq!(seen, [4]);
    }
}
