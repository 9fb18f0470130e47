//! New episodes: in a whole batch, or in the environments that a request names.

use wire::message::{ErrorCode, Refusal};
use wire::server::env_ids;

use super::{Session, is_mask};

impl Session {
    /// New episodes where the mask in `body` is 1; in all environments if it is empty. With partial batches the
    /// environments that the request is about stand before it.
    pub fn reset(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        if self.open.is_partial() {
            return self.reset_some(slot, body);
        }
        let n_envs = self.batch.n_envs();
        if !body.is_empty() && (body.len() != n_envs || !is_mask(body)) {
            let text = format!(
                "a reset mask of {} bytes for {n_envs} environments (send one byte each, 0 or 1, or none)",
                body.len()
            );
            return Err(Refusal { code: ErrorCode::BadFrame, text });
        }
        self.was_reset.fill(true);
        self.last = slot;
        self.slabs[slot].clear_finished();
        let slab = self.slabs[slot].split_mut();
        self.batch.reset(body, slab.obs);
        slab.reward.fill(0.0);
        slab.trace.fill(0.0);
        for env in (0..n_envs).filter(|&env| body.get(env).is_none_or(|&byte| byte == 1)) {
            slab.terminated[env] = 0;
            slab.truncated[env] = 0;
        }
        Ok(())
    }

    fn reset_some(&mut self, slot: usize, body: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadFrame, text };
        let n_rows = self.open.n_rows() as usize;
        let split = body.split_at_checked(4 * n_rows).and_then(|(ids, mask)| Some((env_ids(ids)?, mask)));
        let (ids, mask) = split
            .filter(|(_, mask)| mask.is_empty() || (mask.len() == n_rows && is_mask(mask)))
            .ok_or_else(|| {
                refuse(format!(
                    "{} bytes to reset {n_rows} environments (send the number of each, 4 bytes, then nothing or a byte each, 0 or 1)",
                    body.len()
                ))
            })?;
        let is_asked = |row: usize| mask.get(row).is_none_or(|&byte| byte == 1);
        let slab = self.slabs[slot].split_mut();
        // A list that is wrong is found here, before anything changes.
        self.batch.observe_some(ids, slab.obs).map_err(|error| refuse(error.to_string()))?;
        let asked: Vec<u32> = (0..n_rows).filter(|&row| is_asked(row)).map(|row| ids[row]).collect();
        let n_values = asked.len() * self.opened.obs_len as usize;
        self.batch
            .reset_some(&asked, &mut slab.obs[..n_values])
            .map_err(|error| refuse(error.to_string()))?;
        if asked.len() < n_rows {
            self.batch.observe_some(ids, slab.obs).map_err(|error| refuse(error.to_string()))?;
        }
        for (row, &env) in ids.iter().enumerate() {
            let ends = &mut self.ends[2 * env as usize..][..2];
            if is_asked(row) {
                self.was_reset[env as usize] = true;
                ends.fill(0);
            }
            (slab.terminated[row], slab.truncated[row]) = (ends[0], ends[1]);
        }
        slab.reward.fill(0.0);
        slab.trace.fill(0.0);
        slab.env_id.copy_from_slice(ids);
        self.slabs[slot].clear_finished();
        self.last = slot;
        Ok(())
    }
}
