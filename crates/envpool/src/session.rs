//! One batch of environments and the slab that its exchanges fill.

use trading_env::{ActionSpace, Actions, AnyBatch, Autoreset, EpisodeStatistics, Outputs, TraceRow};
use wire::message::{ErrorCode, Opened, Refusal};
use wire::server::{continuous_actions, discrete_actions};
use wire::slab::{SharedWords, TRACE_COLUMNS};
use wire::{Finished, Open, Slab, SlabLayout};

use crate::served::Served;
use crate::snapshot::{self, Parts};

/// One session of a client.
#[derive(Debug)]
pub struct Session {
    batch: AnyBatch,
    open: Open,
    opened: Opened,
    slab: Slab,
    was_reset: bool,
    finished: Vec<u8>,
    final_observations: Vec<f32>,
    statistics: Vec<EpisodeStatistics>,
    trace: Vec<TraceRow>,
}

impl Session {
    /// The session that `open` asks for; nothing is allocated before it is found to be allowed.
    pub fn open(served: &Served, open: &Open) -> Result<Self, Refusal> {
        let max_envs = served.spec.max_envs;
        if open.n_envs == 0 || open.n_envs > max_envs {
            let text = format!(
                "a session of {} environments, where 1 to {max_envs} are allowed (start envpool with a larger --envs)",
                open.n_envs
            );
            return Err(Refusal { code: ErrorCode::TooMany, text });
        }
        let autoreset = match open.autoreset {
            wire::Autoreset::SameStep => Autoreset::SameStep,
            wire::Autoreset::Disabled => Autoreset::Disabled,
            wire::Autoreset::NextStep => Autoreset::NextStep,
        };
        let n_envs = open.n_envs as usize;
        let obs_len = served.spec.observation.len as usize;
        let batch = served.environment(open)?.batch(n_envs, open.seed, autoreset);
        let opened = Opened {
            n_envs: open.n_envs,
            obs_len: obs_len as u32,
            n_cost_kinds: served.spec.cost_kinds.len() as u32,
            trace: open.trace,
        };
        Ok(Self {
            batch,
            open: open.clone(),
            slab: Slab::new(SlabLayout::new(&opened)),
            opened,
            was_reset: false,
            finished: vec![0; n_envs],
            final_observations: vec![0.0; n_envs * obs_len],
            statistics: vec![EpisodeStatistics::default(); n_envs],
            trace: if open.trace { vec![TraceRow::default(); n_envs] } else { Vec::new() },
        })
    }

    /// How its slabs are laid out.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What the last exchange brought.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Moves the slab into memory that the client reads.
    pub fn share(&mut self, words: SharedWords) {
        self.slab.share(words);
    }

    /// New episodes where `mask` is 1; in all environments if it is empty.
    pub fn reset(&mut self, mask: &[u8]) -> Result<(), Refusal> {
        let n_envs = self.batch.n_envs();
        if !mask.is_empty() && (mask.len() != n_envs || mask.iter().any(|&byte| byte > 1)) {
            let text = format!(
                "a reset mask of {} bytes for {n_envs} environments (send one byte each, 0 or 1, or none)",
                mask.len()
            );
            return Err(Refusal { code: ErrorCode::BadFrame, text });
        }
        self.was_reset = true;
        self.slab.clear_finished();
        let slab = self.slab.split_mut();
        self.batch.reset(mask, slab.obs);
        slab.reward.fill(0.0);
        slab.trace.fill(0.0);
        for env in (0..n_envs).filter(|&env| mask.get(env).is_none_or(|&byte| byte == 1)) {
            slab.terminated[env] = 0;
            slab.truncated[env] = 0;
        }
        Ok(())
    }

    /// One step with the actions in `bytes`; if one of them is refused, nothing has changed.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if !self.was_reset {
            let text = "a step before the first reset (reset the session first)".into();
            return Err(Refusal { code: ErrorCode::BadSession, text });
        }
        let refuse = |text: String| Refusal { code: ErrorCode::BadAction, text };
        let n_envs = self.batch.n_envs();
        let actions = match self.batch.action_space() {
            ActionSpace::Discrete { .. } => discrete_actions(bytes).map(Actions::Discrete),
            _ => continuous_actions(bytes).map(Actions::Continuous),
        };
        let actions = actions.ok_or_else(|| {
            let values = self.batch.action_space().len();
            refuse(format!(
                "{} bytes of actions for {n_envs} environments (send {} each)",
                bytes.len(),
                4 * values
            ))
        })?;
        let slab = self.slab.split_mut();
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
        self.batch.step(actions, outputs).map_err(|error| refuse(error.to_string()))?;
        write_trace(&self.trace, slab.trace);
        self.push_finished();
        Ok(())
    }

    /// Its whole state.
    pub fn snapshot(&self, served: &Served) -> Result<Vec<u8>, Refusal> {
        let batch = self.batch.snapshot();
        let parts = Parts { was_reset: self.was_reset, slab: &self.slab.bytes(), batch: &batch };
        snapshot::join(served, &self.open, &parts)
    }

    /// Goes back to the state of a snapshot; if it is refused, nothing has changed.
    pub fn restore(&mut self, served: &Served, bytes: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadSnapshot, text };
        let parts = snapshot::split(served, &self.open, bytes)?;
        let mut slab = Slab::new(self.slab.layout().clone());
        slab.take_over(parts.slab).map_err(refuse)?;
        self.batch.restore(parts.batch).map_err(|error| refuse(error.to_string()))?;
        self.slab.take_over(&slab.bytes()).map_err(refuse)?;
        self.was_reset = parts.was_reset;
        Ok(())
    }

    fn push_finished(&mut self) {
        self.slab.clear_finished();
        let obs_len = self.opened.obs_len as usize;
        for env in (0..self.finished.len()).filter(|&env| self.finished[env] == 1) {
            let statistics = &self.statistics[env];
            let account = &statistics.account;
            let record = Finished {
                env: env as u32,
                length: statistics.length,
                episode_return: statistics.return_sum,
                final_equity: account.final_equity,
                turnover: account.turnover,
                max_drawdown: account.max_drawdown,
                trades: account.n_trades.into(),
            };
            let final_observation = &self.final_observations[env * obs_len..][..obs_len];
            self.slab.push_finished(record, &account.costs.to_array(), final_observation);
        }
    }
}

/// Rows to the columns of [`TRACE_COLUMNS`], then the costs of each environment.
fn write_trace(rows: &[TraceRow], out: &mut [f64]) {
    let n_envs = rows.len();
    let (columns, costs) = out.split_at_mut(n_envs * TRACE_COLUMNS.len());
    for (env, row) in rows.iter().enumerate() {
        let values = [
            row.ts as f64,
            f64::from(row.symbol_idx),
            row.close,
            row.entry.price,
            row.entry.shares,
            row.exit.price,
            row.exit.shares,
            row.shares,
            row.equity,
        ];
        for (column, value) in values.into_iter().enumerate() {
            columns[column * n_envs + env] = value;
        }
    }
    for (row, slot) in rows.iter().zip(costs.chunks_exact_mut(trading_env::Costs::KINDS.len())) {
        slot.copy_from_slice(&row.costs.to_array());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::tests::served;
    use wire::Range;

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
        refused(session.step(&actions(&[0, 0])), ErrorCode::BadSession, "before the first reset");
        session.reset(&[]).unwrap();
        let before = session.slab().bytes().to_vec();
        refused(session.step(&actions(&[1])), ErrorCode::BadAction, "1 actions for 2 environments");
        refused(session.step(&actions(&[0, 3])), ErrorCode::BadAction, "environment 1: action 3");
        refused(session.step(&[0; 7]), ErrorCode::BadAction, "7 bytes");
        refused(session.reset(&[1]), ErrorCode::BadFrame, "mask of 1 bytes");
        refused(session.reset(&[1, 2]), ErrorCode::BadFrame, "0 or 1");
        assert_eq!(session.slab().bytes(), before);
        // The next step is that of a session that was never asked anything wrong.
        let mut other = Session::open(&served, &Open::training(2, 7)).unwrap();
        other.reset(&[]).unwrap();
        session.step(&actions(&[2, 0])).unwrap();
        other.step(&actions(&[2, 0])).unwrap();
        assert_eq!(session.slab().bytes(), other.slab().bytes());
    }

    #[test]
    fn a_restored_session_goes_on_with_the_same_bits() {
        let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
        for autoreset in [wire::Autoreset::SameStep, wire::Autoreset::NextStep, wire::Autoreset::Disabled] {
            let open = Open { autoreset, trace: true, ..Open::training(3, 7) };
            let mut session = Session::open(&served, &open).unwrap();
            session.reset(&[]).unwrap();
            let play = |session: &mut Session, steps: std::ops::Range<i32>| -> Vec<Vec<u8>> {
                steps
                    .map(|step| {
                        session.step(&actions(&[step % 3, 2, (step / 4) % 3])).unwrap();
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
                session.restore(&served, &snapshot).unwrap();
                assert_eq!(session.slab().bytes(), then);
                assert_eq!(play(session, 13..40), went_on);
            }
        }
    }

    #[test]
    fn a_refused_snapshot_leaves_the_session_as_it_was() {
        let served = served(&[]);
        let mut session = Session::open(&served, &Open::training(2, 7)).unwrap();
        session.reset(&[]).unwrap();
        session.step(&actions(&[0, 2])).unwrap();
        let mut snapshot = session.snapshot(&served).unwrap();
        let before = session.slab().bytes().to_vec();
        refused(session.restore(&served, &[]), ErrorCode::BadSnapshot, "no whole snapshot");
        let middle = snapshot.len() / 2;
        snapshot[middle] ^= 1;
        refused(session.restore(&served, &snapshot), ErrorCode::BadSnapshot, "no whole snapshot");
        assert_eq!(session.slab().bytes(), before);
        assert_eq!(session.snapshot(&served).unwrap().len(), snapshot.len());
    }

    #[test]
    fn sessions_beyond_the_caps_or_the_days_are_refused() {
        let served = served(&["--envs", "8"]);
        let open = |open: Open| Session::open(&served, &open).map(|_| ());
        refused(open(Open::training(0, 1)), ErrorCode::TooMany, "1 to 8");
        refused(open(Open::training(9, 1)), ErrorCode::TooMany, "--envs");
        refused(open(Open::evaluation(1, Range::Test)), ErrorCode::BadOpen, "--test-days");
        let far = Range::Sessions { first: 3, last: 4_000_000_000 };
        refused(open(Open { range: far, ..Open::training(1, 1) }), ErrorCode::BadOpen, "calendar");
    }

    #[test]
    fn an_evaluation_plays_each_symbol_once_and_its_rewards_add_up() {
        let served = served(&["--market", "nse", "--test-days", "3"]);
        let mut session = Session::open(&served, &Open::evaluation(2, Range::Test)).unwrap();
        session.reset(&[]).unwrap();
        let mut sums = [0.0; 2];
        let mut costs = [0.0; 2];
        let n_steps = 3 * 10;
        for step in 0..n_steps {
            session.step(&actions(&[step % 3, 2])).unwrap();
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
        session.step(&actions(&[0, 0])).unwrap();
        assert_eq!((session.slab().n_finished(), session.slab().truncated()), (0, &[1, 1][..]));
        assert_eq!(session.slab().reward(), [0.0, 0.0]);
    }
}
