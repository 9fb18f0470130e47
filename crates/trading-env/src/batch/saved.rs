//! A batch as a snapshot, and back.

use super::{Autoreset, Batch, Tally};
use crate::EnvError;
use crate::environment::{Environment, EpisodeKey};
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
        for (state, tally) in self.states.iter().zip(&self.tallies) {
            out.u64(tally.episode);
            out.f64(tally.return_sum);
            out.u32(tally.length);
            out.u8(match tally.ended {
                None => 0,
                Some((terminated, truncated)) => 4 | u8::from(terminated) | u8::from(truncated) << 1,
            });
            self.environment.save(state, &mut out);
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
        let mut states = Vec::with_capacity(self.n_envs());
        let mut tallies = Vec::with_capacity(self.n_envs());
        for env in 0..self.n_envs() {
            let (state, tally) = self.load_one(env, &mut input).ok_or_else(damaged)?;
            states.push(state);
            tallies.push(tally);
        }
        if !input.is_empty() {
            return Err(damaged());
        }
        (self.states, self.tallies) = (states, tallies);
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
