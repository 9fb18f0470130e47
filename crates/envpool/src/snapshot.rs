//! A session's whole state in bytes: what a client keeps in its checkpoint and gives back to this server, or
//! to another one that serves the same.
//!
//! The bytes are `ENVSNAP3`, the session's seed (u64), the head's length (u64), the head, the slab without its
//! observations, which follow from the environments, the ends, the environments, and the SHA-256 of all before it. The seed stands where a client can read it, to open a session
//! with it. The check sum finds what was cut or garbled on a disk; that a snapshot belongs here is told
//! by its head. Neither makes it trustworthy: the environments check what they restore.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::Open;
use wire::message::{ErrorCode, Refusal, decode, encode};

use crate::served::Served;

const MAGIC: &[u8; 8] = b"ENVSNAP3";
const SUM_BYTES: usize = 32;
/// Magic, seed and the length of the head.
const START_BYTES: usize = 24;

/// What a snapshot says about its session.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    served: [u8; 32],
    open: Open,
    batch: u32,
    was_reset: bool,
    slab_bytes: u64,
    ends_bytes: u64,
}

/// A session's state, in pieces.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Whether it has been reset since it was opened.
    pub was_reset: bool,
    /// What the last exchange brought, as a frame carries it after the observations.
    pub slab: &'a [u8],
    /// With partial batches: how each environment's last step ended, two bytes each.
    pub ends: &'a [u8],
    /// The environments.
    pub batch: &'a [u8],
}

/// One snapshot out of its pieces.
pub fn join(served: &Served, open: &Open, parts: &Parts<'_>) -> Result<Vec<u8>, Refusal> {
    let head = Head {
        served: identity(served)?,
        open: open.clone(),
        batch: open.batch,
        was_reset: parts.was_reset,
        slab_bytes: parts.slab.len() as u64,
        ends_bytes: parts.ends.len() as u64,
    };
    let head = encode(&head).map_err(refuse)?;
    let sections = parts.slab.len() + parts.ends.len() + parts.batch.len();
    let mut bytes = Vec::with_capacity(START_BYTES + head.len() + sections + SUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&open.seed.to_le_bytes());
    bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(parts.slab);
    bytes.extend_from_slice(parts.ends);
    bytes.extend_from_slice(parts.batch);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    Ok(bytes)
}

/// The pieces of a snapshot of a session that was opened like `open` on a server that serves the same.
pub fn split<'a>(served: &Served, open: &Open, bytes: &'a [u8]) -> Result<Parts<'a>, Refusal> {
    let whole = || refuse("these bytes are no whole snapshot (was the file cut short?)".into());
    let (content, sum) = bytes.len().checked_sub(SUM_BYTES).map(|at| bytes.split_at(at)).ok_or_else(whole)?;
    if Sha256::digest(content).as_slice() != sum {
        return Err(whole());
    }
    let (magic, rest) = content.split_first_chunk::<8>().ok_or_else(whole)?;
    let (_seed, rest) = rest.split_first_chunk::<8>().ok_or_else(whole)?;
    let (head_bytes, rest) = rest.split_first_chunk::<8>().ok_or_else(whole)?;
    let head_bytes = usize::try_from(u64::from_le_bytes(*head_bytes)).map_err(|_| whole())?;
    if magic != MAGIC {
        return Err(refuse(
            "a snapshot of another release of envpool (take that release, or begin anew)".into(),
        ));
    }
    let (head, rest) = rest.split_at_checked(head_bytes).ok_or_else(whole)?;
    let mut head: Head = decode(head).map_err(|what| refuse(format!("a snapshot's head: {what}")))?;
    head.open.batch = head.batch;
    if let Some(difference) = difference(&head.open, open) {
        return Err(refuse(format!(
            "the snapshot's session was opened with {difference} (open one like it)"
        )));
    }
    if head.served != identity(served)? {
        let text =
            "a snapshot of other data, rules or episodes than this server's (start envpool as it was then)";
        return Err(refuse(text.into()));
    }
    let slab_bytes = usize::try_from(head.slab_bytes).map_err(|_| whole())?;
    let ends_bytes = usize::try_from(head.ends_bytes).map_err(|_| whole())?;
    let (slab, rest) = rest.split_at_checked(slab_bytes).ok_or_else(whole)?;
    let (ends, batch) = rest.split_at_checked(ends_bytes).ok_or_else(whole)?;
    Ok(Parts { was_reset: head.was_reset, slab, ends, batch })
}

/// What must be the same where a snapshot is taken and where it is restored: the specification but for its
/// caps and defaults, and the default length of episodes.
fn identity(served: &Served) -> Result<[u8; 32], Refusal> {
    let mut spec = served.spec.clone();
    (spec.seed, spec.max_envs, spec.max_sessions, spec.batch) = (0, 0, 0, 0);
    let spec = spec.to_json().map_err(refuse)?;
    let length = format!("{:?}", served.episode_length());
    Ok(Sha256::new().chain_update(spec).chain_update([0]).chain_update(length).finalize().into())
}

/// The first thing in which two sessions were opened differently, as the first has it.
fn difference(then: &Open, now: &Open) -> Option<String> {
    let fields = [
        ("n_envs", format!("{:?}", then.n_envs), then.n_envs == now.n_envs),
        ("seed", format!("{:?}", then.seed), then.seed == now.seed),
        ("range", format!("{:?}", then.range), then.range == now.range),
        ("start", format!("{:?}", then.start), then.start == now.start),
        ("episode", format!("{:?}", then.episode), then.episode == now.episode),
        ("autoreset", format!("{:?}", then.autoreset), then.autoreset == now.autoreset),
        ("trace", format!("{:?}", then.trace), then.trace == now.trace),
        ("batch", format!("{:?}", then.batch), then.n_rows() == now.n_rows()),
    ];
    let named = fields.into_iter().find(|(.., same)| !same).map(|(name, value, _)| format!("{name} {value}"));
    let account = |open: &Open| (open.liquidate_at_end, open.hold_account);
    named.or_else(|| (account(then) != account(now)).then(|| "another account or end".into()))
}

fn refuse(text: String) -> Refusal {
    Refusal { code: ErrorCode::BadSnapshot, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::tests::served;

    #[test]
    fn a_snapshot_comes_back_in_its_pieces() {
        let served = served(&[]);
        let open = Open::training(2, 7);
        let parts = Parts { was_reset: true, slab: &[1, 2, 3], ends: &[0, 1], batch: &[4, 5] };
        let bytes = join(&served, &open, &parts).unwrap();
        let back = split(&served, &open, &bytes).unwrap();
        assert_eq!((back.was_reset, back.slab, back.batch), (true, &[1, 2, 3][..], &[4, 5][..]));
        assert_eq!((back.ends, &bytes[..16]), (&[0, 1][..], &b"ENVSNAP3\x07\0\0\0\0\0\0\0"[..]));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let served = served(&[]);
        let open = Open::training(2, 7);
        let bytes =
            join(&served, &open, &Parts { was_reset: true, slab: &[1], ends: &[], batch: &[2] }).unwrap();
        for at in 0..bytes.len() {
            assert!(split(&served, &open, &bytes[..at]).is_err(), "cut at {at}");
            let mut spoilt = bytes.clone();
            spoilt[at] ^= 1;
            assert!(split(&served, &open, &spoilt).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn a_snapshot_of_another_session_or_server_is_refused_by_name() {
        let open = Open::training(2, 7);
        let bytes =
            join(&served(&[]), &open, &Parts { was_reset: true, slab: &[], ends: &[], batch: &[] }).unwrap();
        let refused = |flags: &[&str], open: &Open| split(&served(flags), open, &bytes).unwrap_err().text;
        assert!(refused(&[], &Open::training(3, 7)).contains("n_envs 2"));
        assert!(refused(&[], &Open::training(2, 8)).contains("seed 7"));
        assert!(refused(&[], &Open { hold_account: true, ..open.clone() }).contains("account"));
        assert!(refused(&["--costs", "none"], &open).contains("other data, rules"));
        assert!(refused(&["--episode-len", "7"], &open).contains("other data, rules"));
        assert!(refused(&[], &Open { batch: 1, ..open.clone() }).contains("batch 0"));
        // Caps and defaults of the server do not matter, nor that all environments are also a batch.
        assert!(split(&served(&["--envs", "7", "--seed", "9", "--batch", "3"]), &open, &bytes).is_ok());
        assert!(split(&served(&[]), &Open { batch: 2, ..open.clone() }, &bytes).is_ok());
    }
}
