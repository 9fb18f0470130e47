//! Partial batches: a request names some environments of a session, several requests are in flight, and the bits are
//! those of a session that steps all of them at once: for any batch, order, transport and number of threads.

use std::collections::VecDeque;
use std::time::Duration;

use pipe_tests::{Guard, Place, Run, bin};
use random::{Purpose, Stream};
use wire::{Actions, Autoreset, Client, Episode, Open, Session, Slab, Transport};

const N_ENVS: u32 = 24;
const N_STEPS: usize = 60;

/// What each environment saw: its answers, one after another.
type Seen = Vec<Vec<Vec<u64>>>;

fn command(flags: &[&str]) -> Vec<std::ffi::OsString> {
    std::iter::once(bin("envpool").into_os_string()).chain(flags.iter().map(Into::into)).collect()
}

fn open(batch: u32) -> Open {
    Open { episode: Episode::Steps(11), trace: true, batch, ..Open::training(N_ENVS, 3) }
}

/// The action of an environment's step, whenever it is made.
fn choice(env: u32, step: usize) -> i32 {
    Stream::new(5, Purpose::Test, env.into(), step as u64).below(3) as i32
}

/// One environment's part of an answer, the record of its episode's end included.
fn row(slab: &Slab, at: usize, env: u32) -> Vec<u64> {
    let obs_len = slab.layout().obs_len();
    let observations = slab.observations().to_vec();
    let mut values: Vec<u64> =
        observations[at * obs_len..][..obs_len].iter().map(|x| x.to_bits().into()).collect();
    values.push(slab.reward()[at].to_bits().into());
    values.extend([slab.terminated()[at], slab.truncated()[at]].map(u64::from));
    values.extend((0..9).map(|column| slab.trace_column(column)[at].to_bits()));
    values.extend(slab.trace_costs(at).iter().map(|cost| cost.to_bits()));
    for (record, costs, last) in slab.finished().filter(|(record, ..)| record.env == env) {
        values.extend([record.length.into(), record.episode_return.to_bits(), record.trades]);
        values.extend(costs.iter().map(|cost| cost.to_bits()));
        values.extend(last.iter().map(|x| u64::from(x.to_bits())));
    }
    values
}

/// All environments at once.
fn play_whole(client: &mut Client) -> Seen {
    let mut session = client.open(&open(0)).expect("a session");
    client.reset(&mut session).expect("first observations");
    let mut seen = vec![Vec::new(); N_ENVS as usize];
    for step in 0..=N_STEPS {
        (0..N_ENVS).for_each(|env| seen[env as usize].push(row(session.slab(), env as usize, env)));
        let choices: Vec<i32> = (0..N_ENVS).map(|env| choice(env, step)).collect();
        client.step(&mut session, Actions::Discrete(&choices)).expect("a step");
    }
    client.close(session).expect("its end");
    seen
}

/// Some environments at a time, in a session of its own.
struct Parts {
    session: Session,
    batch: usize,
    seen: Seen,
    idle: Vec<u32>,
    stream: Stream,
}

impl Parts {
    fn open(client: &mut Client, batch: u32, number: u64) -> Self {
        let mut session = client.open(&open(batch)).expect("a session");
        let mut seen: Seen = vec![Vec::new(); N_ENVS as usize];
        assert_eq!((session.batch(), session.max_in_flight()), (batch as usize, (N_ENVS / batch) as usize));
        for first in (0..N_ENVS).step_by(batch as usize) {
            // The last ones may name some again, which keep their episodes.
            let ids: Vec<u32> = (first.min(N_ENVS - batch)..).take(batch as usize).collect();
            client.reset_some(&mut session, &ids, &[]).expect("first observations");
            for (at, &env) in session.slab().env_id().iter().enumerate() {
                seen[env as usize] = vec![row(session.slab(), at, env)];
            }
        }
        let stream = Stream::new(6, Purpose::Test, number, batch.into());
        Self { session, batch: batch as usize, seen, idle: (0..N_ENVS).collect(), stream }
    }

    fn is_done(&self) -> bool {
        self.seen.iter().all(|steps| steps.len() > N_STEPS)
    }

    /// Sends the actions of some idle environments, any of those that are not far ahead.
    fn send(&mut self, client: &mut Client) {
        let Self { idle, seen, stream, .. } = self;
        idle.sort_by_cached_key(|&env| (seen[env as usize].len() / 3, stream.below(1 << 20)));
        let mut ids: Vec<u32> = idle.drain(..self.batch).collect();
        ids.sort_unstable();
        let choices: Vec<i32> = ids.iter().map(|&env| choice(env, seen[env as usize].len() - 1)).collect();
        client.send_some(&mut self.session, &ids, Actions::Discrete(&choices)).expect("actions");
    }

    fn receive(&mut self, client: &mut Client) {
        client.receive(&mut self.session).expect("a step");
        let slab = self.session.slab();
        for (at, &env) in slab.env_id().iter().enumerate() {
            self.seen[env as usize].push(row(slab, at, env));
        }
        self.idle.extend(slab.env_id());
    }

    /// Sends and receives in an order of its own until every environment has made its steps.
    fn play(mut self, client: &mut Client) -> Seen {
        while !self.is_done() || self.session.in_flight() > 0 {
            let may_send = !self.is_done()
                && self.idle.len() >= self.batch
                && self.session.in_flight() < self.session.max_in_flight();
            if may_send && (self.session.in_flight() == 0 || self.stream.below(3) > 0) {
                self.send(client);
            } else {
                if self.stream.below(60) == 0 {
                    // Long enough for both sides to have gone to sleep.
                    std::thread::sleep(Duration::from_millis(2));
                }
                self.receive(client);
            }
        }
        client.close(self.session).expect("its end");
        self.seen
    }
}

fn assert_same(seen: &Seen, expected: &Seen, what: &str) {
    for (env, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        assert!(seen[..=N_STEPS] == expected[..], "{what}: environment {env} played something else");
    }
}

#[test]
fn any_batch_order_transport_and_number_of_threads_gives_the_same_bits() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let mut expected = None;
    for threads in ["1", "2", "8"] {
        let envs = N_ENVS.to_string();
        let flags = ["--market", "nse", "--test-days", "5", "--envs", &envs, "--threads", threads, &features];
        let address = format!("unix:{}", place.text(&format!("s{threads}")));
        let _server: Guard = Run::new("envpool").args(["--listen", &address]).args(flags).start();
        for transport in [Transport::Inline, Transport::Shared] {
            let spawned = Client::spawn_over(&command(&flags), "test", transport).expect("envpool on pipes");
            let connected = Client::connect_over(&address, Duration::from_secs(20), "test", transport);
            for (way, mut client) in [("pipes", spawned), ("a socket", connected.expect("a connection"))] {
                let whole = play_whole(&mut client);
                assert_same(&whole, expected.get_or_insert_with(|| whole.clone()), "all at once");
                for batch in [N_ENVS / 2, N_ENVS / 4, 7, 1] {
                    let parts = Parts::open(&mut client, batch, 1);
                    assert_eq!(parts.session.is_shared(), transport == Transport::Shared);
                    let seen = parts.play(&mut client);
                    let what = format!("{batch} at a time, {threads} threads, {transport:?}, {way}");
                    assert_same(&seen, expected.as_ref().expect("the first"), &what);
                }
            }
        }
    }
}

#[test]
fn a_batch_of_all_environments_is_a_whole_batch() {
    let envs = N_ENVS.to_string();
    let mut client =
        Client::spawn(&command(&["--env", "cartpole", "--envs", &envs]), "test").expect("envpool");
    let mut session = client.open(&Open { batch: N_ENVS, ..Open::training(N_ENVS, 1) }).expect("a session");
    client.reset(&mut session).expect("first observations");
    client.step(&mut session, Actions::Discrete(&[0; N_ENVS as usize])).expect("a step");
    assert!(session.slab().env_id().is_empty());
    let misused = client.send_some(&mut session, &[0], Actions::Discrete(&[0])).unwrap_err().to_string();
    assert!(misused.contains("whole batches"), "{misused}");
    let mut parts = client.open(&Open { batch: 4, ..Open::training(N_ENVS, 1) }).expect("another");
    let misused = client.reset(&mut parts).unwrap_err().to_string();
    assert!(misused.contains("4 environments are asked at a time (call reset_some)"), "{misused}");
}

#[test]
fn what_is_refused_among_requests_in_flight_is_told_in_its_turn_and_changes_nothing() {
    let envs = N_ENVS.to_string();
    for transport in [Transport::Inline, Transport::Shared] {
        let flags = command(&["--env", "ou:rho=0.95,cost=0.1", "--envs", &envs]);
        let mut client = Client::spawn_over(&flags, "test", transport).expect("envpool");
        let sessions: Vec<Session> = (0..2)
            .map(|_| {
                let mut session =
                    client.open(&Open { batch: 4, ..Open::training(N_ENVS, 1) }).expect("a session");
                for first in (0..N_ENVS).step_by(4) {
                    let ids: Vec<u32> = (first..first + 4).collect();
                    client.reset_some(&mut session, &ids, &[]).expect("first observations");
                }
                session
            })
            .collect();
        let [mut session, mut twin] = <[Session; 2]>::try_from(sessions).expect("two");
        let mut stream = Stream::new(9, Purpose::Test, 0, 0);
        let mut due = VecDeque::new();
        let (mut n_refused, mut n_played) = (0, 0);
        for round in 0..400 {
            let first = 4 * (round % 6);
            let ids = [first, first + 1, first + 2, first + 3];
            let choices = [0, 1, 2, round as i32 % 3];
            let mut counts = (&mut n_refused, &mut n_played);
            if stream.below(4) == 0 {
                receive(&mut client, &mut session, &mut twin, &mut due, &mut counts);
            }
            while session.in_flight() == 6 || due.iter().any(|(asked, _)| *asked == ids) {
                receive(&mut client, &mut session, &mut twin, &mut due, &mut counts);
            }
            let (sent, choices, words) = match stream.below(8) {
                0 => (ids, [0, 1, 7, 0], Some(format!("environment {}: action 7", first + 2))),
                1 => ([ids[1], ids[0], ids[2], ids[3]], choices, Some(format!("environment {}", ids[0]))),
                2 => ([ids[0], ids[1], ids[2], 999], choices, Some("environment 999".to_owned())),
                _ => (ids, choices, None),
            };
            let sent_actions = Actions::Discrete(&choices);
            client.send_some(&mut session, &sent, sent_actions).expect("a request");
            if words.is_none() {
                let again = client.send_some(&mut session, &ids, sent_actions).unwrap_err().to_string();
                let is_full = session.in_flight() == 6 && again.contains("receive one first");
                assert!(is_full || again.contains(&format!("environment {first} is in flight")), "{again}");
                client.send_some(&mut twin, &ids, sent_actions).expect("the same to its twin");
            }
            due.push_back((ids, words));
        }
        while !due.is_empty() {
            receive(&mut client, &mut session, &mut twin, &mut due, &mut (&mut n_refused, &mut n_played));
        }
        assert!(n_refused > 20 && n_played > 100, "{n_refused} refused, {n_played} played");
        let ids: Vec<u32> = (0..4).collect();
        let odd =
            client.send_some(&mut session, &ids[..3], Actions::Discrete(&[0; 3])).unwrap_err().to_string();
        assert!(odd.contains("3 environments named, where 4 are due"), "{odd}");
    }
}

/// The oldest answer, which is what the twin got too, or a refusal that the twin never asked for.
fn receive(
    client: &mut Client,
    session: &mut Session,
    twin: &mut Session,
    due: &mut VecDeque<([u32; 4], Option<String>)>,
    (n_refused, n_played): &mut (&mut usize, &mut usize),
) {
    let Some((ids, words)) = due.pop_front() else { return };
    // Both are answered in the order in which they were asked.
    let outcome = client.receive(session);
    if let Some(words) = words {
        let refused = outcome.expect_err("a refusal").to_string();
        assert!(refused.contains(&words), "{refused}");
        **n_refused += 1;
        return;
    }
    outcome.expect("a step");
    client.receive(twin).expect("the twin's");
    assert_eq!(session.slab().env_id(), ids);
    assert_eq!(session.slab().bytes(), twin.slab().bytes());
    **n_played += 1;
}

#[test]
fn parts_are_snapshot_and_restored_on_another_server() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let envs = N_ENVS.to_string();
    let flags = ["--market", "nse", "--test-days", "5", "--envs", &envs, "--batch", "6", &features];
    let mut one = Client::spawn(&command(&flags), "test").expect("envpool");
    let mut other = Client::spawn_over(&command(&flags), "test", Transport::Inline).expect("another");
    assert_eq!(one.spec().batch, 6);
    let open = Open { autoreset: Autoreset::NextStep, ..open(6) };
    let ids = |first: u32| -> Vec<u32> { (first..first + 6).collect() };
    let play = |client: &mut Client, session: &mut Session, steps: std::ops::Range<usize>| {
        let mut seen = Vec::new();
        for step in steps {
            for first in [0, 6, 12, 18] {
                let choices: Vec<i32> = ids(first).iter().map(|&env| choice(env, step)).collect();
                client.send_some(session, &ids(first), Actions::Discrete(&choices)).expect("actions");
            }
            for _ in 0..4 {
                client.receive(session).expect("a step");
                seen.extend_from_slice(&session.slab().bytes());
            }
        }
        seen
    };
    let mut session = one.open(&open).expect("a session");
    for first in [0, 6, 12, 18] {
        one.reset_some(&mut session, &ids(first), &[]).expect("first observations");
    }
    play(&mut one, &mut session, 0..25);
    let snapshot = one.snapshot(&session).expect("a snapshot");
    let then = session.slab().bytes().to_vec();
    one.reset_some(&mut session, &ids(0), &[0; 6]).expect("a look");
    let shown = session.slab().bytes().to_vec();
    let went_on = play(&mut one, &mut session, 25..70);
    one.restore(&mut session, &snapshot).expect("the way back");
    assert_eq!(session.slab().bytes(), then);
    assert!(play(&mut one, &mut session, 25..70) == went_on, "back on the same server");
    let mut session = other.open(&open).expect("a session elsewhere");
    other.restore(&mut session, &snapshot).expect("the way there");
    assert_eq!(session.slab().bytes(), then);
    other.reset_some(&mut session, &ids(0), &[0; 6]).expect("a look");
    assert_eq!(session.slab().bytes(), shown, "what is seen anew is what was seen");
    assert!(play(&mut other, &mut session, 25..70) == went_on, "on another server, in frames");
}
