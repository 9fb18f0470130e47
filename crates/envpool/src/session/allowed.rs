//! What a client may ask a session to be, looked at before anything is allocated for it.

use trading_env::environment::BLOCK_LEN;
use wire::message::{ErrorCode, MAX_IN_FLIGHT, Refusal};
use wire::{Open, SlabLayout};

use crate::served::Served;

/// More than an environment takes beside its place in the slabs.
const STATE_BYTES: usize = 512;

/// Whether a session may be as large as `open` says, and have as many batches.
pub(super) fn check_size(served: &Served, open: &Open) -> Result<(), Refusal> {
    let max_envs = served.spec.max_envs;
    let refuse = |code: ErrorCode, text: String| Err(Refusal { code, text });
    if open.n_envs == 0 || open.n_envs > max_envs {
        let text = format!(
            "a session of {} environments, where 1 to {max_envs} are allowed (start envpool with a larger --envs)",
            open.n_envs
        );
        return refuse(ErrorCode::TooMany, text);
    }
    if open.batch > open.n_envs {
        let text = format!("a batch of {} of {} environments (take a smaller one)", open.batch, open.n_envs);
        return refuse(ErrorCode::BadOpen, text);
    }
    if open.max_in_flight() > MAX_IN_FLIGHT {
        let least = open.n_envs / (MAX_IN_FLIGHT + 1) + 1;
        let text = format!(
            "batches of {} of {} environments, where at most {MAX_IN_FLIGHT} batches are allowed (take at least {least})",
            open.batch, open.n_envs
        );
        return refuse(ErrorCode::TooMany, text);
    }
    Ok(())
}

/// Tries whether there is memory for a session of slabs like `layout`: where it is not, to allocate ends the process,
/// and every other client with it. What is only tried takes none.
pub(super) fn check_memory(layout: &SlabLayout, open: &Open) -> Result<(), Refusal> {
    let n_slabs = 2 + open.max_in_flight() as usize;
    let bytes =
        n_slabs * layout.max_bytes() + (open.n_envs as usize).next_multiple_of(BLOCK_LEN) * STATE_BYTES;
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        let text = format!(
            "no memory for a session of {} environments, about {} MB (open a smaller one)",
            open.n_envs,
            bytes.div_ceil(1_000_000)
        );
        Refusal { code: ErrorCode::TooMany, text }
    })
}
