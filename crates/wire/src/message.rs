//! The control messages. They are encoded with bincode in its fixed-width little-endian form: integers at
//! their width, a string as a u64 length and UTF-8, an enum as a u32 variant number and its fields.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest control message: a specification with a long calendar is the biggest there is.
pub const MAX_CONTROL_BYTES: usize = 16 << 20;

/// A client that can map files by their path.
pub const CAN_MAP_FILES: u64 = 1;
/// A client that can receive descriptors on a Unix socket, and map them.
pub const CAN_MAP_DESCRIPTORS: u64 = 2;
/// A client that can read and write shared memory in a sequentially consistent order, and so post requests
/// there. Another one sends a frame for each and waits for a frame.
pub const CAN_POST: u64 = 4;
/// A client that can have requests name some of a session's environments. Its [`Open`] is one field longer:
/// [`Open::batch`].
pub const CAN_BATCH: u64 = 8;

/// The most requests of one session that may be in flight: `n_envs / batch` must not be more.
pub const MAX_IN_FLIGHT: u32 = 4096;

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Name and version of the client, for logs.
    pub client: String,
    /// What the client can do: [`CAN_MAP_FILES`], [`CAN_MAP_DESCRIPTORS`], [`CAN_POST`], [`CAN_BATCH`].
    pub capabilities: u64,
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Name and version of the server.
    pub server: String,
    /// What this connection will use: a subset of what the client can do.
    pub capabilities: u64,
    /// The specification as JSON: see [`crate::spec::Spec`].
    pub spec: String,
}

/// Which days a session plays on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Range {
    /// All days before the validation and test days.
    Train,
    /// The last days of the training part, if the server keeps any apart.
    Validation,
    /// The held-out days.
    Test,
    /// Sessions of the calendar by ordinal, both included, clipped to nothing: a range outside is refused.
    Sessions {
        /// First ordinal.
        first: u32,
        /// Last ordinal.
        last: u32,
    },
}

/// Where episodes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Drawn among the starts that the server allows, which without its `--start` is anywhere in the range,
    /// uniformly; symbols in proportion to their rows.
    Random,
    /// At the range's first bar; environment `i` plays symbol `i` modulo the number of symbols.
    First,
}

/// How long episodes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Episode {
    /// As the server was told at its start.
    Default,
    /// At most this many steps.
    Steps(u32),
    /// To the end of the trading session in which they start.
    Session,
    /// To the end of the range.
    Full,
}

/// What happens to an environment whose episode has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Autoreset {
    /// It starts anew within the same step: the observation is the new episode's first, and the old one's
    /// last stands in the finished record.
    SameStep,
    /// It stays as it ended, with reward 0 and both ends repeated, until it is reset by name.
    Disabled,
    /// The next step starts it anew, whatever its action: reward 0, no end, the new episode's first
    /// observation.
    NextStep,
}

/// Opens a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// How many environments.
    pub n_envs: u32,
    /// Keys every random draw of the session.
    pub seed: u64,
    /// Which days.
    pub range: Range,
    /// Where episodes start.
    pub start: Start,
    /// How long they last.
    pub episode: Episode,
    /// What happens when they end.
    pub autoreset: Autoreset,
    /// Whether each step's fills, position, equity and costs are sent too.
    pub trace: bool,
    /// Whether a position that is open at the range's last bar is closed there, at its cost.
    pub liquidate_at_end: bool,
    /// Whether the account is one that holds for good: no square-off, the market's delivery costs, and two
    /// discrete actions whatever the action space: 0 stays out, 1 is fully invested. For the baselines that
    /// do not depend on what the policy may do.
    pub hold_account: bool,
    /// How many environments a request names and its answer describes, so that the server steps some while the
    /// client thinks about others; 0, or `n_envs`, for all of them at once. Sent where both sides know of it.
    #[serde(skip)]
    pub batch: u32,
}

impl Open {
    /// A training session: random starts over the training days, reset within the step.
    pub fn training(n_envs: u32, seed: u64) -> Self {
        Self {
            n_envs,
            seed,
            range: Range::Train,
            start: Start::Random,
            episode: Episode::Default,
            autoreset: Autoreset::SameStep,
            trace: false,
            liquidate_at_end: false,
            hold_account: false,
            batch: 0,
        }
    }

    /// A judged session: one continuous episode a symbol over `range`, traced, its last position closed.
    pub fn evaluation(n_envs: u32, range: Range) -> Self {
        Self {
            range,
            start: Start::First,
            episode: Episode::Full,
            autoreset: Autoreset::Disabled,
            trace: true,
            liquidate_at_end: true,
            ..Self::training(n_envs, 0)
        }
    }

    /// Whether a request names some of the environments, and not all.
    pub fn is_partial(&self) -> bool {
        self.batch != 0 && self.batch != self.n_envs
    }

    /// How many environments an answer describes.
    pub fn n_rows(&self) -> u32 {
        if self.batch == 0 { self.n_envs } else { self.batch }
    }

    /// How many requests may be in flight at once: as many as can name environments that no other one names.
    pub fn max_in_flight(&self) -> u32 {
        self.n_envs.checked_div(self.n_rows()).unwrap_or(1).max(1)
    }

    /// The message's bytes between sides that have agreed on `capabilities`.
    ///
    /// # Errors
    /// If it asks for partial batches and they are not among them.
    pub fn encode(&self, capabilities: u64) -> Result<Vec<u8>, String> {
        if capabilities & CAN_BATCH != 0 {
            return encode(&(self, self.batch));
        }
        if self.is_partial() {
            return Err("a server without partial batches (install both from one release)".into());
        }
        encode(self)
    }

    /// The message that `bytes` are between sides that have agreed on `capabilities`.
    ///
    /// # Errors
    /// If they are not exactly one.
    pub fn decode(bytes: &[u8], capabilities: u64) -> Result<Self, String> {
        if capabilities & CAN_BATCH == 0 {
            return decode(bytes);
        }
        let (open, batch) = decode::<(Self, u32)>(bytes)?;
        Ok(Self { batch, ..open })
    }
}

/// The server's answer to [`Open`]: how the session's slabs are laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// How many environments.
    pub n_envs: u32,
    /// Values in one observation.
    pub obs_len: u32,
    /// How many kinds of costs a record lists.
    pub n_cost_kinds: u32,
    /// Whether slabs carry a trace.
    pub trace: bool,
}

/// Where a session's actions and slabs travel: the second part of the answer to [`Open`]. What is offered is
/// used once the client says that it has mapped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// In frames.
    Inline,
    /// In memory that is mapped from files, which are removed at the client's word.
    Files {
        /// Written by both sides: see [`crate::shared`].
        exchange: String,
        /// Written by the server.
        slab: String,
    },
    /// In memory whose two descriptors, the exchange's and the slab's, come with this message.
    Descriptors,
}

/// The kind of a refusal. The server's state is as it was before the refused frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The frame's bytes do not decode, or its length is wrong.
    BadFrame,
    /// A session that is not open, or is open already.
    BadSession,
    /// An [`Open`] that this server cannot serve.
    BadOpen,
    /// An action outside the action space, or the wrong number of actions.
    BadAction,
    /// More environments, sessions or clients than the server allows.
    TooMany,
    /// The server is going away.
    ShuttingDown,
    /// Bytes that are no snapshot, or one of another session or server.
    BadSnapshot,
}

/// Why the server refused a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind.
    pub code: ErrorCode,
    /// One line that names the object and the way out.
    pub text: String,
}

/// The actions of one exchange, one row an environment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Actions<'a> {
    /// Indices into a discrete action space: `n_envs` values.
    Discrete(&'a [i32]),
    /// Values of a continuous one: `n_envs × dimensions`.
    Continuous(&'a [f32]),
}

impl<'a> Actions<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Discrete(values) => bytemuck::cast_slice(values),
            Self::Continuous(values) => bytemuck::cast_slice(values),
        }
    }
}

fn bincode_config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<MAX_CONTROL_BYTES>()
}

/// The bytes of a control message.
///
/// # Errors
/// If the message is larger than [`MAX_CONTROL_BYTES`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(message, bincode_config()).map_err(|error| error.to_string())
}

/// The message that `bytes` are; every byte must belong to it.
///
/// # Errors
/// If they are not exactly one such message.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    let (message, used) =
        bincode::serde::decode_from_slice(bytes, bincode_config()).map_err(|error| error.to_string())?;
    if used == bytes.len() { Ok(message) } else { Err(format!("{} bytes too many", bytes.len() - used)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_bytes_that_the_protocol_page_gives() {
        let hello = Hello { client: "ab".into(), capabilities: 3 };
        let bytes = encode(&hello).unwrap();
        assert_eq!(bytes, [2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode::<Hello>(&bytes).unwrap(), hello);
    }

    #[test]
    fn an_open_has_its_batch_where_both_sides_know_of_batches() {
        let open = Open { batch: 64, ..Open::training(256, 7) };
        assert!(open.encode(0).unwrap_err().contains("partial batches"));
        let (old, new) = (Open::training(256, 7).encode(0).unwrap(), open.encode(CAN_BATCH).unwrap());
        assert_eq!((&new[..old.len()], &new[old.len()..]), (&old[..], &[64, 0, 0, 0][..]));
        assert_eq!(Open::decode(&new, CAN_BATCH | CAN_POST).unwrap(), open);
        assert_eq!(Open::decode(&old, CAN_POST).unwrap(), Open::training(256, 7));
        assert!(Open::decode(&old, CAN_BATCH).is_err() && Open::decode(&new, 0).is_err());
        assert_eq!((open.is_partial(), open.n_rows(), open.max_in_flight()), (true, 64, 4));
        let all = Open { batch: 256, ..open.clone() };
        assert_eq!((all.is_partial(), all.n_rows(), all.max_in_flight()), (false, 256, 1));
        assert_eq!(Open { batch: 100, ..open }.max_in_flight(), 2);
    }

    #[test]
    fn short_long_and_lying_messages_are_errors() {
        let bytes = encode(&Open::training(256, 7)).unwrap();
        assert_eq!(decode::<Open>(&bytes).unwrap(), Open::training(256, 7));
        assert!(decode::<Open>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<Open>(&[bytes.as_slice(), &[0]].concat()).unwrap_err().contains("too many"));
        // A string that claims 2^60 bytes must not be allocated.
        let liar = [&(1_u64 << 60).to_le_bytes()[..], &[0; 16]].concat();
        assert!(decode::<Hello>(&liar).is_err());
    }
}
