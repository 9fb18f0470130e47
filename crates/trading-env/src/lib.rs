//! What happens in one step: rules, account, costs, reward; and many environments at once over rayon.
//! Nothing here touches a file, a socket or a clock.
//!
//! # Layout
//! - [`environment`]: the trait that every environment fulfils, and what it tells.
//! - [`batch`]: many states of one environment, stepped together; [`any`]: the same for any environment.
//! - [`snapshot`]: a batch as bytes, and back.
//! - [`portfolio`]: trading one symbol's bars with target positions; the environment that users come for.
//! - [`stock_trading_env2`]: trading as a Python environment of that name does.
//! - [`account`], [`costs`], [`rates`]: cash, shares, fills, and what they cost; [`reward`]: what a step pays.
//! - [`market_data`], [`rows`], [`scaler`], [`episodes`]: the table it plays on, how it lies in memory, how
//!   features are scaled, and which rows an episode may touch.
//! - [`logarithm`], [`prefetch`]: what makes steps fast, the bits unchanged.
//! - [`cartpole`], [`ou`], [`probe`]: environments with known answers, which learners are tested on.
pub mod account;
pub mod any;
pub mod batch;
pub mod cartpole;
pub mod costs;
pub mod environment;
pub mod episodes;
pub mod error;
mod large_pages;
mod logarithm;
pub mod market_data;
pub mod ou;
pub mod portfolio;
mod prefetch;
pub mod probe;
pub mod rates;
pub mod reward;
pub mod rows;
pub mod scaler;
pub mod snapshot;
pub mod stock_trading_env2;
#[doc(hidden)]
pub mod testing;

pub use any::{AnyBatch, AnyEnvironment};
pub use batch::{Actions, Autoreset, Batch, Host, Outputs};
pub use costs::{CostModel, Costs};
pub use environment::{
    AccountSummary, Action, ActionSpace, Block, BlockOutputs, Environment, EpisodeKey, EpisodeStatistics,
    Fill, TraceRow, Transition,
};
pub use episodes::{EpisodeLength, EpisodeRules, SessionRange, Split, Start};
pub use error::{ActionError, EnvError};
pub use market_data::MarketData;
pub use portfolio::{FillAt, Portfolio, PortfolioRules, Targets};
pub use rates::{Holding, RateCard};
pub use reward::Reward;
pub use scaler::Scaler;
pub use stock_trading_env2::{StockTradingEnv2, StockTradingEnv2Rules};
