//! One step: of a whole batch, or of the environments that a request names.

use trading_env::{ActionSpace, Actions, Outputs};
use wire::Open;
use wire::message::{ErrorCode, Refusal};
use wire::server::{continuous_actions, discrete_actions, env_ids};

use super::Session;
use crate::fill;

impl Session {
    /// One step with the actions in `body`, before which the numbers of their environments stand where a request names
    /// some. If one of them is refused, nothing has changed.
    pub fn step(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        let (ids, actions) = read(&self.open, self.batch.action_space(), body)?;
        self.check_reset(ids)?;
        let slab = self.slabs[slot].split_mut();
        let outputs = Outputs {
            observations: slab.obs,
            rewards: slab.reward,
            terminated: slab.terminated,
            truncated: slab.truncated,
            finished: &mut self.finished,
            final_observations: &mut self.final_observations,
            statistics: &mut self.statistics,
            trace: &mut self.trace,
        };
        if self.open.is_partial() {
            self.batch.step_some(ids, actions, outputs).map_err(|error| refuse(error.to_string()))?;
            slab.env_id.copy_from_slice(ids);
            for (row, &env) in ids.iter().enumerate() {
                self.ends[2 * env as usize..][..2]
                    .copy_from_slice(&[slab.terminated[row], slab.truncated[row]]);
            }
        } else {
            self.batch.step(actions, outputs).map_err(|error| refuse(error.to_string()))?;
        }
        fill::write_trace(&self.trace, slab.trace);
        let env_at = |row: usize| ids.get(row).map_or(row as u32, |&env| env);
        let (finished, statistics, last) = (&self.finished, &self.statistics, &self.final_observations);
        fill::write_finished(&mut self.slabs[slot], finished, statistics, last, env_at);
        self.last = slot;
        Ok(())
    }

    /// Whether the environments of a step have been reset: all of them if `ids` is empty.
    fn check_reset(&self, ids: &[u32]) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal { code: ErrorCode::BadSession, text });
        if !self.open.is_partial() {
            // A whole batch is reset as one.
            return match self.was_reset.first() {
                Some(true) => Ok(()),
                _ => refuse("a step before the first reset (reset the session first)".into()),
            };
        }
        match ids.iter().find(|&&env| self.was_reset.get(env as usize) == Some(&false)) {
            Some(env) => {
                refuse(format!("a step of environment {env} before its first reset (reset it first)"))
            }
            None => Ok(()),
        }
    }
}

/// The environments that a request names, none in a whole batch, and their actions.
fn read<'a>(open: &Open, space: &ActionSpace, body: &'a [u8]) -> Result<(&'a [u32], Actions<'a>), Refusal> {
    let n_rows = open.n_rows() as usize;
    let action_bytes = 4 * space.len();
    let n_id_bytes = if open.is_partial() { 4 * n_rows } else { 0 };
    let split = body.split_at_checked(n_id_bytes).and_then(|(ids, rest)| {
        let actions = match space {
            ActionSpace::Discrete { .. } => Actions::Discrete(discrete_actions(rest)?),
            _ => Actions::Continuous(continuous_actions(rest)?),
        };
        Some((env_ids(ids)?, actions))
    });
    // Of a whole batch the environments count the actions themselves, and say so in their own words.
    let is_whole = n_id_bytes == 0 || body.len() == n_id_bytes + n_rows * action_bytes;
    split.filter(|_| is_whole).ok_or_else(|| {
        let each = if n_id_bytes == 0 { "" } else { "the number of each, 4 bytes, then " };
        let n_bytes = body.len();
        refuse(format!(
            "{n_bytes} bytes of actions for {n_rows} environments (send {each}{action_bytes} each)"
        ))
    })
}

fn refuse(text: String) -> Refusal {
    Refusal { code: ErrorCode::BadAction, text }
}
