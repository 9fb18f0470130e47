//! Which of a training's policies is judged: the one that does best on the validation days, the last ones
//! before the held-out days, which nothing is learnt from. Never the held-out days: what chooses a policy
//! cannot judge it. Where the server keeps no validation days, the last policy is the one.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use wire::spec::{Days, Market};

use crate::training::checkpoint::keeper::Kept;
use crate::training::checkpoint::{self, Checkpoint};

/// What a policy earned on the validation days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Environment steps that it had learnt from.
    pub timesteps: u64,
    /// Total return, net of all costs.
    pub total_return: f64,
}

/// What there is to tell of a choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// The validation days.
    pub days: Days,
    /// Every policy that was looked at, in their order.
    pub scores: Vec<Score>,
    /// Which one was chosen.
    pub best_timesteps: u64,
    /// What it earned there. Chosen for it, so more than it is worth.
    pub best_total_return: f64,
}

/// Looks at policies as they come and keeps the best.
#[derive(Debug)]
pub struct Choice {
    market: Market,
    days: Days,
    every: u64,
    scores: Vec<Score>,
    best: Option<(Score, Arc<Kept>)>,
    unwritten: bool,
}

impl Choice {
    /// A choice among the policies of every `every`th update; none where `market` keeps no validation days.
    pub fn new(market: Option<&Market>, every: u64) -> Option<Self> {
        let market = market?;
        let days = market.validation?;
        Some(Self { market: market.clone(), days, every, scores: Vec::new(), best: None, unwritten: false })
    }

    /// The market on whose validation days policies play.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Takes up the choice of the run in the directory `run` that was interrupted after these `scores`.
    ///
    /// # Errors
    /// If the best checkpoint among them is damaged or gone.
    pub fn recall(&mut self, run: &Path, scores: &[Score]) -> Result<()> {
        self.scores = scores.to_vec();
        let first_of_the_best = scores
            .iter()
            .copied()
            .reduce(|best, score| if score.total_return > best.total_return { score } else { best });
        if let Some(best) = first_of_the_best {
            let path = checkpoint::path(run, best.timesteps);
            self.best = Some((best, Arc::new(Kept::ready(Checkpoint::read(&path)?))));
            // A kill may have come between the checkpoint and the link to it.
            checkpoint::writer::point(&path)?;
        }
        Ok(())
    }

    /// All scores so far.
    pub fn scores(&self) -> &[Score] {
        &self.scores
    }

    /// Whether the policy after `update`, which may be the last, is to be looked at.
    pub fn is_due(&self, update: u64, is_last: bool) -> bool {
        update.is_multiple_of(self.every) || is_last
    }

    /// Notes a score; says whether it is the best so far, of which the checkpoint is then to be kept. Of equal
    /// ones the first stays: it took less learning to get there.
    pub fn note(&mut self, score: Score) -> bool {
        self.scores.push(score);
        self.best.as_ref().is_none_or(|(best, _)| score.total_return > best.total_return)
    }

    /// Keeps the checkpoint of the policy that was noted last.
    pub fn keep(&mut self, checkpoint: Arc<Kept>) {
        if let Some(&score) = self.scores.last() {
            self.best = Some((score, checkpoint));
            self.unwritten = true;
        }
    }

    /// The best checkpoint, if it is still to be written.
    pub fn unwritten(&self) -> Option<&Arc<Kept>> {
        self.best.as_ref().filter(|_| self.unwritten).map(|(_, checkpoint)| checkpoint)
    }

    /// Notes that a writer took the best checkpoint.
    pub fn written(&mut self) {
        self.unwritten = false;
    }

    /// The best policy, and what there is to tell of the choice; none before the first look.
    pub fn outcome(&self) -> Option<(&Arc<Kept>, Validation)> {
        let (score, checkpoint) = self.best.as_ref()?;
        let told = Validation {
            days: self.days,
            scores: self.scores.clone(),
            best_timesteps: score.timesteps,
            best_total_return: score.total_return,
        };
        Some((checkpoint, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::market;
    use crate::training::checkpoint::tests::checkpoint;

    #[test]
    fn the_first_of_the_best_is_kept_and_written_once() {
        let market = Market { validation: Some(Days { first: 1, last: 1 }), ..market() };
        let mut choice = Choice::new(Some(&market), 5).unwrap();
        assert!(choice.outcome().is_none());
        for (timesteps, total_return, is_best) in
            [(10, -0.02, true), (20, 0.03, true), (30, 0.03, false), (40, 0.01, false)]
        {
            assert_eq!(choice.note(Score { timesteps, total_return }), is_best, "after {timesteps}");
            if is_best {
                choice.keep(Arc::new(Kept::ready(checkpoint(timesteps))));
                assert_eq!(choice.unwritten().map(|checkpoint| checkpoint.timesteps()), Some(timesteps));
                choice.written();
            }
            assert!(choice.unwritten().is_none());
        }
        let (best, told) = choice.outcome().unwrap();
        assert_eq!((best.timesteps(), told.best_timesteps, told.best_total_return), (20, 20, 0.03));
        assert_eq!(told.scores.len(), 4);
    }

    #[test]
    fn every_so_many_updates_and_the_last_are_looked_at_if_days_are_kept_apart() {
        assert!(Choice::new(Some(&market()), 5).is_none() && Choice::new(None, 5).is_none());
        let market = Market { validation: Some(Days { first: 1, last: 1 }), ..market() };
        let choice = Choice::new(Some(&market), 3).unwrap();
        let due: Vec<u64> = (1..=8).filter(|&update| choice.is_due(update, update == 8)).collect();
        assert_eq!(due, [3, 6, 8]);
    }
}
