use std::sync::Arc;

use super::*;
use crate::message::{Open, Opened};
use crate::shared::mapping::{Mapping, OwnWords};

fn opened(trace: bool) -> Opened {
    Opened { n_envs: 3, obs_len: 5, n_cost_kinds: 2, trace }
}

fn filled(trace: bool) -> Slab {
    let mut slab = Slab::new(SlabLayout::new(&opened(trace)));
    let parts = slab.split_mut();
    parts.obs.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
    parts.reward.copy_from_slice(&[0.5, -0.5, 0.25]);
    parts.terminated.copy_from_slice(&[0, 1, 0]);
    parts.truncated.copy_from_slice(&[0, 1, 1]);
    parts.trace.iter_mut().enumerate().for_each(|(i, x)| *x = i as f64);
    slab.clear_finished();
    for env in [1, 2] {
        let record = Finished { env, length: 9, trades: 4, ..Finished::default() };
        slab.push_finished(record, &[1.0, 2.0], &[env as f32; 5]);
    }
    slab
}

#[test]
fn what_one_side_writes_the_other_reads() {
    for trace in [false, true] {
        let sent = filled(trace);
        let mut received = Slab::new(sent.layout().clone());
        let bytes = sent.bytes().to_vec();
        received.body_mut(bytes.len()).copy_from_slice(&bytes);
        received.check(bytes.len()).unwrap();
        assert_eq!(received.observations().to_vec(), sent.observations().to_vec());
        assert_eq!(received.reward(), [0.5, -0.5, 0.25]);
        assert_eq!(received.terminated(), [0, 1, 0]);
        assert_eq!(received.truncated(), [0, 1, 1]);
        let finished: Vec<_> = received.finished().map(|(r, c, o)| (r.env, c.to_vec(), o.to_vec())).collect();
        assert_eq!(finished, [(1, vec![1.0, 2.0], vec![1.0; 5]), (2, vec![1.0, 2.0], vec![2.0; 5])]);
        let trace_len = if trace { 3 } else { 0 };
        assert_eq!(received.trace_column(8).len(), trace_len);
        if trace {
            assert_eq!(received.trace_column(1), [3.0, 4.0, 5.0]);
            assert_eq!(received.trace_costs(2), [31.0, 32.0]);
        }
    }
}

#[test]
fn what_the_server_writes_into_shared_memory_is_read_there_between_its_turns() {
    for trace in [false, true] {
        let mut sent = filled(trace);
        let file = tempfile::tempfile().unwrap();
        let total = sent.layout().total_bytes();
        file.set_len(total as u64).unwrap();
        // SAFETY: nobody else writes this file.
        sent.share(SharedWords(unsafe { OwnWords::new(Mapping::read_write(&file, total).unwrap()) }));
        let memory = Arc::new(Mapping::read_only(&file, total).unwrap());
        let mut received = Slab::of_server(sent.layout().clone(), memory, 0);
        assert!(received.observations().is_empty(), "nothing has come yet");
        received.receive().unwrap();
        assert_eq!(received.bytes(), sent.bytes());
        assert_eq!(received.reward(), sent.reward());
        assert_eq!(received.trace_column(1), sent.trace_column(1));
        assert_eq!(received.finished().count(), 2);
        received.hand_over();
        sent.split_mut().obs.fill(9.0);
        sent.split_mut().reward.fill(7.0);
        assert!(received.observations().is_empty(), "it is the server's turn");
        assert_eq!(received.reward(), [0.5, -0.5, 0.25], "what was copied stays");
        received.take_back();
        assert_eq!(received.observations().len(), 15, "it was refused");
        received.hand_over();
        received.receive().unwrap();
        assert_eq!(received.observations().to_vec(), [9.0; 15]);
        assert_eq!(received.reward(), [7.0; 3]);
        let count_at = sent.count_at();
        sent.words[count_at] = 4;
        assert!(received.receive().unwrap_err().contains("4 finished"));
        assert_eq!(received.n_finished(), 0);
    }
}

#[test]
fn a_partial_slab_names_its_environments() {
    let open = Open { batch: 3, ..Open::training(9, 1) };
    let layout = SlabLayout::of(&open, &Opened { n_envs: 9, ..opened(true) });
    let with = |ids: [u32; 3], finished: u32| {
        let mut slab = Slab::new(layout.clone());
        let parts = slab.split_mut();
        parts.obs.fill(1.0);
        parts.trace.fill(2.0);
        parts.truncated.fill(1);
        parts.env_id.copy_from_slice(&ids);
        slab.push_finished(Finished { env: finished, ..Finished::default() }, &[1.0, 2.0], &[3.0; 5]);
        assert_eq!(
            (slab.env_id(), slab.truncated(), slab.trace_costs(2)),
            (&ids[..], &[1; 3][..], &[2.0; 2][..])
        );
        slab.check(slab.bytes().len())
    };
    assert_eq!(with([0, 4, 8], 4), Ok(()));
    for (ids, finished) in [([0, 4, 8], 5), ([0, 4, 9], 4), ([0, 4, 4], 4), ([4, 0, 8], 4)] {
        assert!(with(ids, finished).is_err(), "{ids:?} {finished}");
    }
}

#[test]
fn a_slab_that_lies_about_itself_is_refused() {
    let good = filled(false);
    let len = good.bytes().len();
    let check = |received: usize, spoil: &dyn Fn(&mut Slab)| {
        let mut slab = filled(false);
        spoil(&mut slab);
        slab.check(received)
    };
    assert_eq!(check(len, &|_| ()), Ok(()));
    assert!(check(len - 8, &|_| ()).is_err());
    assert!(check(10, &|_| ()).is_err());
    assert!(check(len, &|slab| slab.words[slab.layout.count / 8] = u64::MAX).is_err());
    assert!(check(len, &|slab| slab.words[slab.layout.records / 8] = 77).is_err());
}
