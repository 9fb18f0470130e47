//! The environments as an algorithm sees them: a batch that is reset once and then stepped, its results
//! read from the slab where they arrived. A server's session is one; tests bring their own.

use std::cell::RefCell;

use anyhow::{Context, Result};
use wire::spec::ActionSpace;
use wire::{Actions, Client, Session, Slab};

/// A batch of environments that start anew within the step that ends an episode.
pub trait VecEnv {
    /// Starts all episodes.
    ///
    /// # Errors
    /// If the environments are gone.
    fn reset(&mut self) -> Result<()>;

    /// Makes one step in all of them.
    ///
    /// # Errors
    /// If an action is refused, or the environments are gone.
    fn step(&mut self, actions: Actions<'_>) -> Result<()>;

    /// What the last reset or step brought.
    fn slab(&self) -> &Slab;

    /// Everything that the environments need to go on from where they stand.
    ///
    /// # Errors
    /// If they are gone.
    fn snapshot(&mut self) -> Result<Vec<u8>>;

    /// Puts all of them where they stood when `snapshot` was taken; they then show what they showed.
    ///
    /// # Errors
    /// If it is no snapshot of these environments, or they are gone.
    fn restore(&mut self, snapshot: &[u8]) -> Result<()>;
}

/// A session on a server, whose connection others may use between steps.
#[derive(Debug)]
pub struct ServedEnv<'a> {
    client: &'a RefCell<Client>,
    session: Session,
}

impl<'a> ServedEnv<'a> {
    /// Steps `session`, which was opened on `client`.
    pub fn new(client: &'a RefCell<Client>, session: Session) -> Self {
        Self { client, session }
    }
}

impl VecEnv for ServedEnv<'_> {
    fn reset(&mut self) -> Result<()> {
        self.client.borrow_mut().reset(&mut self.session).context("resetting the environments")
    }

    fn step(&mut self, actions: Actions<'_>) -> Result<()> {
        self.client.borrow_mut().step(&mut self.session, actions).context("stepping the environments")
    }

    fn slab(&self) -> &Slab {
        self.session.slab()
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        self.client.borrow_mut().snapshot(&self.session).context("keeping the environments' state")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        let restored = self.client.borrow_mut().restore(&mut self.session, snapshot);
        restored.context("putting the environments back")
    }
}

/// Actions in the form in which they leave: indices, or numbers clipped to the bounds.
#[derive(Debug)]
pub struct Outgoing {
    bounds: Option<(Vec<f32>, Vec<f32>)>,
    indices: Vec<i32>,
    numbers: Vec<f32>,
}

impl Outgoing {
    /// For actions in `space`.
    pub fn new(space: &ActionSpace) -> Self {
        let bounds = match space {
            ActionSpace::Discrete { .. } => None,
            ActionSpace::Box { low, high } => Some((low.clone(), high.clone())),
        };
        Self { bounds, indices: Vec::new(), numbers: Vec::new() }
    }

    /// The form in which `actions`, as they are stored, leave.
    pub fn fill(&mut self, actions: &[f32]) -> Actions<'_> {
        let Some((low, high)) = &self.bounds else {
            self.indices.clear();
            self.indices.extend(actions.iter().map(|&action| action as i32));
            return Actions::Discrete(&self.indices);
        };
        let bounds = low.iter().zip(high).cycle();
        self.numbers.clear();
        self.numbers
            .extend(actions.iter().zip(bounds).map(|(action, (low, high))| action.max(*low).min(*high)));
        Actions::Continuous(&self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuous_actions_leave_within_their_bounds_and_stay_unclipped_here() {
        let mut outgoing = Outgoing::new(&ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 0.5] });
        let stored = [-3.0, 0.25, 0.5, 0.75];
        assert_eq!(outgoing.fill(&stored), Actions::Continuous(&[-1.0, 0.25, 0.5, 0.5]));
        assert_eq!(
            Outgoing::new(&ActionSpace::Discrete { n: 3, levels: vec![] }).fill(&[2.0, 0.0]),
            Actions::Discrete(&[2, 0])
        );
    }
}
