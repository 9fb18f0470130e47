//! The client's side of shared memory: maps what the server offers, posts requests, waits for answers.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::exchange::{AnswerKind, Exchange, Slots};
use super::mapping::Mapping;
use super::platform;
use super::spin::{Spinner, nanoseconds_since};
use crate::WireError;
use crate::channel::{ANSWER_LIMIT, Channel};
use crate::frame::Kind;
use crate::layout::SlabLayout;
use crate::message::Sharing;
use crate::slab::Slab;

/// One session's shared memory.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    exchange: Exchange,
    /// The number of the last request that was posted.
    posted: u32,
    /// The number of the last one that was waited for.
    received: u32,
    spinner: Spinner,
    /// When the last answer was received.
    received_at: Option<Instant>,
}

impl ClientEnd {
    /// Maps what the server offers, the slabs (one a slot) to be read in place; nothing if it offers nothing, or if
    /// that is not to be had here: on another machine, or in another container.
    pub(crate) fn map(
        sharing: &Sharing,
        descriptors: Vec<OwnedFd>,
        layout: &SlabLayout,
        slots: Slots,
    ) -> Option<(Self, Vec<Slab>)> {
        let (exchange, slab) = match sharing {
            Sharing::Inline => return None,
            Sharing::Files { exchange, slab } => {
                platform::open_files(Path::new(exchange), Path::new(slab)).ok()?
            }
            Sharing::Descriptors => {
                let [exchange, slab] = <[OwnedFd; 2]>::try_from(descriptors).ok()?;
                if !platform::keeps_its_size(&exchange) || !platform::keeps_its_size(&slab) {
                    return None;
                }
                (exchange, slab)
            }
        };
        let exchange = Mapping::read_write(exchange, slots.exchange_bytes()).ok()?;
        let slab_bytes = layout.total_bytes();
        let memory = Arc::new(Mapping::read_only(slab, slots.len() * slab_bytes).ok()?);
        let slabs = (0..slots.len())
            .map(|slot| Slab::of_server(layout.clone(), memory.clone(), slot * slab_bytes))
            .collect();
        let end = Self {
            exchange: Exchange::new(exchange, slots),
            posted: 0,
            received: 0,
            spinner: Spinner::of_client(),
            received_at: None,
        };
        Some((end, slabs))
    }

    /// Posts a step in `slot`, if `parts` are as many bytes as there must be. Others go the long way, where the server
    /// says what is wrong with them.
    pub(crate) fn post(
        &mut self,
        slot: usize,
        parts: [&[u8]; 2],
        session: u32,
        channel: &mut Channel,
    ) -> Result<bool, WireError> {
        if parts[0].len() + parts[1].len() != self.exchange.slots().request_bytes() {
            return Ok(false);
        }
        self.exchange.write_request(slot, parts);
        self.posted = self.posted.wrapping_add(1);
        if self.exchange.post(self.posted, self.received_at.map_or(0, nanoseconds_since)) {
            channel.send(Kind::Wake, session, &[])?;
        }
        Ok(true)
    }

    /// Waits for the answer to the oldest request that was posted and not waited for; it lies in `slot`.
    pub(crate) fn wait(&mut self, slot: usize, session: u32, channel: &mut Channel) -> Result<(), WireError> {
        self.received = self.received.wrapping_add(1);
        let number = self.received;
        loop {
            let exchange = &self.exchange;
            if self.spinner.wait(|| exchange.answer_to(number, slot).is_some()) {
                break;
            }
            // It was read while another answer was waited for, and nobody wakes this side for it.
            if let Some(refusal) = channel.kept_refusal(session) {
                self.spinner.ready();
                return Err(refusal);
            }
            exchange.client_falls_asleep();
            if exchange.answer_to(number, slot).is_some() {
                // A frame that is under way is taken off the stream, or they would fill it in the end.
                if exchange.client_wakes() {
                    Self::receive_wake(session, channel)?;
                }
                break;
            }
            let header = channel.receive_header(ANSWER_LIMIT)?;
            let is_wake_due = exchange.client_wakes();
            match header.kind {
                Kind::Wake if header.length == 0 => {}
                // The server hangs up.
                Kind::Refused if header.session == 0 => return Err(channel.receive_refusal(header)),
                Kind::Refused => {
                    // This one's, or another session's, whose turn comes later.
                    channel.keep_refusal(header)?;
                    if is_wake_due {
                        // Something later has been answered meanwhile.
                        Self::receive_wake(session, channel)?;
                    }
                    if header.session == session
                        && let Some(refusal) = channel.kept_refusal(session)
                    {
                        self.spinner.ready();
                        return Err(refusal);
                    }
                }
                _ => return Err(channel.garbled(format!("{header:?} where a wake-up was due"))),
            }
        }
        self.spinner.ready();
        self.spinner.tell(self.exchange.took());
        self.received_at = Some(Instant::now());
        if self.exchange.answer_to(number, slot) != Some(AnswerKind::Frame) {
            return Ok(());
        }
        if let Some(refusal) = channel.kept_refusal(session) {
            return Err(refusal);
        }
        let header = channel.receive_header_for(session, ANSWER_LIMIT)?;
        if header.kind != Kind::Refused {
            return Err(channel.garbled(format!("{header:?} where a refusal was due")));
        }
        Err(channel.receive_refusal(header))
    }

    /// Reads the frame that wakes this side, which is certainly under way, perhaps behind refusals of requests that are
    /// waited for later.
    fn receive_wake(session: u32, channel: &mut Channel) -> Result<(), WireError> {
        loop {
            let header = channel.receive_header(ANSWER_LIMIT)?;
            match header.kind {
                Kind::Wake if header.session == session && header.length == 0 => return Ok(()),
                Kind::Refused if header.session == 0 => return Err(channel.receive_refusal(header)),
                Kind::Refused => channel.keep_refusal(header)?,
                _ => return Err(channel.garbled(format!("{header:?} where a wake-up was due"))),
            }
        }
    }
}
