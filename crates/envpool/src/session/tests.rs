//! Sessions as a client meets them; those whose requests name environments are in `partial`.

mod partial;

use super::*;
use crate::served::tests::served;
use wire::Range;
use wire::message::ErrorCode;

fn actions(choices: &[i32]) -> Vec<u8> {
    choices.iter().flat_map(|choice| choice.to_le_bytes()).collect()
}

fn refused(outcome: Result<(), Refusal>, code: ErrorCode, text: &str) {
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.code, code);
    assert!(refusal.text.contains(text), "{}", refusal.text);
}

#[test]
fn a_refused_request_leaves_the_session_as_it_was() {
    let served = served(&["--market", "nse", "--test-days", "3"]);
    let mut session = Session::open(&served, &Open::training(2, 7)).unwrap();
    refused(session.step(0, &actions(&[0, 0])), ErrorCode::BadSession, "before the first reset");
    session.reset(0, &[]).unwrap();
    let before = session.slab().bytes().to_vec();
    refused(session.step(0, &actions(&[1])), ErrorCode::BadAction, "1 actions for 2 environments");
    refused(session.step(0, &actions(&[0, 3])), ErrorCode::BadAction, "environment 1: action 3");
    refused(session.step(0, &[0; 7]), ErrorCode::BadAction, "7 bytes");
    refused(session.reset(0, &[1]), ErrorCode::BadFrame, "mask of 1 bytes");
    refused(session.reset(0, &[1, 2]), ErrorCode::BadFrame, "0 or 1");
    assert_eq!(session.slab().bytes(), before);
    // The next step is that of a session that was never asked anything wrong.
    let mut other = Session::open(&served, &Open::training(2, 7)).unwrap();
    other.reset(0, &[]).unwrap();
    session.step(0, &actions(&[2, 0])).unwrap();
    other.step(0, &actions(&[2, 0])).unwrap();
    assert_eq!(session.slab().bytes(), other.slab().bytes());
}

#[test]
fn a_restored_session_goes_on_with_the_same_bits() {
    let served = served(&["--market", "nse", "--test-days", "3", "--episode-len", "9"]);
    for autoreset in [wire::Autoreset::SameStep, wire::Autoreset::NextStep, wire::Autoreset::Disabled] {
        let open = Open { autoreset, trace: true, ..Open::training(3, 7) };
        let mut session = Session::open(&served, &open).unwrap();
        session.reset(0, &[]).unwrap();
        let play = |session: &mut Session, steps: std::ops::Range<i32>| -> Vec<Vec<u8>> {
            steps
                .map(|step| {
                    session.step(0, &actions(&[step % 3, 2, (step / 4) % 3])).unwrap();
                    session.slab().bytes().to_vec()
                })
                .collect()
        };
        play(&mut session, 0..13);
        let (snapshot, then) = (session.snapshot(&served).unwrap(), session.slab().bytes().to_vec());
        let went_on = play(&mut session, 13..40);
        // Back in the same session, and in a new one that was never reset.
        let mut other = Session::open(&served, &open).unwrap();
        for session in [&mut session, &mut other] {
            session.restore(&served, 0, &snapshot).unwrap();
            assert_eq!(session.slab().bytes(), then);
            assert_eq!(play(session, 13..40), went_on);
        }
    }
}

#[test]
fn a_refused_snapshot_leaves_the_session_as_it_was() {
    let served = served(&[]);
    let mut session = Session::open(&served, &Open::training(2, 7)).unwrap();
    session.reset(0, &[]).unwrap();
    session.step(0, &actions(&[0, 2])).unwrap();
    let mut snapshot = session.snapshot(&served).unwrap();
    let before = session.slab().bytes().to_vec();
    refused(session.restore(&served, 0, &[]), ErrorCode::BadSnapshot, "no whole snapshot");
    let middle = snapshot.len() / 2;
    snapshot[middle] ^= 1;
    refused(session.restore(&served, 0, &snapshot), ErrorCode::BadSnapshot, "no whole snapshot");
    assert_eq!(session.slab().bytes(), before);
    assert_eq!(session.snapshot(&served).unwrap().len(), snapshot.len());
}

#[test]
fn sessions_beyond_the_caps_or_the_days_are_refused() {
    let served = served(&["--envs", "8"]);
    let open = |open: Open| Session::open(&served, &open).map(|_| ());
    refused(open(Open::training(0, 1)), ErrorCode::TooMany, "1 to 8");
    refused(open(Open::training(9, 1)), ErrorCode::TooMany, "--envs");
    refused(open(Open::evaluation(1, Range::Test)), ErrorCode::BadOpen, "--test-days");
    refused(open(Open { batch: 9, ..Open::training(8, 1) }), ErrorCode::BadOpen, "a batch of 9 of 8");
    let far = Range::Sessions { first: 3, last: 4_000_000_000 };
    refused(open(Open { range: far, ..Open::training(1, 1) }), ErrorCode::BadOpen, "calendar");
    let none = Open { episode: wire::Episode::Steps(0), ..Open::training(1, 1) };
    refused(open(none), ErrorCode::BadOpen, "0 steps");
}

#[test]
fn an_evaluation_plays_each_symbol_once_and_its_rewards_add_up() {
    let served = served(&["--market", "nse", "--test-days", "3"]);
    let mut session = Session::open(&served, &Open::evaluation(2, Range::Test)).unwrap();
    session.reset(0, &[]).unwrap();
    let mut sums = [0.0; 2];
    let mut costs = [0.0; 2];
    let n_steps = 3 * 10;
    for step in 0..n_steps {
        session.step(0, &actions(&[step % 3, 2])).unwrap();
        for env in 0..2 {
            sums[env] += f64::from(session.slab().reward()[env]);
            costs[env] += session.slab().trace_costs(env).iter().sum::<f64>();
            assert_eq!(session.slab().trace_column(1)[env], env as f64);
        }
        assert_eq!(session.slab().n_finished(), if step == n_steps - 1 { 2 } else { 0 });
    }
    for (record, kinds, _) in session.slab().finished() {
        let env = record.env as usize;
        let growth = f64::ln(record.final_equity / 100_000.0);
        assert!((record.episode_return - growth).abs() < 1e-12 && (sums[env] - growth).abs() < 1e-5);
        assert!((kinds.iter().sum::<f64>() - costs[env]).abs() < 1e-6 && costs[env] > 0.0);
        assert_eq!(record.length, 30);
    }
    assert_eq!(session.slab().trace_column(7), [0.0, 0.0], "flat at the end");
    // It stays as it ended.
    session.step(0, &actions(&[0, 0])).unwrap();
    assert_eq!((session.slab().n_finished(), session.slab().truncated()), (0, &[1, 1][..]));
    assert_eq!(session.slab().reward(), [0.0, 0.0]);
}
