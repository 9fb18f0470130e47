//! What a step brought, as a slab has it.

use trading_env::{EpisodeStatistics, TraceRow};
use wire::slab::TRACE_COLUMNS;
use wire::{Finished, Slab};

/// The records of the episodes that ended. `env_at` names the environment of each row.
pub fn write_finished(
    slab: &mut Slab,
    finished: &[u8],
    statistics: &[EpisodeStatistics],
    final_observations: &[f32],
    env_at: impl Fn(usize) -> u32,
) {
    slab.clear_finished();
    let obs_len = slab.layout().obs_len();
    for row in (0..finished.len()).filter(|&row| finished[row] == 1) {
        let statistics = &statistics[row];
        let account = &statistics.account;
        let record = Finished {
            env: env_at(row),
            length: statistics.length,
            episode_return: statistics.return_sum,
            final_equity: account.final_equity,
            turnover: account.turnover,
            max_drawdown: account.max_drawdown,
            trades: account.n_trades.into(),
        };
        let final_observation = &final_observations[row * obs_len..][..obs_len];
        slab.push_finished(record, &account.costs.to_array(), final_observation);
    }
}

/// Rows to the columns of [`TRACE_COLUMNS`], then the costs of each environment.
pub fn write_trace(rows: &[TraceRow], out: &mut [f64]) {
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
