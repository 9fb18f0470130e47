//! Sessions whose requests name some of the environments.

use wire::slab::TRACE_COLUMNS;

use super::*;

/// A request: the environments' numbers, then their actions.
fn request(ids: &[u32], choices: &[i32]) -> Vec<u8> {
    [bytemuck::cast_slice(ids), actions(choices).as_slice()].concat()
}

/// What an answer says of each of its environments, with the record of its episode's end.
fn rows(slab: &Slab, n_rows: usize) -> Vec<Vec<u64>> {
    let observations = slab.observations().to_vec();
    let obs_len = slab.layout().obs_len();
    let row = |row: usize| {
        let env = slab.env_id().get(row).map_or(row as u32, |&env| env);
        let mut values: Vec<u64> =
            observations[row * obs_len..][..obs_len].iter().map(|x| x.to_bits().into()).collect();
        values.push(slab.reward()[row].to_bits().into());
        values.extend([slab.terminated()[row], slab.truncated()[row]].map(u64::from));
        values.extend((0..TRACE_COLUMNS.len()).map(|column| slab.trace_column(column)[row].to_bits()));
        values.extend(slab.trace_costs(row).iter().map(|cost| cost.to_bits()));
        for (record, costs, last) in slab.finished().filter(|(record, ..)| record.env == env) {
            values.extend([record.length.into(), record.episode_return.to_bits(), record.trades]);
            values.extend(costs.iter().map(|cost| cost.to_bits()));
            values.extend(last.iter().map(|x| u64::from(x.to_bits())));
        }
        values
    };
    (0..n_rows).map(row).collect()
}

/// The action of an environment's step, whenever it is made.
fn choice(env: u32, step: usize) -> i32 {
    (env as usize + step / 3) as i32 % 3
}

#[test]
fn whatever_the_batch_and_the_order_environments_play_the_same_to_the_bit() {
    let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
    let (n_envs, n_steps) = (12, 40);
    for autoreset in [wire::Autoreset::SameStep, wire::Autoreset::NextStep, wire::Autoreset::Disabled] {
        let open = Open { autoreset, trace: true, ..Open::training(n_envs, 7) };
        let mut whole = Session::open(&served, &open).unwrap();
        whole.reset(0, &[]).unwrap();
        let mut expected: Vec<Vec<Vec<u64>>> =
            rows(whole.slab(), 12).into_iter().map(|row| vec![row]).collect();
        for step in 0..n_steps {
            let choices: Vec<i32> = (0..n_envs).map(|env| choice(env, step)).collect();
            whole.step(0, &actions(&choices)).unwrap();
            (0..12).zip(rows(whole.slab(), 12)).for_each(|(env, row)| expected[env].push(row));
        }
        for batch in [1, 3, 5, 6, 11] {
            let mut some = Session::open(&served, &Open { batch, ..open.clone() }).unwrap();
            let mut seen: Vec<Vec<Vec<u64>>> = vec![Vec::new(); 12];
            let note = |some: &Session, seen: &mut Vec<Vec<Vec<u64>>>| {
                let found = rows(some.slab(), batch as usize);
                for (&env, row) in some.slab().env_id().iter().zip(found) {
                    seen[env as usize].push(row);
                }
            };
            for first in (0..n_envs).step_by(batch as usize) {
                // The last one may name some again, which keep their episodes.
                let ids: Vec<u32> = (first.min(n_envs - batch)..).take(batch as usize).collect();
                some.reset(0, bytemuck::cast_slice(&ids)).unwrap();
                (ids[0]..first).for_each(|env| seen[env as usize].clear());
                note(&some, &mut seen);
            }
            // Any environments may be next, as long as none runs away from the others for ever.
            for turn in 0.. {
                if seen.iter().all(|steps| steps.len() > n_steps) {
                    break;
                }
                let mut ids: Vec<u32> = (0..n_envs).collect();
                ids.sort_by_key(|&env| (seen[env as usize].len() / 4, (env * 7 + turn * 5) % 13));
                ids.truncate(batch as usize);
                ids.sort_unstable();
                let choices: Vec<i32> =
                    ids.iter().map(|&env| choice(env, seen[env as usize].len() - 1)).collect();
                some.step(0, &request(&ids, &choices)).unwrap();
                assert_eq!(some.slab().env_id(), ids);
                note(&some, &mut seen);
            }
            for (env, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
                assert!(seen[..=n_steps] == expected[..], "{autoreset:?}, batch {batch}, environment {env}");
            }
        }
    }
}

#[test]
fn a_refused_part_leaves_the_session_as_it_was() {
    let served = served(&["--market", "nse", "--test-days", "3"]);
    let open = Open { batch: 2, ..Open::training(5, 7) };
    let mut session = Session::open(&served, &open).unwrap();
    let ids = |ids: &[u32]| bytemuck::cast_slice(ids).to_vec();
    refused(session.step(0, &request(&[0, 3], &[0, 0])), ErrorCode::BadSession, "environment 0 before");
    session.reset(0, &ids(&[0, 1])).unwrap();
    refused(session.step(0, &request(&[0, 3], &[0, 0])), ErrorCode::BadSession, "environment 3 before");
    refused(session.snapshot(&served).map(|_| ()), ErrorCode::BadSession, "environment 2");
    session.reset(0, &ids(&[2, 3])).unwrap();
    session.reset(0, &ids(&[3, 4])).unwrap();
    let before = session.slab().bytes().to_vec();
    for (body, text) in [
        (request(&[0, 5], &[0, 0]), "environment 5"),
        (request(&[3, 3], &[0, 0]), "environment 3"),
        (request(&[3, 1], &[0, 0]), "environment 1"),
        (request(&[0, u32::MAX], &[0, 0]), "environment 4294967295"),
        (request(&[0, 3], &[0, 7]), "environment 3: action 7"),
        (request(&[0], &[0]), "8 bytes of actions for 2 environments"),
        (request(&[0, 1, 2], &[0, 0, 0]), "24 bytes"),
        (request(&[0, 1], &[0]), "12 bytes"),
        (vec![], "0 bytes"),
        (vec![0; 15], "15 bytes"),
    ] {
        refused(session.step(0, &body), ErrorCode::BadAction, text);
    }
    for (body, text) in [
        (ids(&[0, 5]), "environment 5"),
        (ids(&[1, 0]), "environment 0"),
        (ids(&[0]), "4 bytes to reset 2"),
        (vec![], "0 bytes to reset 2"),
        ([ids(&[0, 1]), vec![1]].concat(), "9 bytes"),
        ([ids(&[0, 1]), vec![1, 2]].concat(), "0 or 1"),
    ] {
        refused(session.reset(0, &body), ErrorCode::BadFrame, text);
    }
    assert_eq!(session.slab().bytes(), before);
    let mut other = Session::open(&served, &open).unwrap();
    for some in [[0, 1], [2, 3], [3, 4]] {
        other.reset(0, &ids(&some)).unwrap();
    }
    for session in [&mut session, &mut other] {
        session.step(0, &request(&[0, 3], &[2, 0])).unwrap();
    }
    assert_eq!(session.slab().bytes(), other.slab().bytes());
    assert_eq!(session.snapshot(&served).unwrap(), other.snapshot(&served).unwrap());
}

#[test]
fn what_was_ended_is_shown_again_until_it_is_reset() {
    let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "2"]);
    let open = Open { batch: 2, autoreset: wire::Autoreset::Disabled, ..Open::training(4, 7) };
    let mut session = Session::open(&served, &open).unwrap();
    let ids = |ids: &[u32], mask: &[u8]| [bytemuck::cast_slice(ids), mask].concat();
    session.reset(0, &ids(&[0, 1], &[])).unwrap();
    session.reset(0, &ids(&[2, 3], &[])).unwrap();
    for _ in 0..2 {
        session.step(0, &request(&[1, 2], &[0, 2])).unwrap();
    }
    assert_eq!((session.slab().truncated(), session.slab().n_finished()), (&[1, 1][..], 2));
    let ended = session.slab().observations().to_vec();
    session.reset(0, &ids(&[1, 2], &[0, 0])).unwrap();
    assert_eq!((session.slab().truncated(), session.slab().reward()), (&[1, 1][..], &[0.0; 2][..]));
    assert_eq!((session.slab().observations().to_vec(), session.slab().n_finished()), (ended, 0));
    session.reset(0, &ids(&[1, 2], &[0, 1])).unwrap();
    assert_eq!(session.slab().truncated(), [1, 0]);
    session.reset(0, &ids(&[0, 2], &[0, 0])).unwrap();
    assert_eq!(session.slab().truncated(), [0, 0]);
}

#[test]
fn a_restored_session_of_parts_goes_on_with_the_same_bits() {
    let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
    let open = Open { batch: 2, trace: true, ..Open::training(5, 7) };
    let reset = |session: &mut Session| {
        for some in [[0_u32, 1], [2, 3], [3, 4]] {
            session.reset(0, bytemuck::cast_slice(&some)).unwrap();
        }
    };
    let mut session = Session::open(&served, &open).unwrap();
    reset(&mut session);
    let play = |session: &mut Session, steps: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        let step = |step: u32| {
            let (mut one, mut other) = (step % 5, (step * 3 + 1) % 5);
            (one, other) = (one.min(other), one.max(other));
            if one == other {
                (one, other) = (0, 4);
            }
            session.step(0, &request(&[one, other], &[step as i32 % 3, 2])).unwrap();
            session.slab().bytes().to_vec()
        };
        steps.map(step).collect()
    };
    play(&mut session, 0..23);
    let (snapshot, then) = (session.snapshot(&served).unwrap(), session.slab().bytes().to_vec());
    let went_on = play(&mut session, 23..90);
    let mut other = Session::open(&served, &open).unwrap();
    for session in [&mut session, &mut other] {
        session.restore(&served, 0, &snapshot).unwrap();
        assert_eq!(session.slab().bytes(), then);
        assert_eq!(play(session, 23..90), went_on);
    }
    let mut whole = Session::open(&served, &Open { batch: 0, ..open }).unwrap();
    refused(whole.restore(&served, 0, &snapshot), ErrorCode::BadSnapshot, "batch 2");
}
