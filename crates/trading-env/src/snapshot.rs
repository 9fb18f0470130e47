//! All environments of a batch as bytes, and back, so that a run can be taken up where it was left.
//!
//! A snapshot says what it was taken of (environment, rules, data, seed, number of environments, autoreset
//! mode); one of anything else is refused by name. What an episode drew at its start follows from its key and
//! is not stored, so that no snapshot, however it was made, can place an episode on rows that its session may
//! not see. Everything is little-endian; a check sum ends it.

use crate::EnvError;

const MAGIC: [u8; 8] = *b"ENVSNAP\n";
/// Counts up with every change of what is written.
const VERSION: u32 = 1;
const CHECK_SUM_BYTES: usize = 4;

/// Appends numbers to a snapshot.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Takes numbers off a snapshot; every one of them is `None` where the bytes end too early.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

/// How far an episode has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps played.
    pub length: u32,
    /// Whether it has ended and waits for its reset.
    pub has_ended: bool,
}

impl Writer {
    /// A snapshot with its head.
    pub(crate) fn new() -> Self {
        let mut writer = Self { bytes: MAGIC.to_vec() };
        writer.u32(VERSION);
        writer
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn f64(&mut self, value: f64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Eight bytes each.
    pub fn f64s(&mut self, values: &[f64]) {
        for &value in values {
            self.f64(value);
        }
    }

    /// Length and UTF-8.
    pub fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
    }

    /// The finished snapshot.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.u32(crc32c::crc32c(&self.bytes));
        self.bytes
    }
}

impl<'a> Reader<'a> {
    /// A snapshot behind its head, if it is one at all.
    pub(crate) fn new(snapshot: &'a [u8]) -> Result<Self, EnvError> {
        let wrong = |text: String| Err(EnvError::Snapshot(text));
        if !snapshot.starts_with(&MAGIC) {
            return wrong("these bytes are no snapshot of environments".into());
        }
        let Some((body, check_sum)) = snapshot[MAGIC.len()..].split_last_chunk::<CHECK_SUM_BYTES>() else {
            return wrong("the snapshot is cut short".into());
        };
        let mut reader = Self { bytes: body };
        match reader.u32() {
            Some(VERSION) => {}
            Some(version) => {
                return wrong(format!(
                    "the snapshot is of version {version}, and this program reads {VERSION}"
                ));
            }
            None => return wrong("the snapshot is cut short".into()),
        }
        let whole = &snapshot[..snapshot.len() - CHECK_SUM_BYTES];
        if crc32c::crc32c(whole) != u32::from_le_bytes(*check_sum) {
            return wrong("the snapshot is damaged or cut short: its check sum differs".into());
        }
        Ok(reader)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, of a finite number.
    pub fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes).filter(|value| value.is_finite())
    }

    /// `N` finite numbers.
    pub fn f64s<const N: usize>(&mut self) -> Option<[f64; N]> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = self.f64()?;
        }
        Some(values)
    }

    /// Length and UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*array)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::CHECK_SUM_BYTES;
    use crate::stock_trading_env2::Prices;
    use crate::testing::{random_walk_table, varied_play, varied_rollout};
    use crate::{
        Autoreset, Batch, Environment, EpisodeLength, EpisodeRules, MarketData, Portfolio, PortfolioRules,
        Reward, Scaler, SessionRange, Start, StockTradingEnv2, StockTradingEnv2Rules, Targets,
        cartpole::CartPole, ou::OrnsteinUhlenbeck, probe::Probe,
    };

    const N_ENVS: usize = 5;
    const MODES: [Autoreset; 3] = [Autoreset::SameStep, Autoreset::NextStep, Autoreset::Disabled];

    fn data(seed: u64) -> (Arc<MarketData>, Arc<Prices>) {
        let table = random_walk_table(2, 6, 8, 3, seed);
        let range = SessionRange { first: 0, last: 5 };
        let data = MarketData::new(&table, Scaler::fit(&table, range));
        (Arc::new(data), Arc::new(Prices::new(&table, "close").unwrap()))
    }

    fn portfolio(rules: PortfolioRules, length: EpisodeLength, seed: u64) -> Portfolio {
        let range = SessionRange { first: 0, last: 5 };
        let episodes = EpisodeRules { range, start: Start::Random, length, liquidate_at_end: true };
        Portfolio::new(data(seed).0, rules, episodes).unwrap()
    }

    fn nse() -> PortfolioRules {
        PortfolioRules::nse(true).unwrap()
    }

    fn stock_trading_env2(seed: u64) -> StockTradingEnv2 {
        let (data, prices) = data(seed);
        let rules = StockTradingEnv2Rules { episode_limit: 30, cost_rate: 0.001, ..Default::default() };
        StockTradingEnv2::new(data, prices, rules, SessionRange { first: 1, last: 5 }, true).unwrap()
    }

    /// Goes on from a snapshot in another batch, and from where the first stands: both must give equal bits.
    fn check<E: Environment + Clone>(environment: &E, autoreset: Autoreset, n_before: usize) {
        let new = || Batch::new(environment.clone(), N_ENVS, 11, autoreset);
        let mut first = new();
        varied_rollout(&mut first, n_before);
        let snapshot = first.snapshot();
        let mut second = new();
        second.restore(&snapshot).unwrap();
        let seen = |batch: &Batch<E>| {
            let mut observations = vec![0.0; N_ENVS * environment.observation_len()];
            batch.observe(&mut observations);
            observations
        };
        assert_eq!(seen(&first), seen(&second), "{}", environment.name());
        assert_eq!(second.snapshot(), snapshot, "{}", environment.name());
        let rest = varied_play(&mut first, 40);
        assert_eq!(rest, varied_play(&mut second, 40), "{} {autoreset:?}", environment.name());
        // The next resets draw the same episodes too.
        assert_eq!(varied_rollout(&mut first, 20), varied_rollout(&mut second, 20));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn after_a_restore_everything_goes_on_with_the_same_bits(n_before in 0_usize..60, seed in 0_u64..100) {
            let sharpe = PortfolioRules { reward: Reward::DifferentialSharpe { rate: 0.01 }, ..nse() };
            let position = PortfolioRules { targets: Targets::Position, leverage: 2.0, ..nse() };
            let direction = PortfolioRules { targets: Targets::DirectionSize, ..PortfolioRules::default() };
            for autoreset in MODES {
                check(&CartPole, autoreset, n_before);
                check(&OrnsteinUhlenbeck { length: 17, ..OrnsteinUhlenbeck::default() }, autoreset, n_before);
                for number in 1..=5 {
                    check(&Probe::new(number).unwrap(), autoreset, n_before);
                }
                for length in [EpisodeLength::Bars(13), EpisodeLength::Session, EpisodeLength::Full] {
                    check(&portfolio(nse(), length, seed), autoreset, n_before);
                }
                for rules in [&sharpe, &position, &direction] {
                    check(&portfolio(rules.clone(), EpisodeLength::Bars(13), seed), autoreset, n_before);
                }
                check(&stock_trading_env2(seed), autoreset, n_before);
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_can_be_stepped(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            has_check_sum: bool,
        ) {
            fuzz(
                &Batch::new(stock_trading_env2(1), N_ENVS, 1, Autoreset::Disabled),
                &noise,
                &flips,
                has_check_sum,
            );
            fuzz(&Batch::new(portfolio(nse(), EpisodeLength::Bars(13), 1), N_ENVS, 1, Autoreset::Disabled), &noise, &flips, has_check_sum);
            fuzz(&Batch::new(OrnsteinUhlenbeck::default(), N_ENVS, 1, Autoreset::NextStep), &noise, &flips, has_check_sum);
            fuzz(&Batch::new(CartPole, N_ENVS, 1, Autoreset::SameStep), &noise, &flips, has_check_sum);
            fuzz(&Batch::new(Probe::Delayed, N_ENVS, 1, Autoreset::SameStep), &noise, &flips, has_check_sum);
        }
    }

    fn fuzz<E: Environment + Clone>(
        fresh: &Batch<E>,
        noise: &[u8],
        flips: &[(prop::sample::Index, u8)],
        has_check_sum: bool,
    ) {
        let new = || Batch::new(fresh.environment().clone(), N_ENVS, fresh.seed(), fresh.autoreset());
        let mut played = new();
        varied_rollout(&mut played, 9);
        let mut flipped = played.snapshot();
        for (at, byte) in flips {
            let at = at.index(flipped.len());
            flipped[at] ^= byte;
        }
        // Half of the time the damage is made to look whole, so that it is the contents that must be checked.
        let seal = |bytes: Vec<u8>| {
            let body = &bytes[..bytes.len().saturating_sub(CHECK_SUM_BYTES)];
            [body, &crc32c::crc32c(body).to_le_bytes()].concat()
        };
        let headed = [&b"ENVSNAP\n\x01\0\0\0"[..], noise].concat();
        for bytes in [noise.to_vec(), headed, flipped] {
            let bytes = if has_check_sum { seal(bytes) } else { bytes };
            let mut batch = new();
            let before = batch.snapshot();
            if batch.restore(&bytes).is_err() {
                assert_eq!(batch.snapshot(), before, "a refused snapshot changed something");
            }
            varied_play(&mut batch, 30);
        }
    }

    #[test]
    fn a_snapshot_of_something_else_is_refused_by_name() {
        let new = |n_envs, seed, autoreset| Batch::new(OrnsteinUhlenbeck::default(), n_envs, seed, autoreset);
        let snapshot = new(3, 1, Autoreset::SameStep).snapshot();
        let check = |error: Result<(), crate::EnvError>, named: &str| {
            let text = error.unwrap_err().to_string();
            assert!(text.contains(named), "{text}");
        };
        check(
            new(4, 1, Autoreset::SameStep).restore(&snapshot),
            "environments 3, where this session has environments 4",
        );
        check(new(3, 2, Autoreset::SameStep).restore(&snapshot), "seed 1");
        check(new(3, 1, Autoreset::Disabled).restore(&snapshot), "autoreset SameStep");
        check(Batch::new(CartPole, 3, 1, Autoreset::SameStep).restore(&snapshot), "environment ou:");
        let dear = OrnsteinUhlenbeck { cost: 0.5, ..OrnsteinUhlenbeck::default() };
        check(Batch::new(dear, 3, 1, Autoreset::SameStep).restore(&snapshot), "cost=0.1");
        let mut newer = snapshot.clone();
        newer[8] = 9;
        check(new(3, 1, Autoreset::SameStep).restore(&newer), "version 9");
        check(new(3, 1, Autoreset::SameStep).restore(&snapshot[..snapshot.len() - 1]), "cut short");
        check(new(3, 1, Autoreset::SameStep).restore(b"PAR1"), "no snapshot");
        let traded =
            |seed| Batch::new(portfolio(nse(), EpisodeLength::Full, seed), 3, 1, Autoreset::SameStep);
        check(traded(2).restore(&traded(1).snapshot()), "with data");
    }
}
