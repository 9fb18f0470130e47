//! Waiting on a file descriptor with an end, so that no side hangs on a peer that has stopped.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until `fd` is readable (or its peer has gone, which a read will tell) or the time is up.
/// Returns whether it is.
pub fn readable(fd: &impl AsFd, limit: Duration) -> io::Result<bool> {
    until(fd, PollFlags::IN, limit)
}

/// Waits until `fd` is writable (or its peer has gone, which a write will tell) or the time is up.
/// Returns whether it is.
pub fn writable(fd: &impl AsFd, limit: Duration) -> io::Result<bool> {
    until(fd, PollFlags::OUT, limit)
}

/// Waits until `out` is writable or `back` readable, or the time is up. Returns whether one of them is.
pub fn writable_or_readable(out: &impl AsFd, back: &impl AsFd, limit: Duration) -> io::Result<bool> {
    any(&mut [PollFd::new(out, PollFlags::OUT), PollFd::new(back, PollFlags::IN)], limit)
}

fn until(fd: &impl AsFd, flags: PollFlags, limit: Duration) -> io::Result<bool> {
    any(&mut [PollFd::new(fd, flags)], limit)
}

fn any(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(fds, Some(&timeout)) {
            Ok(ready) if ready > 0 => return Ok(true),
            Ok(_) if left.is_zero() => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes reads and writes on `fd` return at once, so that only [`readable`] and [`writable`] wait.
pub fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Asks for a pipe that holds a whole exchange, so that writing one wakes the reader once. Only Linux has
/// the call; elsewhere, and where the limit for users is lower, the pipe stays as it is.
pub fn widen_pipe(fd: &impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(fd, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = fd;
}
