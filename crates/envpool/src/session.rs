//! One batch of environments and the slabs that its exchanges fill.

use trading_env::{ActionSpace, Actions, AnyBatch, Autoreset, EpisodeStatistics, Outputs, TraceRow};
use wire::message::{ErrorCode, MAX_IN_FLIGHT, Opened, Refusal};
use wire::server::{continuous_actions, discrete_actions, env_ids};
use wire::slab::SharedWords;
use wire::{Open, Slab, SlabLayout};

use crate::served::Served;
use crate::snapshot::{self, Parts};
use crate::{clock, fill};

/// More than an environment takes beside its place in the slabs.
const STATE_BYTES: usize = 512;

/// One session of a client.
///
/// Where a request names some of the environments, each request that may be in flight in shared memory has a slab of
/// its own, a *slot*; whoever carries the requests says which. Requests are played in the order in which they came.
#[derive(Debug)]
pub struct Session {
    batch: AnyBatch,
    open: Open,
    opened: Opened,
    slabs: Vec<Slab>,
    /// The slot of the last exchange.
    last: usize,
    was_reset: Vec<bool>,
    /// How each environment's last step ended, two bytes each: terminated, truncated. Empty where the slab, which
    /// describes all environments, has it.
    ends: Vec<u8>,
    finished: Vec<u8>,
    final_observations: Vec<f32>,
    statistics: Vec<EpisodeStatistics>,
    trace: Vec<TraceRow>,
}

impl Session {
    /// The session that `open` asks for; nothing is allocated before it is found to be allowed.
    pub fn open(served: &Served, open: &Open) -> Result<Self, Refusal> {
        check_size(served, open)?;
        let autoreset = match open.autoreset {
            wire::Autoreset::SameStep => Autoreset::SameStep,
            wire::Autoreset::Disabled => Autoreset::Disabled,
            wire::Autoreset::NextStep => Autoreset::NextStep,
        };
        let (n_envs, n_rows) = (open.n_envs as usize, open.n_rows() as usize);
        let obs_len = served.spec.observation.len as usize;
        let opened = Opened {
            n_envs: open.n_envs,
            obs_len: obs_len as u32,
            n_cost_kinds: served.spec.cost_kinds.len() as u32,
            trace: open.trace,
        };
        check_memory(&SlabLayout::of(open, &opened), open)?;
        let mut batch = served.environment(open)?.batch(n_envs, open.seed, autoreset);
        batch.time_by(clock::nanoseconds);
        Ok(Self {
            batch,
            open: open.clone(),
            slabs: vec![Slab::new(SlabLayout::of(open, &opened))],
            opened,
            last: 0,
            was_reset: vec![false; n_envs],
            ends: if open.is_partial() { vec![0; 2 * n_envs] } else { Vec::new() },
            finished: vec![0; n_rows],
            final_observations: vec![0.0; n_rows * obs_len],
            statistics: vec![EpisodeStatistics::default(); n_rows],
            trace: if open.trace { vec![TraceRow::default(); n_rows] } else { Vec::new() },
        })
    }

    /// What was asked for.
    pub fn asked(&self) -> &Open {
        &self.open
    }

    /// How its slabs are laid out.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What the last exchange brought.
    pub fn slab(&self) -> &Slab {
        &self.slabs[self.last]
    }

    /// Whether its last step was spread over the pool that it was made in.
    pub fn was_spread(&self) -> bool {
        self.batch.was_spread()
    }

    /// Moves the slabs into memory that the client reads: one piece a slot.
    pub fn share(&mut self, words: Vec<SharedWords>) {
        let layout = self.slab().layout().clone();
        self.slabs.resize_with(words.len().max(1), || Slab::new(layout.clone()));
        for (slab, words) in self.slabs.iter_mut().zip(words) {
            slab.share(words);
        }
    }

    /// New episodes where the mask in `body` is 1; in all environments if it is empty. With partial batches the
    /// environments that the request is about stand before it.
    pub fn reset(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        if self.open.is_partial() {
            return self.reset_some(slot, body);
        }
        let n_envs = self.batch.n_envs();
        if !body.is_empty() && (body.len() != n_envs || !is_mask(body)) {
            let text = format!(
                "a reset mask of {} bytes for {n_envs} environments (send one byte each, 0 or 1, or none)",
                body.len()
            );
            return Err(Refusal { code: ErrorCode::BadFrame, text });
        }
        self.was_reset.fill(true);
        self.last = slot;
        self.slabs[slot].clear_finished();
        let slab = self.slabs[slot].split_mut();
        self.batch.reset(body, slab.obs);
        slab.reward.fill(0.0);
        slab.trace.fill(0.0);
        for env in (0..n_envs).filter(|&env| body.get(env).is_none_or(|&byte| byte == 1)) {
            slab.terminated[env] = 0;
            slab.truncated[env] = 0;
        }
        Ok(())
    }

    fn reset_some(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadFrame, text };
        let n_rows = self.open.n_rows() as usize;
        let split = body.split_at_checked(4 * n_rows).and_then(|(ids, mask)| Some((env_ids(ids)?, mask)));
        let (ids, mask) = split
            .filter(|(_, mask)| mask.is_empty() || (mask.len() == n_rows && is_mask(mask)))
            .ok_or_else(|| {
                refuse(format!(
                    "{} bytes to reset {n_rows} environments (send the number of each, 4 bytes, then nothing or a byte each, 0 or 1)",
                    body.len()
                ))
            })?;
        let is_asked = |row: usize| mask.get(row).is_none_or(|&byte| byte == 1);
        let slab = self.slabs[slot].split_mut();
        // A list that is wrong is found here, before anything changes.
        self.batch.observe_some(ids, slab.obs).map_err(|error| refuse(error.to_string()))?;
        let asked: Vec<u32> = (0..n_rows).filter(|&row| is_asked(row)).map(|row| ids[row]).collect();
        let n_values = asked.len() * self.opened.obs_len as usize;
        self.batch
            .reset_some(&asked, &mut slab.obs[..n_values])
            .map_err(|error| refuse(error.to_string()))?;
        if asked.len() < n_rows {
            self.batch.observe_some(ids, slab.obs).map_err(|error| refuse(error.to_string()))?;
        }
        for (row, &env) in ids.iter().enumerate() {
            let ends = &mut self.ends[2 * env as usize..][..2];
            if is_asked(row) {
                self.was_reset[env as usize] = true;
                ends.fill(0);
            }
            (slab.terminated[row], slab.truncated[row]) = (ends[0], ends[1]);
        }
        slab.reward.fill(0.0);
        slab.trace.fill(0.0);
        slab.env_id.copy_from_slice(ids);
        self.slabs[slot].clear_finished();
        self.last = slot;
        Ok(())
    }

    /// One step with the actions in `body`, before which the numbers of their environments stand where a request names
    /// some. If one of them is refused, nothing has changed.
    pub fn step(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadAction, text };
        let n_rows = self.open.n_rows() as usize;
        let action_bytes = 4 * self.batch.action_space().len();
        let n_id_bytes = if self.open.is_partial() { 4 * n_rows } else { 0 };
        let split = body.split_at_checked(n_id_bytes).and_then(|(ids, rest)| {
            Some((
                env_ids(ids)?,
                match self.batch.action_space() {
                    ActionSpace::Discrete { .. } => Actions::Discrete(discrete_actions(rest)?),
                    _ => Actions::Continuous(continuous_actions(rest)?),
                },
            ))
        });
        let is_whole = n_id_bytes == 0 || body.len() == n_id_bytes + n_rows * action_bytes;
        let (ids, actions) = split.filter(|_| is_whole).ok_or_else(|| {
            let each =
                if n_id_bytes == 0 { String::new() } else { "the number of each, 4 bytes, then ".into() };
            let n_bytes = body.len();
            refuse(format!(
                "{n_bytes} bytes of actions for {n_rows} environments (send {each}{action_bytes} each)"
            ))
        })?;
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
        if n_id_bytes == 0 {
            self.batch.step(actions, outputs).map_err(|error| refuse(error.to_string()))?;
        } else {
            self.batch.step_some(ids, actions, outputs).map_err(|error| refuse(error.to_string()))?;
            slab.env_id.copy_from_slice(ids);
            for (row, &env) in ids.iter().enumerate() {
                self.ends[2 * env as usize..][..2]
                    .copy_from_slice(&[slab.terminated[row], slab.truncated[row]]);
            }
        }
        fill::write_trace(&self.trace, slab.trace);
        let env_at = |row: usize| ids.get(row).map_or(row as u32, |&env| env);
        let (finished, statistics, last) = (&self.finished, &self.statistics, &self.final_observations);
        fill::write_finished(&mut self.slabs[slot], finished, statistics, last, env_at);
        self.last = slot;
        Ok(())
    }

    /// Its whole state.
    pub fn snapshot(&self, served: &Served) -> Result<Vec<u8>, Refusal> {
        let never_reset = self.was_reset.iter().position(|&was_reset| !was_reset);
        if let (true, Some(env)) = (self.open.is_partial(), never_reset) {
            let text = format!("a snapshot before environment {env} was reset (reset all of them first)");
            return Err(Refusal { code: ErrorCode::BadSession, text });
        }
        let batch = self.batch.snapshot();
        let parts = Parts {
            was_reset: never_reset.is_none(),
            slab: self.slab().bytes_after_observations(),
            ends: &self.ends,
            batch: &batch,
        };
        snapshot::join(served, &self.open, &parts)
    }

    /// Goes back to the state of a snapshot; if it is refused, nothing has changed.
    pub fn restore(&mut self, served: &Served, slot: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadSnapshot, text };
        let parts = snapshot::split(served, &self.open, bytes)?;
        let is_whole = parts.was_reset || !self.open.is_partial();
        if parts.ends.len() != self.ends.len() || !is_mask(parts.ends) || !is_whole {
            return Err(refuse("a snapshot with ends of episodes that are none".into()));
        }
        let mut slab = Slab::new(self.slab().layout().clone());
        slab.take_over_after_observations(parts.slab).map_err(refuse)?;
        self.batch.restore(parts.batch).map_err(|error| refuse(error.to_string()))?;
        if parts.was_reset {
            // As they are not kept: they are nearly all of a slab, and follow from the states.
            let all = 0..self.open.n_envs;
            let envs = if self.open.is_partial() { slab.env_id().to_vec() } else { all.collect() };
            let shown = self.batch.observe_some(&envs, slab.split_mut().obs);
            shown.map_err(|error| refuse(error.to_string()))?;
        }
        self.slabs[slot].take_over(&slab.bytes()).map_err(refuse)?;
        self.ends.copy_from_slice(parts.ends);
        self.was_reset.fill(parts.was_reset);
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

/// Whether a session may be as large as `open` says, and have as many batches.
fn check_size(served: &Served, open: &Open) -> Result<(), Refusal> {
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
fn check_memory(layout: &SlabLayout, open: &Open) -> Result<(), Refusal> {
    let n_slabs = 2 + open.max_in_flight() as usize;
    let bytes = n_slabs * layout.max_bytes() + open.n_envs as usize * STATE_BYTES;
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        let text = format!(
            "no memory for a session of {} environments, about {} MB (open a smaller one)",
            open.n_envs,
            bytes.div_ceil(1_000_000)
        );
        Refusal { code: ErrorCode::TooMany, text }
    })
}

fn is_mask(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::tests::served;
    use wire::Range;
    use wire::slab::TRACE_COLUMNS;

    fn actions(choices: &[i32]) -> Vec<u8> {
        choices.iter().flat_map(|choice| choice.to_le_bytes()).collect()
    }

    fn refused(outcome: Result<(), Refusal>, code: ErrorCode, text: &str) {
        let refusal = outcome.unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(refusal.text.contains(text), "{}", refusal.text);
    }

    #[test]
    fn a_refused_request_leaves_the_session_as_it_was() {
        let served = served(&["--market", "nse", "--test-days", "3"]);
        let mut session = Session::open(&served, &Open::training(2, 7)).unwrap();
        refused(session.step(0, &actions(&[0, 0])), ErrorCode::BadSession, "before the first reset");
        session.reset(0, &[]).unwrap();
        let before = session.slab().bytes().to_vec();
        refused(session.step(0, &actions(&[1])), ErrorCode::BadAction, "1 actions for 2 environments");
        refused(session.step(0, &actions(&[0, 3])), ErrorCode::BadAction, "environment 1: action 3");
        refused(session.step(0, &[0; 7]), ErrorCode::BadAction, "7 bytes");
        refused(session.reset(0, &[1]), ErrorCode::BadFrame, "mask of 1 bytes");
        refused(session.reset(0, &[1, 2]), ErrorCode::BadFrame, "0 or 1");
        assert_eq!(session.slab().bytes(), before);
        // The next step is that of a session that was never asked anything wrong.
        let mut other = Session::open(&served, &Open::training(2, 7)).unwrap();
        other.reset(0, &[]).unwrap();
        session.step(0, &actions(&[2, 0])).unwrap();
        other.step(0, &actions(&[2, 0])).unwrap();
        assert_eq!(session.slab().bytes(), other.slab().bytes());
    }

    #[test]
    fn a_restored_session_goes_on_with_the_same_bits() {
        let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
        for autoreset in [wire::Autoreset::SameStep, wire::Autoreset::NextStep, wire::Autoreset::Disabled] {
            let open = Open { autoreset, trace: true, ..Open::training(3, 7) };
            let mut session = Session::open(&served, &open).unwrap();
            session.reset(0, &[]).unwrap();
            let play = |session: &mut Session, steps: std::ops::Range<i32>| -> Vec<Vec<u8>> {
                steps
                    .map(|step| {
                        session.step(0, &actions(&[step % 3, 2, (step / 4) % 3])).unwrap();
                        session.slab().bytes().to_vec()
                    })
                    .collect()
            };
            play(&mut session, 0..13);
            let (snapshot, then) = (session.snapshot(&served).unwrap(), session.slab().bytes().to_vec());
            let went_on = play(&mut session, 13..40);
            // Back in the same session, and in a new one that was never reset.
            let mut other = Session::open(&served, &open).unwrap();
            for session in [&mut session, &mut other] {
                session.restore(&served, 0, &snapshot).unwrap();
                assert_eq!(session.slab().bytes(), then);
                assert_eq!(play(session, 13..40), went_on);
            }
        }
    }

    #[test]
    fn a_refused_snapshot_leaves_the_session_as_it_was() {
        let served = served(&[]);
        let mut session = Session::open(&served, &Open::training(2, 7)).unwrap();
        session.reset(0, &[]).unwrap();
        session.step(0, &actions(&[0, 2])).unwrap();
        let mut snapshot = session.snapshot(&served).unwrap();
        let before = session.slab().bytes().to_vec();
        refused(session.restore(&served, 0, &[]), ErrorCode::BadSnapshot, "no whole snapshot");
        let middle = snapshot.len() / 2;
        snapshot[middle] ^= 1;
        refused(session.restore(&served, 0, &snapshot), ErrorCode::BadSnapshot, "no whole snapshot");
        assert_eq!(session.slab().bytes(), before);
        assert_eq!(session.snapshot(&served).unwrap().len(), snapshot.len());
    }

    /// A request: the environments' numbers, then their actions.
    fn request(ids: &[u32], choices: &[i32]) -> Vec<u8> {
        [bytemuck::cast_slice(ids), actions(choices).as_slice()].concat()
    }

    /// What an answer says of each of its environments, with the record of its episode's end.
    fn rows(slab: &Slab, n_rows: usize) -> Vec<Vec<u64>> {
        let observations = slab.observations().to_vec();
        let obs_len = slab.layout().obs_len();
        let row = |row: usize| {
            let env = slab.env_id().get(row).map_or(row as u32, |&env| env);
            let mut values: Vec<u64> =
                observations[row * obs_len..][..obs_len].iter().map(|x| x.to_bits().into()).collect();
            values.push(slab.reward()[row].to_bits().into());
            values.extend([slab.terminated()[row], slab.truncated()[row]].map(u64::from));
            values.extend((0..TRACE_COLUMNS.len()).map(|column| slab.trace_column(column)[row].to_bits()));
            values.extend(slab.trace_costs(row).iter().map(|cost| cost.to_bits()));
            for (record, costs, last) in slab.finished().filter(|(record, ..)| record.env == env) {
                values.extend([record.length.into(), record.episode_return.to_bits(), record.trades]);
                values.extend(costs.iter().map(|cost| cost.to_bits()));
                values.extend(last.iter().map(|x| u64::from(x.to_bits())));
            }
            values
        };
        (0..n_rows).map(row).collect()
    }

    /// The action of an environment's step, whenever it is made.
    fn choice(env: u32, step: usize) -> i32 {
        (env as usize + step / 3) as i32 % 3
    }

    #[test]
    fn whatever_the_batch_and_the_order_environments_play_the_same_to_the_bit() {
        let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
        let (n_envs, n_steps) = (12, 40);
        for autoreset in [wire::Autoreset::SameStep, wire::Autoreset::NextStep, wire::Autoreset::Disabled] {
            let open = Open { autoreset, trace: true, ..Open::training(n_envs, 7) };
            let mut whole = Session::open(&served, &open).unwrap();
            whole.reset(0, &[]).unwrap();
            let mut expected: Vec<Vec<Vec<u64>>> =
                rows(whole.slab(), 12).into_iter().map(|row| vec![row]).collect();
            for step in 0..n_steps {
                let choices: Vec<i32> = (0..n_envs).map(|env| choice(env, step)).collect();
                whole.step(0, &actions(&choices)).unwrap();
                (0..12).zip(rows(whole.slab(), 12)).for_each(|(env, row)| expected[env].push(row));
            }
            for batch in [1, 3, 5, 6, 11] {
                let mut some = Session::open(&served, &Open { batch, ..open.clone() }).unwrap();
                let mut seen: Vec<Vec<Vec<u64>>> = vec![Vec::new(); 12];
                let note = |some: &Session, seen: &mut Vec<Vec<Vec<u64>>>| {
                    let found = rows(some.slab(), batch as usize);
                    for (&env, row) in some.slab().env_id().iter().zip(found) {
                        seen[env as usize].push(row);
                    }
                };
                for first in (0..n_envs).step_by(batch as usize) {
                    // The last one may name some again, which keep their episodes.
                    let ids: Vec<u32> = (first.min(n_envs - batch)..).take(batch as usize).collect();
                    some.reset(0, bytemuck::cast_slice(&ids)).unwrap();
                    (ids[0]..first).for_each(|env| seen[env as usize].clear());
                    note(&some, &mut seen);
                }
                // Any environments may be next, as long as none runs away from the others for ever.
                for turn in 0.. {
                    if seen.iter().all(|steps| steps.len() > n_steps) {
                        break;
                    }
                    let mut ids: Vec<u32> = (0..n_envs).collect();
                    ids.sort_by_key(|&env| (seen[env as usize].len() / 4, (env * 7 + turn * 5) % 13));
                    ids.truncate(batch as usize);
                    ids.sort_unstable();
                    let choices: Vec<i32> =
                        ids.iter().map(|&env| choice(env, seen[env as usize].len() - 1)).collect();
                    some.step(0, &request(&ids, &choices)).unwrap();
                    assert_eq!(some.slab().env_id(), ids);
                    note(&some, &mut seen);
                }
                for (env, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
                    assert!(
                        seen[..=n_steps] == expected[..],
                        "{autoreset:?}, batch {batch}, environment {env}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_refused_part_leaves_the_session_as_it_was() {
        let served = served(&["--market", "nse", "--test-days", "3"]);
        let open = Open { batch: 2, ..Open::training(5, 7) };
        let mut session = Session::open(&served, &open).unwrap();
        let ids = |ids: &[u32]| bytemuck::cast_slice(ids).to_vec();
        refused(session.step(0, &request(&[0, 3], &[0, 0])), ErrorCode::BadSession, "environment 0 before");
        session.reset(0, &ids(&[0, 1])).unwrap();
        refused(session.step(0, &request(&[0, 3], &[0, 0])), ErrorCode::BadSession, "environment 3 before");
        refused(session.snapshot(&served).map(|_| ()), ErrorCode::BadSession, "environment 2");
        session.reset(0, &ids(&[2, 3])).unwrap();
        session.reset(0, &ids(&[3, 4])).unwrap();
        let before = session.slab().bytes().to_vec();
        for (body, text) in [
            (request(&[0, 5], &[0, 0]), "environment 5"),
            (request(&[3, 3], &[0, 0]), "environment 3"),
            (request(&[3, 1], &[0, 0]), "environment 1"),
            (request(&[0, u32::MAX], &[0, 0]), "environment 4294967295"),
            (request(&[0, 3], &[0, 7]), "environment 3: action 7"),
            (request(&[0], &[0]), "8 bytes of actions for 2 environments"),
            (request(&[0, 1, 2], &[0, 0, 0]), "24 bytes"),
            (request(&[0, 1], &[0]), "12 bytes"),
            (vec![], "0 bytes"),
            (vec![0; 15], "15 bytes"),
        ] {
            refused(session.step(0, &body), ErrorCode::BadAction, text);
        }
        for (body, text) in [
            (ids(&[0, 5]), "environment 5"),
            (ids(&[1, 0]), "environment 0"),
            (ids(&[0]), "4 bytes to reset 2"),
            (vec![], "0 bytes to reset 2"),
            ([ids(&[0, 1]), vec![1]].concat(), "9 bytes"),
            ([ids(&[0, 1]), vec![1, 2]].concat(), "0 or 1"),
        ] {
            refused(session.reset(0, &body), ErrorCode::BadFrame, text);
        }
        assert_eq!(session.slab().bytes(), before);
        let mut other = Session::open(&served, &open).unwrap();
        [[0, 1], [2, 3], [3, 4]].iter().for_each(|some| other.reset(0, &ids(some)).unwrap());
        for session in [&mut session, &mut other] {
            session.step(0, &request(&[0, 3], &[2, 0])).unwrap();
        }
        assert_eq!(session.slab().bytes(), other.slab().bytes());
        assert_eq!(session.snapshot(&served).unwrap(), other.snapshot(&served).unwrap());
    }

    #[test]
    fn what_was_ended_is_shown_again_until_it_is_reset() {
        let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "2"]);
        let open = Open { batch: 2, autoreset: wire::Autoreset::Disabled, ..Open::training(4, 7) };
        let mut session = Session::open(&served, &open).unwrap();
        let ids = |ids: &[u32], mask: &[u8]| [bytemuck::cast_slice(ids), mask].concat();
        session.reset(0, &ids(&[0, 1], &[])).unwrap();
        session.reset(0, &ids(&[2, 3], &[])).unwrap();
        for _ in 0..2 {
            session.step(0, &request(&[1, 2], &[0, 2])).unwrap();
        }
        assert_eq!((session.slab().truncated(), session.slab().n_finished()), (&[1, 1][..], 2));
        let ended = session.slab().observations().to_vec();
        session.reset(0, &ids(&[1, 2], &[0, 0])).unwrap();
        assert_eq!((session.slab().truncated(), session.slab().reward()), (&[1, 1][..], &[0.0; 2][..]));
        assert_eq!((session.slab().observations().to_vec(), session.slab().n_finished()), (ended, 0));
        session.reset(0, &ids(&[1, 2], &[0, 1])).unwrap();
        assert_eq!(session.slab().truncated(), [1, 0]);
        session.reset(0, &ids(&[0, 2], &[0, 0])).unwrap();
        assert_eq!(session.slab().truncated(), [0, 0]);
    }

    #[test]
    fn a_restored_session_of_parts_goes_on_with_the_same_bits() {
        let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
        let open = Open { batch: 2, trace: true, ..Open::training(5, 7) };
        let reset = |session: &mut Session| {
            for some in [[0_u32, 1], [2, 3], [3, 4]] {
                session.reset(0, bytemuck::cast_slice(&some)).unwrap();
            }
        };
        let mut session = Session::open(&served, &open).unwrap();
        reset(&mut session);
        let play = |session: &mut Session, steps: std::ops::Range<u32>| -> Vec<Vec<u8>> {
            let step = |step: u32| {
                let (mut one, mut other) = (step % 5, (step * 3 + 1) % 5);
                (one, other) = (one.min(other), one.max(other));
                if one == other {
                    (one, other) = (0, 4);
                }
                session.step(0, &request(&[one, other], &[step as i32 % 3, 2])).unwrap();
                session.slab().bytes().to_vec()
            };
            steps.map(step).collect()
        };
        play(&mut session, 0..23);
        let (snapshot, then) = (session.snapshot(&served).unwrap(), session.slab().bytes().to_vec());
        let went_on = play(&mut session, 23..90);
        let mut other = Session::open(&served, &open).unwrap();
        for session in [&mut session, &mut other] {
            session.restore(&served, 0, &snapshot).unwrap();
            assert_eq!(session.slab().bytes(), then);
            assert_eq!(play(session, 23..90), went_on);
        }
        let mut whole = Session::open(&served, &Open { batch: 0, ..open }).unwrap();
        refused(whole.restore(&served, 0, &snapshot), ErrorCode::BadSnapshot, "batch 2");
    }

    #[test]
    fn sessions_beyond_the_caps_or_the_days_are_refused() {
        let served = served(&["--envs", "8"]);
        let open = |open: Open| Session::open(&served, &open).map(|_| ());
        refused(open(Open::training(0, 1)), ErrorCode::TooMany, "1 to 8");
        refused(open(Open::training(9, 1)), ErrorCode::TooMany, "--envs");
        refused(open(Open::evaluation(1, Range::Test)), ErrorCode::BadOpen, "--test-days");
        refused(open(Open { batch: 9, ..Open::training(8, 1) }), ErrorCode::BadOpen, "a batch of 9 of 8");
        let far = Range::Sessions { first: 3, last: 4_000_000_000 };
        refused(open(Open { range: far, ..Open::training(1, 1) }), ErrorCode::BadOpen, "calendar");
        let none = Open { episode: wire::Episode::Steps(0), ..Open::training(1, 1) };
        refused(open(none), ErrorCode::BadOpen, "0 steps");
    }

    #[test]
    fn an_evaluation_plays_each_symbol_once_and_its_rewards_add_up() {
        let served = served(&["--market", "nse", "--test-days", "3"]);
        let mut session = Session::open(&served, &Open::evaluation(2, Range::Test)).unwrap();
        session.reset(0, &[]).unwrap();
        let mut sums = [0.0; 2];
        let mut costs = [0.0; 2];
        let n_steps = 3 * 10;
        for step in 0..n_steps {
            session.step(0, &actions(&[step % 3, 2])).unwrap();
            for env in 0..2 {
                sums[env] += f64::from(session.slab().reward()[env]);
                costs[env] += session.slab().trace_costs(env).iter().sum::<f64>();
                assert_eq!(session.slab().trace_column(1)[env], env as f64);
            }
            assert_eq!(session.slab().n_finished(), if step == n_steps - 1 { 2 } else { 0 });
        }
        for (record, kinds, _) in session.slab().finished() {
            let env = record.env as usize;
            let growth = f64::ln(record.final_equity / 100_000.0);
            assert!((record.episode_return - growth).abs() < 1e-12 && (sums[env] - growth).abs() < 1e-5);
            assert!((kinds.iter().sum::<f64>() - costs[env]).abs() < 1e-6 && costs[env] > 0.0);
            assert_eq!(record.length, 30);
        }
        assert_eq!(session.slab().trace_column(7), [0.0, 0.0], "flat at the end");
        // It stays as it ended.
        session.step(0, &actions(&[0, 0])).unwrap();
        assert_eq!((session.slab().n_finished(), session.slab().truncated()), (0, &[1, 1][..]));
        assert_eq!(session.slab().reward(), [0.0, 0.0]);
    }
}
