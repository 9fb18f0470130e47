//! What each core did over a whole run, in bounded memory.

/// What each core did over time, in a bounded number of columns: when they are full, neighbours are merged.
#[derive(Debug, Clone)]
pub struct History {
    /// The end of each column in seconds since the start, and each core's busy share.
    pub columns: Vec<(f64, Vec<f64>)>,
    pending: Vec<(f64, Vec<f64>)>,
    samples_per_column: usize,
}

const MOST_COLUMNS: usize = 1024;

impl Default for History {
    fn default() -> Self {
        Self { columns: Vec::new(), pending: Vec::new(), samples_per_column: 1 }
    }
}

impl History {
    /// Adds what each core did up to `t_s`.
    pub fn push(&mut self, t_s: f64, busy: Vec<f64>) {
        self.pending.push((t_s, busy));
        if self.pending.len() < self.samples_per_column {
            return;
        }
        self.columns.push(mean(&self.pending));
        self.pending.clear();
        if self.columns.len() == MOST_COLUMNS {
            self.columns = self.columns.chunks(2).map(mean).collect();
            self.samples_per_column *= 2;
        }
    }
}

fn mean(columns: &[(f64, Vec<f64>)]) -> (f64, Vec<f64>) {
    let cores = columns.iter().map(|column| column.1.len()).max().unwrap_or(0);
    let of_core = |core: usize| columns.iter().filter_map(|column| column.1.get(core)).sum::<f64>();
    let end = columns.last().map_or(0.0, |column| column.0);
    (end, (0..cores).map(|core| of_core(core) / columns.len() as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_stays_short_and_keeps_its_mean() {
        let mut history = History::default();
        for step in 0..10_240_u32 {
            history.push(f64::from(step), vec![f64::from(step % 2), 1.0]);
        }
        assert!(history.columns.len() < MOST_COLUMNS);
        assert_eq!(history.samples_per_column, 16);
        assert!(history.columns.iter().all(|column| column.1 == [0.5, 1.0]));
        assert_eq!(history.columns.last().unwrap().0, 10_239.0);
    }
}
