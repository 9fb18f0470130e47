//! Bytes that came from elsewhere become a slab, or are refused: nothing in them is taken on trust.

use super::Slab;

impl Slab {
    /// Takes over the bytes of another slab of this layout, as [`Slab::bytes`] gave them.
    ///
    /// # Errors
    /// If they are none; no episode counts as finished then.
    pub fn take_over(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > self.layout.max_bytes() {
            return Err(format!("a slab of {} bytes", bytes.len()));
        }
        self.body_mut(bytes.len()).copy_from_slice(bytes);
        self.check(bytes.len())
    }

    /// Takes over the bytes of another slab of this layout, as [`Slab::bytes_after_observations`] gave them, for a
    /// server; the observations stay as they are.
    ///
    /// # Errors
    /// If they are none; no episode counts as finished then.
    pub fn take_over_after_observations(&mut self, bytes: &[u8]) -> Result<(), String> {
        let start = self.layout.reward;
        if bytes.len() > self.layout.max_bytes() - start {
            return Err(format!("a slab of {} bytes beside its observations", bytes.len()));
        }
        self.body_mut(start + bytes.len())[start..].copy_from_slice(bytes);
        self.check(start + bytes.len())
    }

    /// The buffer for the first `bytes` bytes, for a frame's body to be read into. Call [`Slab::check`] after.
    pub(crate) fn body_mut(&mut self, bytes: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..bytes]
    }

    /// Checks what was read against the layout, so that no accessor can leave the buffer.
    pub(crate) fn check(&mut self, received: usize) -> Result<(), String> {
        let fault = self.fault(received);
        if fault.is_some() {
            self.clear_finished();
        }
        fault.map_or(Ok(()), Err)
    }

    fn fault(&self, received: usize) -> Option<String> {
        let layout = &self.layout;
        if received < layout.records {
            return Some(format!("a slab of {received} bytes, where {} are the least", layout.records));
        }
        let count = self.words[self.count_at()];
        let expected = count
            .checked_mul(layout.record_bytes as u64)
            .and_then(|bytes| bytes.checked_add(layout.records as u64));
        if count > layout.n_envs as u64 || expected != Some(received as u64) {
            return Some(format!("a slab of {received} bytes with {count} finished episodes"));
        }
        let ids = self.env_id();
        if ids.windows(2).any(|pair| pair[0] >= pair[1])
            || ids.last().is_some_and(|&last| last as usize >= layout.n_session_envs)
        {
            return Some("a slab of environments that are not open, or not in order".into());
        }
        let is_there = |env: u32| match ids {
            [] => (env as usize) < layout.n_envs,
            _ => ids.binary_search(&env).is_ok(),
        };
        let stray = self.finished().find(|(record, ..)| !is_there(record.env))?;
        Some(format!("a finished episode of environment {}, which is not among them", stray.0.env))
    }
}
