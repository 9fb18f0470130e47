//! The nine parts of the reward and how they are put together.

use super::recent::{Recent, mean};
use crate::snapshot::{Reader, Writer};

/// Beyond this an action counts as one.
const ACTS: f64 = 0.3;
/// Price changes below this count as none.
const SMALL_CHANGE: f64 = 0.002;
/// The largest reward of a step.
const LARGEST_REWARD: f64 = 0.1;

/// What later rewards need of the steps before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory {
    /// Returns of the last days.
    pub daily_returns: Recent<5>,
    /// Sizes of the last actions; what the list starts with has signs.
    pub actions: Recent<20>,
    /// Returns of the last steps.
    pub step_returns: Recent<20>,
    /// For how many steps the position has gone with the trend.
    pub n_held: u32,
}

/// What one step's reward is made of. Returns are fractions of the capital.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// a.
    pub direction: f64,
    /// v: the price against the row before.
    pub change: f64,
    /// u: the price against ten rows before.
    pub trend: f64,
    /// Net worth gained since the reset.
    pub profit: f64,
    /// Net worth gained in this step.
    pub step: f64,
    /// The value of the shares held, negative when short.
    pub position_value: f64,
    /// K.
    pub capital: f64,
    /// What the new day paid, or 0.
    pub liquidation: f64,
}

/// What the first step of a day pays for the day before; `fee` is negative or 0.
pub fn of_day(memory: &mut Memory, day_return: f64, fee: f64) -> f64 {
    memory.daily_returns.push(day_return);
    let of_return = day_return * if day_return > 0.0 { 500.0 } else { 200.0 };
    let returns = memory.daily_returns.as_slice();
    let of_steadiness = if returns.len() >= 3 { 25.0 * mean(returns) } else { 0.0 };
    of_return + 100.0 * fee + of_steadiness
}

impl Parts {
    /// The step's reward.
    pub fn reward(&self, memory: &mut Memory) -> f64 {
        let not_positive = |value: f64| if value >= 0.0 { 0.0 } else { value };
        let risk = -f64::max(0.0, 10.0 * (self.position_value.abs() / self.capital - 2.0));
        let total = 0.30 * squash(100.0 * self.profit, 0.2)
            + 0.10 * squash(1000.0 * self.step, 0.1)
            + 0.10 * squash(self.of_action(), 0.1)
            + 0.05 * squash(self.of_position(memory), 0.15)
            + 0.05 * squash(not_positive(risk), 0.05)
            + 0.05 * squash(not_positive(of_activity(&memory.actions)), 0.15)
            + 0.25 * squash(of_sharpe(memory, self.step), 0.15)
            + 0.05 * squash(of_balance(&memory.actions), 0.05)
            + 0.05 * squash(self.liquidation, 0.05);
        (0.1 * total).clamp(-LARGEST_REWARD, LARGEST_REWARD)
    }

    fn of_action(&self) -> f64 {
        let with = |change: f64, trend: f64| match (change > 0.0, trend > SMALL_CHANGE) {
            (true, _) => 5.0,
            (false, true) => 3.0,
            (false, false) => -1.0,
        };
        if self.direction > ACTS {
            with(self.change, self.trend)
        } else if self.direction < -ACTS {
            with(-self.change, -self.trend)
        } else if self.change.abs() < SMALL_CHANGE {
            2.0
        } else {
            0.0
        }
    }

    fn of_position(&self, memory: &mut Memory) -> f64 {
        let value = self.position_value;
        let goes_with_trend =
            (value < 0.0 && self.trend < -SMALL_CHANGE) || (value > 0.0 && self.trend > SMALL_CHANGE);
        if !goes_with_trend {
            memory.n_held = 0;
            return 0.0;
        }
        memory.n_held += 1;
        15.0 * value.abs() * self.trend.abs() + if memory.n_held > 5 { 1.0 } else { 0.0 }
    }
}

fn of_activity(actions: &Recent<20>) -> f64 {
    let last = actions.last(10);
    let mean_size = last.iter().map(|action| action.abs()).sum::<f64>() / last.len() as f64;
    let of_mean = if mean_size > 0.25 { -60.0 * (mean_size - 0.25) } else { 0.0 };
    let in_a_row = actions.last(5).iter().rev().take_while(|action| action.abs() > ACTS).count();
    of_mean - if in_a_row >= 2 { 10.0 * in_a_row as f64 } else { 0.0 }
}

fn of_sharpe(memory: &mut Memory, step_return: f64) -> f64 {
    memory.step_returns.push(step_return);
    let returns = memory.step_returns.as_slice();
    if returns.len() < 10 {
        return 0.0;
    }
    let mean = mean(returns);
    let variance =
        returns.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / returns.len() as f64;
    10.0 * mean / (variance.sqrt() + 1e-8)
}

fn of_balance(actions: &Recent<20>) -> f64 {
    let actions = actions.as_slice();
    if actions.len() < 20 {
        return 0.0;
    }
    let kinds = [
        actions.iter().any(|&action| action > ACTS),
        actions.iter().any(|&action| action < -ACTS),
        actions.iter().any(|&action| action.abs() <= ACTS),
    ];
    1.5 * (kinds.into_iter().filter(|&holds| holds).count() as f64 - 1.0)
}

fn squash(value: f64, scale: f64) -> f64 {
    if value.abs() <= 1e-8 { 0.0 } else { libm::tanh(scale * value) }
}

impl Memory {
    /// Writes all of it.
    pub fn save(&self, out: &mut Writer) {
        self.daily_returns.save(out);
        self.actions.save(out);
        self.step_returns.save(out);
        out.u32(self.n_held);
    }

    /// What [`Memory::save`] wrote.
    pub fn load(input: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            daily_returns: Recent::load(input)?,
            actions: Recent::load(input)?,
            step_returns: Recent::load(input)?,
            // Counted up from here.
            n_held: input.u32().filter(|&n| n < u32::MAX / 2)?,
        })
    }
}
