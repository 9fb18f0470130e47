//! One type for a batch of any environment, chosen once at its opening: the inner loops stay those of the
//! environment's own type.

use crate::batch::{Actions, Autoreset, Batch, Host, Outputs};
use crate::cartpole::CartPole;
use crate::environment::{ActionSpace, Environment};
use crate::error::{ActionError, EnvError};
use crate::ou::OrnsteinUhlenbeck;
use crate::portfolio::Portfolio;
use crate::probe::Probe;
use crate::stock_trading_env2::StockTradingEnv2;

/// Any environment.
#[derive(Debug, Clone)]
pub enum AnyEnvironment {
    /// Trading.
    Portfolio(Box<Portfolio>),
    /// Trading by the rules of a Python environment.
    StockTradingEnv2(Box<StockTradingEnv2>),
    /// Gymnasium's `CartPole-v1`.
    CartPole(CartPole),
    /// A mean-reverting price.
    OrnsteinUhlenbeck(OrnsteinUhlenbeck),
    /// A probe.
    Probe(Probe),
}

/// A batch of any environment.
#[derive(Debug)]
pub enum AnyBatch {
    /// Trading.
    Portfolio(Box<Batch<Portfolio>>),
    /// Trading by the rules of a Python environment.
    StockTradingEnv2(Box<Batch<StockTradingEnv2>>),
    /// Gymnasium's `CartPole-v1`.
    CartPole(Batch<CartPole>),
    /// A mean-reverting price.
    OrnsteinUhlenbeck(Batch<OrnsteinUhlenbeck>),
    /// A probe.
    Probe(Batch<Probe>),
}

macro_rules! for_any {
    ($kind:ident, $any:expr, $inner:ident => $body:expr) => {
        match $any {
            $kind::Portfolio($inner) => $body,
            $kind::StockTradingEnv2($inner) => $body,
            $kind::CartPole($inner) => $body,
            $kind::OrnsteinUhlenbeck($inner) => $body,
            $kind::Probe($inner) => $body,
        }
    };
}

impl AnyEnvironment {
    /// The environment with a known answer that `text` names: `cartpole`, `ou:rho=0.95,cost=0.1`, `probe:1`.
    pub fn parse_known(text: &str) -> Result<Self, EnvError> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let unknown = || EnvError::UnknownEnvironment(text.to_owned());
        match name {
            "cartpole" if parameters.is_empty() => Ok(Self::CartPole(CartPole)),
            "ou" => Ok(Self::OrnsteinUhlenbeck(OrnsteinUhlenbeck::parse(parameters)?)),
            "probe" => Ok(Self::Probe(Probe::new(parameters.parse().map_err(|_| unknown())?)?)),
            _ => Err(unknown()),
        }
    }

    /// Its name on the command line.
    pub fn name(&self) -> String {
        for_any!(Self, self, environment => environment.name())
    }

    /// The name of each number of an observation.
    pub fn observation_names(&self) -> Vec<String> {
        for_any!(Self, self, environment => environment.observation_names())
    }

    /// How many numbers an observation has.
    pub fn observation_len(&self) -> usize {
        for_any!(Self, self, environment => environment.observation_len())
    }

    /// What an action may be.
    pub fn action_space(&self) -> ActionSpace {
        for_any!(Self, self, environment => environment.action_space())
    }

    /// `n_envs` of it, at the start of their episode 0.
    pub fn batch(self, n_envs: usize, seed: u64, autoreset: Autoreset) -> AnyBatch {
        match self {
            Self::Portfolio(environment) => {
                AnyBatch::Portfolio(Box::new(Batch::new(*environment, n_envs, seed, autoreset)))
            }
            Self::StockTradingEnv2(environment) => {
                AnyBatch::StockTradingEnv2(Box::new(Batch::new(*environment, n_envs, seed, autoreset)))
            }
            Self::CartPole(environment) => {
                AnyBatch::CartPole(Batch::new(environment, n_envs, seed, autoreset))
            }
            Self::OrnsteinUhlenbeck(environment) => {
                AnyBatch::OrnsteinUhlenbeck(Batch::new(environment, n_envs, seed, autoreset))
            }
            Self::Probe(environment) => AnyBatch::Probe(Batch::new(environment, n_envs, seed, autoreset)),
        }
    }
}

impl AnyBatch {
    /// How many environments there are.
    pub fn n_envs(&self) -> usize {
        for_any!(Self, self, batch => batch.n_envs())
    }

    /// See [`Batch::reset`].
    pub fn reset(&mut self, mask: &[u8], observations: &mut [f32]) {
        for_any!(Self, self, batch => batch.reset(mask, observations));
    }

    /// See [`Batch::spread_by`].
    pub fn spread_by(&mut self, host: Host) {
        for_any!(Self, self, batch => batch.spread_by(host));
    }

    /// See [`Batch::was_spread`].
    pub fn was_spread(&self) -> bool {
        for_any!(Self, self, batch => batch.was_spread())
    }

    /// See [`Batch::action_space`].
    pub fn action_space(&self) -> &ActionSpace {
        for_any!(Self, self, batch => batch.action_space())
    }

    /// See [`Batch::observe`].
    pub fn observe(&self, observations: &mut [f32]) {
        for_any!(Self, self, batch => batch.observe(observations));
    }

    /// See [`Batch::reset_some`].
    pub fn reset_some(&mut self, envs: &[u32], observations: &mut [f32]) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.reset_some(envs, observations))
    }

    /// See [`Batch::observe_some`].
    pub fn observe_some(&self, envs: &[u32], observations: &mut [f32]) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.observe_some(envs, observations))
    }

    /// See [`Batch::snapshot`].
    pub fn snapshot(&self) -> Vec<u8> {
        for_any!(Self, self, batch => batch.snapshot())
    }

    /// See [`Batch::restore`].
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), EnvError> {
        for_any!(Self, self, batch => batch.restore(snapshot))
    }

    /// See [`Batch::check`].
    pub fn check(&self, actions: Actions<'_>) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.check(actions))
    }

    /// See [`Batch::step`].
    pub fn step(&mut self, actions: Actions<'_>, outputs: Outputs<'_>) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.step(actions, outputs))
    }

    /// See [`Batch::check_some`].
    pub fn check_some(&self, envs: &[u32], actions: Actions<'_>) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.check_some(envs, actions))
    }

    /// See [`Batch::step_some`].
    pub fn step_some(
        &mut self,
        envs: &[u32],
        actions: Actions<'_>,
        outputs: Outputs<'_>,
    ) -> Result<(), ActionError> {
        for_any!(Self, self, batch => batch.step_some(envs, actions, outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_environments_are_found_by_their_own_names() {
        for name in ["cartpole", "ou:rho=0.9,cost=0.2,length=50", "probe:1", "probe:5"] {
            assert_eq!(AnyEnvironment::parse_known(name).unwrap().name(), name);
        }
        for name in ["", "pong", "cartpole:2", "probe", "probe:6", "ou:rho=2"] {
            assert!(AnyEnvironment::parse_known(name).is_err(), "{name}");
        }
    }
}
