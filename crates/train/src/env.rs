//! The environments as an algorithm sees them: a batch that is reset once and then stepped, its results
//! read from the slab where they arrived. A server's session is one; tests bring their own.

use std::cell::RefCell;

use anyhow::Result;
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
        Ok(self.client.borrow_mut().reset(&mut self.session)?)
    }

    fn step(&mut self, actions: Actions<'_>) -> Result<()> {
        Ok(self.client.borrow_mut().step(&mut self.session, actions)?)
    }

    fn slab(&self) -> &Slab {
        self.session.slab()
    }
}
