//! The header in front of every message, and reading and writing whole frames.
//!
//! A frame is 24 bytes of header and `length` bytes of body. A reader checks magic, version and length before
//! it takes a byte of the body, so that a peer cannot make it allocate.

use std::io::{self, IoSlice, Write};

use crate::PROTOCOL_VERSION;

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"ENVP";
/// Bytes in a header.
pub const HEADER_BYTES: usize = 24;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Client: [`crate::message::Hello`].
    Hello = 1,
    /// Client: [`crate::message::Open`].
    Open = 2,
    /// Client: empty for all environments, or a byte an environment that is 1 where it is to be reset. In a session
    /// of partial batches the environments' numbers come first.
    Reset = 3,
    /// Client: raw actions, `i32` for discrete and `f32` for continuous action spaces; empty where they lie in
    /// shared memory. In a session of partial batches the environments' numbers come first.
    Step = 4,
    /// Client: empty.
    Close = 5,
    /// Either: empty. A client's: the server frees its sessions and closes. A server's: it has been told to end.
    Goodbye = 6,
    /// Client: empty.
    Snapshot = 7,
    /// Client: a snapshot's bytes, as they came.
    Restore = 8,
    /// Client: one byte, 1 if it has mapped the memory that [`Kind::Opened`] offered and 0 if it could not.
    Map = 9,
    /// Either: empty; wakes a side that has said in shared memory that it sleeps. It has no answer.
    Wake = 10,
    /// Server: [`crate::message::Welcome`].
    Welcome = 101,
    /// Server: [`crate::message::Opened`].
    Opened = 102,
    /// Server: the arrays of [`crate::slab`], or nothing where they lie in shared memory; the answer to a reset,
    /// a step and a restore.
    Slab = 103,
    /// Server: empty.
    Closed = 104,
    /// Server: [`crate::message::Refusal`].
    Refused = 105,
    /// Server: a session's whole state, in bytes that mean something to the server alone.
    Snapshotted = 106,
    /// Server: empty; the answer to a map.
    Mapped = 107,
}

impl Kind {
    fn from_number(number: u16) -> Option<Self> {
        const ALL: [Kind; 17] = [
            Kind::Hello,
            Kind::Open,
            Kind::Reset,
            Kind::Step,
            Kind::Close,
            Kind::Goodbye,
            Kind::Snapshot,
            Kind::Restore,
            Kind::Map,
            Kind::Wake,
            Kind::Welcome,
            Kind::Opened,
            Kind::Slab,
            Kind::Closed,
            Kind::Refused,
            Kind::Snapshotted,
            Kind::Mapped,
        ];
        ALL.into_iter().find(|&kind| kind as u16 == number)
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// The session it belongs to; 0 where it belongs to none.
    pub session: u32,
    /// Bytes of body.
    pub length: u64,
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderError {
    /// The first bytes are not [`MAGIC`].
    Magic([u8; 4]),
    /// Another protocol version.
    Version(u16),
    /// A kind that this version does not have.
    Kind(u16),
    /// A reserved field that is not zero.
    Reserved,
}

impl Header {
    /// The header's bytes: magic, version u16, kind u16, session u32, reserved u32, length u64.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// The header that `bytes` are.
    ///
    /// # Errors
    /// If they are none of this version.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let [m0, m1, m2, m3, v0, v1, k0, k1, s0, s1, s2, s3, r0, r1, r2, r3, length @ ..] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(HeaderError::Magic([m0, m1, m2, m3]));
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != PROTOCOL_VERSION {
            return Err(HeaderError::Version(version));
        }
        let number = u16::from_le_bytes([k0, k1]);
        let kind = Kind::from_number(number).ok_or(HeaderError::Kind(number))?;
        if [r0, r1, r2, r3] != [0; 4] {
            return Err(HeaderError::Reserved);
        }
        let session = u32::from_le_bytes([s0, s1, s2, s3]);
        Ok(Self { kind, session, length: u64::from_le_bytes(length) })
    }
}

/// Writes one frame, header and body in one system call where the channel takes them.
pub fn write(out: &mut impl Write, kind: Kind, session: u32, body: &[u8]) -> io::Result<()> {
    let header = Header { kind, session, length: body.len() as u64 }.encode();
    let mut parts = [IoSlice::new(&header), IoSlice::new(body)];
    let mut parts = &mut parts[..];
    while parts.iter().any(|part| !part.is_empty()) {
        match out.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_journey() {
        let header = Header { kind: Kind::Slab, session: 7, length: 1 << 40 };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = Header { kind: Kind::Step, session: 1, length: 4 }.encode();
        let spoil = |at: usize, with: u8| {
            let mut bytes = good;
            bytes[at] = with;
            Header::decode(&bytes).unwrap_err()
        };
        assert_eq!(spoil(0, b'X'), HeaderError::Magic(*b"XNVP"));
        assert_eq!(spoil(4, 9), HeaderError::Version(9));
        assert_eq!(spoil(6, 77), HeaderError::Kind(77));
        assert_eq!(spoil(12, 1), HeaderError::Reserved);
    }

    #[test]
    fn a_frame_is_header_then_body() {
        let mut out = Vec::new();
        write(&mut out, Kind::Close, 3, b"xyz").unwrap();
        assert_eq!(out.len(), HEADER_BYTES + 3);
        assert_eq!(&out[HEADER_BYTES..], b"xyz");
    }
}
