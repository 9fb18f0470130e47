//! Small files of `/proc` that are read again and again. Opening one costs several times what reading it does,
//! so they are kept open, and read with one call each: this is most of what a sample costs.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Which file of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/proc/PID/stat`, of the whole process.
    Stat,
    /// `/proc/PID/task/TID/schedstat`.
    Schedule,
    /// `/proc/PID/task/TID/children`.
    Children,
    /// `/proc/PID/task/TID/stat`, of one thread.
    ThreadStat,
}

impl Kind {
    fn path(self, pid: u32, tid: u32) -> String {
        match self {
            Self::Stat => format!("/proc/{pid}/stat"),
            Self::Schedule => format!("/proc/{pid}/task/{tid}/schedstat"),
            Self::Children => format!("/proc/{pid}/task/{tid}/children"),
            Self::ThreadStat => format!("/proc/{pid}/task/{tid}/stat"),
        }
    }
}

/// More files than this are opened anew each time, as descriptors are limited.
const MOST_OPEN: usize = 256;

#[derive(Default)]
pub struct Files {
    open: HashMap<(u32, Kind), (File, u64)>,
    look: u64,
    buffer: Vec<u8>,
}

impl Files {
    /// Begins a look; what the last one did not use is closed.
    pub fn begin(&mut self) {
        let look = self.look;
        self.open.retain(|_, (_, used)| *used == look);
        self.look += 1;
    }

    /// The text of a file; `None` if the thread is gone.
    pub fn read(&mut self, pid: u32, tid: u32, kind: Kind) -> Option<&str> {
        let length = match self.open.get_mut(&(tid, kind)) {
            // A number that now belongs to another thread gives an error here, too.
            Some((file, used)) if file_text(file, &mut self.buffer).is_some() => {
                *used = self.look;
                self.buffer.len()
            }
            _ => {
                self.open.remove(&(tid, kind));
                let file = File::open(kind.path(pid, tid)).ok()?;
                file_text(&file, &mut self.buffer)?;
                if self.open.len() < MOST_OPEN {
                    self.open.insert((tid, kind), (file, self.look));
                }
                self.buffer.len()
            }
        };
        // A name may hold bytes that are no text; they are of no use to anybody.
        if std::str::from_utf8(&self.buffer[..length]).is_err() {
            self.buffer = String::from_utf8_lossy(&self.buffer).into_owned().into_bytes();
        }
        std::str::from_utf8(&self.buffer).ok()
    }
}

/// Reads all of `file` from its beginning.
fn file_text(file: &File, buffer: &mut Vec<u8>) -> Option<()> {
    /// The kernel hands out less than this in one piece; from there on an end must be seen to be believed.
    const ONE_PIECE: usize = 1024;
    let mut length = 0;
    loop {
        buffer.resize(length + 2 * ONE_PIECE, 0);
        // A process that ends while it is read gives an error.
        let more = file.read_at(&mut buffer[length..], length as u64).ok()?;
        length += more;
        if more == 0 || length < ONE_PIECE {
            break;
        }
    }
    buffer.truncate(length);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_open_file_notices_the_end_of_its_process() {
        let mut child = Command::new("sleep").arg("20").spawn().unwrap();
        let pid = child.id();
        let mut files = Files::default();
        for _ in 0..3 {
            files.begin();
            assert!(files.read(pid, pid, Kind::Stat).unwrap().starts_with(&format!("{pid} (")));
        }
        assert_eq!(files.open.len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(files.read(pid, pid, Kind::Stat), None);
        assert!(files.open.is_empty());
    }

    #[test]
    fn long_files_are_read_to_their_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "7 ".repeat(5000)).unwrap();
        let mut buffer = Vec::new();
        file_text(&file.reopen().unwrap(), &mut buffer).unwrap();
        assert_eq!(buffer.len(), 10_000);
    }
}
