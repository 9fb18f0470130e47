//! Lists that keep their last entries, oldest first, without allocating.

use crate::snapshot::{Reader, Writer};

/// At most the last `N` numbers pushed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recent<const N: usize> {
    values: [f64; N],
    len: usize,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { values: [0.0; N], len: 0 }
    }
}

impl<const N: usize> Recent<N> {
    /// Appends `value`; the oldest goes if there are `N`.
    pub fn push(&mut self, value: f64) {
        if self.len == N {
            self.values.copy_within(1.., 0);
            self.len -= 1;
        }
        self.values[self.len] = value;
        self.len += 1;
    }

    /// What is kept, oldest first.
    pub fn as_slice(&self) -> &[f64] {
        &self.values[..self.len]
    }

    /// The last `count`, oldest first; all, if there are fewer.
    pub fn last(&self, count: usize) -> &[f64] {
        &self.values[self.len.saturating_sub(count)..self.len]
    }

    /// Writes all of it.
    pub fn save(&self, out: &mut Writer) {
        out.u8(self.len as u8);
        out.f64s(&self.values);
    }

    /// What [`Recent::save`] wrote.
    pub fn load(input: &mut Reader<'_>) -> Option<Self> {
        let len = input.u8()? as usize;
        let values = input.f64s()?;
        (len <= N).then_some(Self { values, len })
    }
}

/// The mean; of nothing, 0.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
