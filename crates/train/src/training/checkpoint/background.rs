//! Threads that nobody waits for go behind those that act and learn.

/// Puts the calling thread behind the others of this process: where every core is busy, the training keeps its own.
/// That nothing comes of it where the system refuses is of no harm.
#[cfg(target_vendor = "apple")]
pub fn give_way() {
    // SAFETY: changes what the system knows of the calling thread, and reads no memory of ours.
    let _ = unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0) };
}

/// Puts the calling thread behind the others of this process: where every core is busy, the training keeps its own.
/// That nothing comes of it where the system refuses is of no harm.
#[cfg(not(target_vendor = "apple"))]
pub fn give_way() {
    /// Of 19, which would leave it next to nothing.
    const NICENESS: libc::c_int = 10;
    // On Linux a niceness belongs to a thread, and 0 is the calling one.
    // SAFETY: changes what the system knows of the calling thread, and reads no memory of ours.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}
