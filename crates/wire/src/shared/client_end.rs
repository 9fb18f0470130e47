//! The client's side of shared memory: maps what the server offers, posts requests, waits for answers.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::exchange::{AnswerKind, Exchange};
use super::mapping::Mapping;
use super::platform;
use super::spin::Spinner;
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
    number: u32,
    spinner: Spinner,
}

impl ClientEnd {
    /// Maps what the server offers, the slab to be read in place; nothing if it offers nothing, or if that is not to be had here: on another
    /// machine, or in another container.
    pub(crate) fn map(
        sharing: &Sharing,
        descriptors: Vec<OwnedFd>,
        layout: &SlabLayout,
        n_values: usize,
    ) -> Option<(Self, Slab)> {
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
        let exchange = Mapping::read_write(exchange, Exchange::bytes(n_values)).ok()?;
        let slab = Mapping::read_only(slab, layout.total_bytes()).ok()?;
        let exchange = Exchange::new(exchange, n_values);
        Some((Self { exchange, number: 0, spinner: Spinner::new() }, Slab::of_server(layout.clone(), slab)))
    }

    /// Posts a step with `actions`, if they are as many as there must be. Others go the long way, where the server
    /// says what is wrong with them.
    pub(crate) fn post(
        &mut self,
        actions: &[u8],
        session: u32,
        channel: &mut Channel,
    ) -> Result<bool, WireError> {
        if actions.len() != self.exchange.action_bytes() {
            return Ok(false);
        }
        self.exchange.write_actions(actions);
        self.number = self.number.wrapping_add(1);
        if self.exchange.post(self.number) {
            channel.send(Kind::Wake, session, &[])?;
        }
        Ok(true)
    }

    /// Waits for the answer to the last request that was posted.
    pub(crate) fn wait(&mut self, session: u32, channel: &mut Channel) -> Result<(), WireError> {
        let kind = loop {
            let (exchange, number) = (&self.exchange, self.number);
            if self.spinner.wait(|| exchange.answer_to(number).is_some()) {
                break exchange.answer_to(number);
            }
            exchange.client_falls_asleep();
            if let Some(kind) = exchange.answer_to(number) {
                // A frame that is under way is taken off the stream, or they would fill it in the end.
                if exchange.client_wakes() && kind == AnswerKind::Slab {
                    channel.receive_wake(session)?;
                }
                break Some(kind);
            }
            let header = channel.receive_header(ANSWER_LIMIT)?;
            exchange.client_wakes();
            match header.kind {
                Kind::Wake if header.length == 0 => {}
                Kind::Refused if header.session == session => {
                    self.spinner.ready();
                    return Err(channel.receive_refusal(header));
                }
                _ => return Err(channel.garbled(format!("{header:?} where a wake-up was due"))),
            }
        };
        self.spinner.ready();
        if kind == Some(AnswerKind::Frame) {
            let header = channel.receive_header(ANSWER_LIMIT)?;
            if header.kind != Kind::Refused || header.session != session {
                return Err(channel.garbled(format!("{header:?} where a refusal was due")));
            }
            return Err(channel.receive_refusal(header));
        }
        Ok(())
    }
}
