//! A batch as a snapshot, and back.

use super::tally::Tally;
use super::{Autoreset, Batch};
use crate::EnvError;
use crate::environment::{BLOCK_LEN, Environment, EpisodeKey, States};
use crate::snapshot::{Progress, Reader, Writer};

impl<E: Environment> Batch<E> {
    /// All environments as bytes. [`Batch::restore`] brings them back into a batch of the same kind.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let identity = self.identity();
        out.u32(identity.len() as u32);
        for (name, value) in identity {
            out.text(name);
            out.text(&value);
        }
        for env in 0..self.n_envs {
            let (block_idx, lane) = (env / BLOCK_LEN, env % BLOCK_LEN);
            let tally = self.tallies[block_idx].get(lane);
            out.u64(tally.episode);
            out.f64(tally.return_sum);
            out.u32(tally.length);
            out.u8(match tally.ended {
                None => 0,
                Some((terminated, truncated)) => 4 | u8::from(terminated) | u8::from(truncated) << 1,
            });
            self.states[block_idx].with(lane, |state| self.environment.save(state, &mut out));
        }
        out.finish()
    }

    /// Puts all environments where they were when `snapshot` was taken, so that the next step gives the bits
    /// that it would have given then. Nothing changes if the snapshot is refused.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), EnvError> {
        let mut input = Reader::new(snapshot)?;
        let damaged = || EnvError::Snapshot("the snapshot holds what no environment can be in".into());
        let identity = self.identity();
        if input.u32() != Some(identity.len() as u32) {
            return Err(EnvError::Snapshot("the snapshot is of another kind of environment".into()));
        }
        for (name, ours) in &identity {
            let (their_name, theirs) = input.text().zip(input.text()).ok_or_else(damaged)?;
            if their_name != *name || theirs != ours {
                let text = format!(
                    "the snapshot was taken with {their_name} {theirs}, where this session has {name} {ours}"
                );
                return Err(EnvError::Snapshot(text));
            }
        }
        let loaded = (0..self.n_envs).map(|env| self.load_one(env, &mut input));
        let loaded: Vec<_> = loaded.collect::<Option<_>>().ok_or_else(damaged)?;
        if !input.is_empty() {
            return Err(damaged());
        }
        for (env, (state, tally)) in loaded.into_iter().enumerate() {
            let (block_idx, lane) = (env / BLOCK_LEN, env % BLOCK_LEN);
            self.states[block_idx].with_mut(lane, |slot| *slot = state);
            self.tallies[block_idx].set(lane, tally);
        }
        Ok(())
    }

    fn identity(&self) -> Vec<(&'static str, String)> {
        let mut identity = self.environment.identity();
        identity.push(("environments", self.n_envs().to_string()));
        identity.push(("seed", self.seed.to_string()));
        identity.push(("autoreset", format!("{:?}", self.autoreset)));
        identity
    }

    fn load_one(&self, env: usize, input: &mut Reader<'_>) -> Option<(E::State, Tally)> {
        let (episode, return_sum, length) = (input.u64()?, input.f64()?, input.u32()?);
        let ended = match input.u8()? {
            0 => None,
            bits @ 5..=7 if self.autoreset != Autoreset::SameStep => Some((bits & 1 == 1, bits & 2 == 2)),
            _ => return None,
        };
        // Episodes are counted up from here.
        let episode = (episode < u64::MAX / 2).then_some(episode)?;
        let key = EpisodeKey { seed: self.seed, env: env as u64, episode };
        let progress = Progress { length, has_ended: ended.is_some() };
        let state = self.environment.load(key, progress, input)?;
        Some((state, Tally { episode, return_sum, length, ended }))
    }
}
