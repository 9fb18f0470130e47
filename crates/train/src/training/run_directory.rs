//! The directory of one run: `OUT/DATE-SEED`, with `OUT/latest` pointing to the newest.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Zoned;

/// Refuses an `out` that cannot hold runs, before anything is started for one.
///
/// # Errors
/// If something that is no directory has its name.
pub fn check(out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        bail!("{} is not a directory (choose another --out)", out.display());
    }
    Ok(())
}

/// Creates the directory of a run that begins at `now`, and points `latest` to it. The name ends with `mark`,
/// which tells it from others of the same second; of those with the same mark all but the first have a number too.
///
/// # Errors
/// If it cannot be made.
pub fn create(out: &Path, mark: &str, now: &Zoned) -> Result<PathBuf> {
    let run = create_group(out, mark, now)?;
    add_checkpoints(&run)?;
    Ok(run)
}

/// Makes exactly the directory `run` that of a run.
///
/// # Errors
/// If it exists, or cannot be made.
pub fn make(run: &Path) -> Result<PathBuf> {
    make_new(run)?;
    add_checkpoints(run)?;
    Ok(run.to_owned())
}

/// Runs of the same second and mark that are told apart by a number: a sweep that begins all at once.
const MOST_AT_ONCE: u32 = 1000;

/// Creates the directory of a group of runs, named like that of a run.
///
/// # Errors
/// If it cannot be made.
pub fn create_group(out: &Path, mark: &str, now: &Zoned) -> Result<PathBuf> {
    fs::create_dir_all(out)
        .with_context(|| format!("cannot make the directory {} (choose another --out)", out.display()))?;
    let first = format!("{}-{mark}", now.strftime("%Y-%m-%d_%H-%M-%S"));
    let mut name = first.clone();
    // Whoever makes a name first has it, so that two never share one.
    for number in 2..=MOST_AT_ONCE {
        match fs::create_dir(out.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = format!("{first}-{number}"),
            Err(error) => return Err(error).with_context(|| not_made(&out.join(&name))),
            Ok(()) => break,
        }
    }
    let run = out.join(&name);
    point(out, &name).with_context(|| format!("{}/latest", out.display()))?;
    Ok(run)
}

fn add_checkpoints(run: &Path) -> Result<()> {
    fs::create_dir(run.join("checkpoints")).with_context(|| run.display().to_string())
}

fn make_new(run: &Path) -> Result<()> {
    match fs::create_dir(run) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{}: a run is there already (choose another --out or --seed)", run.display())
        }
        Err(error) => Err(error).with_context(|| not_made(run)),
    }
}

fn not_made(run: &Path) -> String {
    format!("cannot make {} (choose another --out)", run.display())
}

/// Takes the run in the directory `run` for this process, for as long as the value or the process lives: two
/// trainings in one directory would spoil both.
///
/// # Errors
/// If another process is at work in it.
pub fn claim(run: &Path) -> Result<File> {
    let file = File::create(run.join(".claimed")).with_context(|| run.display().to_string())?;
    // SAFETY: the descriptor is open, as `file` lives.
    let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
    // A file system without locks is no reason not to learn.
    if !taken && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        bail!("{}: a training is at work in it (wait until it ends, or end it)", run.display());
    }
    Ok(file)
}

/// Replaces the link in one step, so that it never points nowhere.
fn point(out: &Path, name: &str) -> Result<()> {
    let latest = out.join("latest");
    if latest.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
        bail!("something that is no link stands in the way (move it)");
    }
    let new = out.join(format!(".latest-{name}"));
    std::os::unix::fs::symlink(name, &new)?;
    Ok(fs::rename(new, latest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_points_to_the_newest_run_and_no_two_share_a_directory() {
        let out = tempfile::tempdir().unwrap();
        let now = Zoned::now();
        create(out.path(), "1", &now).unwrap();
        let second = create(out.path(), "2", &now).unwrap();
        let latest = fs::canonicalize(out.path().join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(&second).unwrap());
        let third = create(out.path(), "2", &now).unwrap();
        assert_eq!(third.display().to_string(), format!("{}-2", second.display()));
        assert!(create(out.path(), "2", &now).unwrap().display().to_string().ends_with("-2-3"));
        let error = make(&second).unwrap_err().to_string();
        assert!(error.contains("a run is there already"), "{error}");
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a-file");
        fs::write(&file, "").unwrap();
        for error in [create(&file, "1", &Zoned::now()).unwrap_err(), check(&file).unwrap_err()] {
            let text = format!("{error:#}");
            assert!(text.contains("a-file") && text.contains("--out"), "{text}");
        }
    }

    #[test]
    fn a_run_is_claimed_by_one_at_a_time() {
        let run = tempfile::tempdir().unwrap();
        let first = claim(run.path()).unwrap();
        assert!(claim(run.path()).unwrap_err().to_string().contains("at work"));
        drop(first);
        assert!(claim(run.path()).is_ok());
    }
}
