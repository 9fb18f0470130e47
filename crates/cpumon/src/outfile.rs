//! Files that are written while others depend on this process: a reader that has stopped reading must not stop it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A file, or a named pipe or terminal whose reader gets only so much time for each piece.
#[derive(Debug)]
pub struct OutFile(File);

/// How long a reader may keep a writer waiting.
const PATIENCE: Duration = Duration::from_secs(1);

impl OutFile {
    /// Opens it, empty.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // For a plain file the flag means nothing.
        let opened =
            options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(path);
        opened.map(Self).map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => io::Error::other("nobody reads it (start its reader first)"),
            _ => error,
        })
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader takes nothing"));
            }
            let mut wanted = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
            // SAFETY: the structure is live, and its descriptor is open. Whatever ends the wait, writing is tried again.
            unsafe { libc::poll(&raw mut wanted, 1, left.as_millis() as i32 + 1) };
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether [`write_whole`] could write there now, so that a long run does not end with an error about its picture.
pub fn check_writable(path: &Path) -> Result<()> {
    if let Some(draft) = draft_of(path)? {
        drop(File::create(&draft).with_context(|| named(path))?);
        fs::remove_file(&draft).with_context(|| named(path))?;
    }
    Ok(())
}

/// Writes all of it under another name that then becomes `path`, so that no half of it is ever there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some(draft) = draft_of(path)? else {
        return OutFile::create(path).and_then(|mut file| file.write_all(bytes)).with_context(|| named(path));
    };
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, target));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| named(path))
}

fn named(path: &Path) -> String {
    format!("{}: cannot be written (--plot)", path.display())
}

/// A name beside what `path` really is; `None` for a pipe or device, which nothing may take the place of.
fn draft_of(path: &Path) -> Result<Option<PathBuf>> {
    if path == Path::new("-") {
        bail!("-: a picture needs a file of its own (--plot)");
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(io::Error::from_raw_os_error(libc::EISDIR)).with_context(|| named(path));
        }
        Ok(found) if !found.is_file() => return Ok(None),
        _ => {}
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().with_context(|| format!("{}: no name of a file (--plot)", path.display()))?);
    name.push(format!(".{}.new", std::process::id()));
    Ok(Some(target.with_file_name(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn a_reader_that_stops_reading_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends in a zero byte.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(OutFile::create(&path).unwrap_err().to_string().contains("nobody reads it"));
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut out = OutFile::create(&path).unwrap();
        let error = out.write_all(&vec![0; 8 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
        assert_eq!(out.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_whole_file_takes_the_place_of_an_older_one_and_of_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "older").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for text in ["one", "two"] {
            check_writable(&link).unwrap();
            write_whole(&link, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no draft stays behind");
        write_whole(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        for wrong in [directory.path().to_owned(), directory.path().join("missing/file")] {
            let error = check_writable(&wrong).unwrap_err();
            assert!(format!("{error:#}").contains("cannot be written (--plot): "), "{error:#}");
        }
    }
}
