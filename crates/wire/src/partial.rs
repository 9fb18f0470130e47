//! The client's end of sessions with partial batches: a request names as many environments as [`crate::Open::batch`]
//! says, ascending, and its answer describes these. Several may be in flight, so that the server steps some environments
//! while the client thinks about others. Answers come in the order of the requests, and what an environment
//! plays depends on its own actions alone: the bits are the same whatever the batch, and whoever was faster.

use std::collections::VecDeque;

use crate::WireError;
use crate::client::{Client, Flight, Session, misuse};
use crate::frame::Kind;
use crate::message::{Actions, Open};

/// What a session with partial batches remembers of its requests.
#[derive(Debug)]
pub(crate) struct InParts {
    n_rows: usize,
    values_per_env: usize,
    max_in_flight: usize,
    /// Which environments are in flight.
    is_away: Vec<bool>,
    /// Their numbers, request by request, the oldest first; and how many each request has.
    away: VecDeque<u32>,
    n_each: VecDeque<usize>,
    /// Those of the request that was answered last; none if it was not about environments that the client named.
    landed: Vec<u32>,
    body: Vec<u8>,
}

impl InParts {
    pub(crate) fn new(open: &Open, values_per_env: usize) -> Self {
        let (n_envs, n_rows) = (open.n_envs as usize, open.n_rows() as usize);
        let max_in_flight = open.max_in_flight() as usize;
        Self {
            n_rows,
            values_per_env,
            max_in_flight,
            is_away: vec![false; n_envs],
            away: VecDeque::with_capacity(n_envs),
            n_each: VecDeque::with_capacity(max_in_flight),
            landed: Vec::with_capacity(n_rows),
            body: Vec::with_capacity(4 * n_rows * (1 + values_per_env)),
        }
    }

    /// A request was sent.
    pub(crate) fn sent(&mut self, envs: &[u32]) {
        for &env in envs {
            if let Some(away) = self.is_away.get_mut(env as usize) {
                *away = true;
            }
        }
        self.away.extend(envs);
        self.n_each.push_back(envs.len());
    }

    /// The oldest request was answered, or refused: the environments that it was about, if the client named any.
    pub(crate) fn landed(&mut self) -> Option<&[u32]> {
        let n = self.n_each.pop_front().unwrap_or(0);
        self.landed.clear();
        self.landed.extend(self.away.drain(..n));
        for &env in &self.landed {
            if let Some(away) = self.is_away.get_mut(env as usize) {
                *away = false;
            }
        }
        (n > 0).then_some(&self.landed)
    }

    /// Whether a request that names `envs` makes sense, as far as only this side can know. Whether they are in range
    /// and in order is for the server to say.
    fn check(&self, envs: &[u32]) -> Result<(), String> {
        if envs.len() != self.n_rows {
            return Err(format!(
                "{} environments named, where {} are due in each request",
                envs.len(),
                self.n_rows
            ));
        }
        if self.n_each.len() == self.max_in_flight {
            return Err(format!(
                "{} requests are in flight, which is the most (receive one first)",
                self.max_in_flight
            ));
        }
        match envs.iter().find(|&&env| self.is_away.get(env as usize) == Some(&true)) {
            Some(env) => Err(format!("environment {env} is in flight (receive its last step first)")),
            None => Ok(()),
        }
    }
}

impl Session {
    /// How many environments a request names and its answer describes: all of them, but in sessions with partial
    /// batches.
    pub fn batch(&self) -> usize {
        self.slab().layout().n_envs()
    }

    /// How many requests may be in flight.
    pub fn max_in_flight(&self) -> usize {
        self.parts.as_ref().map_or(1, |parts| parts.max_in_flight)
    }

    pub(crate) fn must_be_whole(&self, asked: &str, instead: &str) -> Result<(), WireError> {
        match &self.parts {
            None => Ok(()),
            Some(parts) => Err(misuse(format!(
                "{asked} called for a session of which {} environments are asked at a time (call {instead})",
                parts.n_rows
            ))),
        }
    }

    fn parts(&mut self) -> Result<&mut InParts, WireError> {
        let whole =
            "a session of whole batches was asked about some of its environments (open it with a batch)";
        self.parts.as_mut().ok_or_else(|| misuse(whole.into()))
    }
}

impl Client {
    /// Starts new episodes in the environments `envs` where `mask` is 1, in all of them if it is empty, and shows what
    /// the agents of `envs` see. With a mask of zeros it only shows it, as after [`Client::restore`]. An environment that
    /// has not been stepped since its start keeps its episode.
    ///
    /// # Errors
    /// If something is in flight, or the server refuses, or is gone.
    pub fn reset_some(&mut self, session: &mut Session, envs: &[u32], mask: &[u8]) -> Result<(), WireError> {
        session.must_be_idle("reset_some")?;
        let parts = session.parts()?;
        parts.check(envs).map_err(misuse)?;
        parts.body.clear();
        parts.body.extend_from_slice(bytemuck::cast_slice(envs));
        parts.body.extend_from_slice(mask);
        parts.sent(envs);
        let slot = session.take_turn();
        let body = session.parts.as_ref().map_or(&[][..], |parts| &parts.body);
        self.channel.send(Kind::Reset, session.id, body)?;
        session.in_flight.push_back(Flight { is_posted: false, slot });
        self.receive(session)
    }

    /// Sends the actions of the environments `envs`, ascending, without waiting. [`Client::receive`] waits for the oldest of
    /// the requests in flight, whose environments are then in [`crate::Slab::env_id`]. In shared memory the slab
    /// that was received before is the server's to write again once [`Session::max_in_flight`] more have been sent.
    ///
    /// # Errors
    /// If one of them is in flight already, there are not as many as [`Session::batch`] says, or the server is gone.
    pub fn send_some(
        &mut self,
        session: &mut Session,
        envs: &[u32],
        actions: Actions<'_>,
    ) -> Result<(), WireError> {
        let (ids, actions) = (bytemuck::cast_slice(envs), actions.bytes());
        let parts = session.parts()?;
        parts.check(envs).map_err(misuse)?;
        if actions.len() != 4 * envs.len() * parts.values_per_env {
            return Err(misuse(format!(
                "{} bytes of actions for {} environments, where {} are due",
                actions.len(),
                envs.len(),
                4 * envs.len() * parts.values_per_env
            )));
        }
        parts.sent(envs);
        let slot = session.take_turn();
        let is_posted = match &mut session.shared {
            Some(shared) => shared.post(slot, [ids, actions], session.id, &mut self.channel)?,
            None => false,
        };
        if let (false, Some(parts)) = (is_posted, &mut session.parts) {
            parts.body.clear();
            parts.body.extend_from_slice(ids);
            parts.body.extend_from_slice(actions);
            self.channel.send(Kind::Step, session.id, &parts.body)?;
        }
        session.in_flight.push_back(Flight { is_posted, slot });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_in_flight_from_its_request_to_its_answer() {
        let mut parts = InParts::new(&Open { batch: 2, ..Open::training(5, 1) }, 1);
        assert_eq!(parts.check(&[0, 3]), Ok(()));
        parts.sent(&[0, 3]);
        assert!(parts.check(&[3, 4]).unwrap_err().contains("environment 3 is in flight"));
        assert!(parts.check(&[1]).unwrap_err().contains("1 environments named, where 2"));
        parts.sent(&[1, 4]);
        assert!(parts.check(&[2, 5]).unwrap_err().contains("2 requests are in flight"));
        assert_eq!(parts.landed(), Some(&[0, 3][..]));
        assert_eq!(parts.check(&[0, 3]), Ok(()));
        // What is out of range is for the server to refuse.
        parts.sent(&[3, u32::MAX]);
        assert_eq!(parts.landed(), Some(&[1, 4][..]));
        assert_eq!(parts.landed(), Some(&[3, u32::MAX][..]));
        parts.sent(&[]);
        assert_eq!(parts.landed(), None);
    }
}
