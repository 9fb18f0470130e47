//! Files under a temporary name until all is well: whoever is interrupted leaves nothing half-written, and whoever
//! reads meanwhile sees the old file or the new one, whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// The files of this process that have no name of their own yet, so that a signal can take them away.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file under a temporary name, removed unless it is renamed.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A new file beside `path`, which it will replace. The folder is made if it is missing.
    pub fn beside(path: &Path) -> Result<(Self, File)> {
        let name =
            path.file_name().ok_or_else(|| Error::content(path, "is not the name of a file to write"))?;
        is_replaceable(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(|error| Error::io(path, error))?;
        }
        Self::within(folder, &name.to_string_lossy())
    }

    /// A new file in `folder`, called after `name`. Its name is hidden and no other process's.
    pub fn within(folder: &Path, name: &str) -> Result<(Self, File)> {
        // A name may be as long as a file system allows, which the temporary one must not exceed.
        let stem: String = name.chars().take(48).collect();
        let stem = stem.replace('/', "%2F");
        let mut unfinished = unfinished();
        let mut attempt = 0;
        loop {
            let path = folder.join(format!(".{stem}.partial-{}-{attempt}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => {
                    unfinished.insert(path.clone());
                    return Ok((Self { path }, file));
                }
                // Left behind by a process that was killed, or another one's in a container of its own.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(Error::io(&folder.join(name), error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, in place of any earlier file.
    pub fn rename(self, path: &Path) -> Result<()> {
        rename_all(vec![(self, path.to_owned())])
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What was renamed is no longer listed. A failure to remove has nowhere to go.
        if unfinished().remove(&self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Gives each file its name, the folders made where they are missing. [`abandon_all`] comes before or after all of
/// them, never in between.
#[expect(clippy::needless_pass_by_value, reason = "the files are given up: what is not renamed is removed")]
pub fn rename_all(files: Vec<(Temporary, PathBuf)>) -> Result<()> {
    let mut unfinished = unfinished();
    // What can fail beforehand does, so that all or none are renamed.
    let ready = files.iter().try_for_each(|(_, path)| {
        is_replaceable(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let made = if folder.as_os_str().is_empty() { Ok(()) } else { fs::create_dir_all(folder) };
        made.map_err(|error| Error::io(folder, error))
    });
    let mut rename = |(temporary, path): &(Temporary, PathBuf)| {
        fs::rename(&temporary.path, path).map_err(|error| Error::io(path, error))?;
        unfinished.remove(&temporary.path);
        Ok(())
    };
    let renamed = ready.and_then(|()| files.iter().try_for_each(&mut rename));
    // The rest is removed by dropping it, for which the list must be free.
    drop(unfinished);
    renamed
}

/// Removes every unfinished file and lets no other be begun: the process is about to end. Gives the number removed.
pub fn abandon_all() -> usize {
    let unfinished = unfinished();
    for path in unfinished.iter() {
        drop(fs::remove_file(path));
    }
    let n = unfinished.len();
    std::mem::forget(unfinished);
    n
}

/// A rename would put a file in place of a device or a link, which nobody means by naming one.
fn is_replaceable(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::content(
            path,
            "is not a plain file, and would be replaced (choose another output)",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("market-temporary-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let names = || fs::read_dir(&folder).unwrap().count();
        let path = folder.join("out.txt");
        let (one, _) = Temporary::beside(&path).unwrap();
        let (two, mut file) = Temporary::beside(&path).unwrap();
        assert_ne!(one.path(), two.path());
        drop(one);
        assert_eq!(names(), 1);
        file.write_all(b"done").unwrap();
        two.rename(&path).unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (1, b"done".to_vec()));
        let (three, _) = Temporary::within(&folder, &"long/".repeat(100)).unwrap();
        let error = rename_all(vec![(three, folder.clone())]).unwrap_err();
        assert!(error.to_string().contains("is not a plain file"), "{error}");
        assert_eq!(names(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
