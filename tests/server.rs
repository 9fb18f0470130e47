//! What `envpool` promises to any client: rewards that add up, the same bits for any thread count and carrier,
//! nothing left behind, refusals by name.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pipe_tests::{Place, bin};
use random::{Purpose, Stream};
use wire::{Actions, Autoreset, Client, Episode, Open, Range, Start, Transport};

fn spawn(args: &[&str]) -> Client {
    let command: Vec<_> =
        std::iter::once(bin("envpool").into_os_string()).chain(args.iter().map(Into::into)).collect();
    Client::spawn(&command, "test").expect("envpool serves")
}

fn random_actions(stream: &mut Stream, n: usize) -> Vec<i32> {
    (0..n).map(|_| stream.below(3) as i32).collect()
}

#[test]
fn rewards_of_an_episode_add_up_to_the_log_of_its_equity() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    for market in ["nse", "none"] {
        let mut client = spawn(&["--market", market, "--test-days", "5", "--envs", "64", &features]);
        let capital = client.spec().market.as_ref().expect("a market").rules.capital;
        let open = Open { episode: Episode::Steps(97), ..Open::training(64, 9) };
        let mut session = client.open(&open).expect("a session");
        client.reset(&mut session).expect("first observations");
        let mut sums = vec![0.0_f64; 64];
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut n_finished = 0;
        for _ in 0..400 {
            let actions = random_actions(&mut stream, 64);
            client.step(&mut session, Actions::Discrete(&actions)).expect("a step");
            for (sum, &reward) in sums.iter_mut().zip(session.slab().reward()) {
                *sum += f64::from(reward);
            }
            for (record, costs, final_obs) in session.slab().finished() {
                let env = record.env as usize;
                let log_growth = (record.final_equity / capital).ln();
                // The server's own sum is in f64; what went over the wire was narrowed to f32 step by step.
                assert!((record.episode_return - log_growth).abs() < 1e-9, "{record:?}: {log_growth}");
                assert!((sums[env] - log_growth).abs() < 1e-5, "{record:?}: {} sent", sums[env]);
                assert!(
                    record.trades > 0 && costs.iter().sum::<f64>() > 0.0,
                    "costs are always in: {record:?}"
                );
                assert!(final_obs.iter().all(|x| x.is_finite()));
                assert!(record.length <= 97);
                sums[env] = 0.0;
                n_finished += 1;
            }
        }
        assert!(n_finished >= 64 * 4, "{n_finished} episodes ended");
    }
}

#[test]
fn one_thread_and_two_send_the_same_bits() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    // Enough environments that two threads really share a batch.
    let n = 3000;
    let transcript = |threads: &str| {
        let envs = n.to_string();
        let mut client =
            spawn(&["--threads", threads, "--envs", &envs, "--test-days", "5", "--market", "nse", &features]);
        let mut session = client.open(&Open::training(n, 4)).expect("a session");
        client.reset(&mut session).expect("first observations");
        let mut bytes = session.slab().bytes().to_vec();
        let mut stream = Stream::new(2, Purpose::Test, 0, 0);
        for _ in 0..80 {
            let actions = random_actions(&mut stream, n as usize);
            client.step(&mut session, Actions::Discrete(&actions)).expect("a step");
            bytes.extend_from_slice(&session.slab().bytes());
        }
        bytes
    };
    assert!(transcript("1") == transcript("2"), "threads must not change a bit");
}

#[test]
fn frames_and_shared_memory_carry_the_same_bits_over_pipes_and_sockets() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let flags = ["--market", "nse", "--test-days", "5", "--envs", "300", &features];
    let command: Vec<_> =
        std::iter::once(bin("envpool").into_os_string()).chain(flags.iter().map(Into::into)).collect();
    let (_server, address) = place.listen(&flags);
    let open = Open { episode: Episode::Steps(20), trace: true, ..Open::training(300, 3) };
    let transcript = |mut client: Client, is_shared: bool| {
        let mut session = client.open(&open).expect("a session");
        assert_eq!(session.is_shared(), is_shared);
        client.reset(&mut session).expect("first observations");
        let mut seen = session.slab().bytes().to_vec();
        for step in 0..100 {
            let actions = random_actions(&mut Stream::new(5, Purpose::Test, step, 0), 300);
            if step % 9 == 0 {
                // What is refused is not played, and what follows is not out of step.
                let refused = client.step(&mut session, Actions::Discrete(&[7; 300])).unwrap_err();
                assert!(refused.to_string().contains("environment 0: action 7"), "{refused}");
                let refused = client.step(&mut session, Actions::Discrete(&[0; 299])).unwrap_err();
                assert!(refused.to_string().contains("299 actions"), "{refused}");
            }
            if step % 5 == 0 {
                // Long enough for both sides to have gone to sleep.
                std::thread::sleep(Duration::from_millis(2));
            }
            client.step(&mut session, Actions::Discrete(&actions)).expect("a step");
            seen.extend_from_slice(&session.slab().bytes());
        }
        client.close(session).expect("its end");
        seen
    };
    let spawned =
        |transport| Client::spawn_over(&command, "test", transport).expect("envpool serves on its pipes");
    let connected = |transport| {
        Client::connect_over(&address, Duration::from_secs(20), "test", transport).expect("a connection")
    };
    let inline = transcript(spawned(Transport::Inline), false);
    assert!(transcript(connected(Transport::Inline), false) == inline, "frames on a socket");
    assert!(transcript(connected(Transport::Shared), true) == inline, "shared memory over a socket");
    assert!(transcript(spawned(Transport::Shared), true) == inline, "shared memory over pipes");
}

#[test]
fn shared_memory_leaves_no_file_and_a_dead_server_is_noticed() {
    let mut client = spawn(&["--env", "cartpole", "--envs", "4"]);
    let pid = client.server_pid().expect("a server of ours");
    let mut session = client.open(&Open::training(4, 1)).expect("a session");
    assert!(session.is_shared());
    let left_over = || {
        let folders = ["/dev/shm".into(), std::env::temp_dir()];
        let names = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        names.filter(|e| e.file_name().to_string_lossy().starts_with(&format!("envpool-{pid:x}-"))).count()
    };
    assert_eq!(left_over(), 0);
    client.reset(&mut session).expect("first observations");
    client.step(&mut session, Actions::Discrete(&[0; 4])).expect("a step");
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    let gone = client.step(&mut session, Actions::Discrete(&[0; 4])).unwrap_err().to_string();
    assert!(gone.contains("went away") && gone.contains("signal"), "{gone}");
}

#[test]
fn files_that_a_killed_server_left_are_gone_after_the_next_has_shared_memory() {
    use wire::frame::{HEADER_BYTES, Header, Kind};
    use wire::message::{CAN_MAP_FILES, CAN_POST, Hello, Opened, Sharing};
    let mut server = Command::new(bin("envpool"))
        .args(["--env", "cartpole", "--envs", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let (mut to, mut from) =
        (server.stdin.take().expect("its input"), server.stdout.take().expect("its output"));
    let mut answer = |kind: Kind, session: u32, body: &[u8]| {
        wire::frame::write(&mut to, kind, session, body).expect("a request");
        let mut head = [0; HEADER_BYTES];
        from.read_exact(&mut head).expect("an answer");
        let header = Header::decode(&head).expect("of this protocol");
        let mut body = vec![0; header.length as usize];
        from.read_exact(&mut body).expect("its body");
        body
    };
    let hello = Hello { client: "slow".into(), capabilities: CAN_MAP_FILES | CAN_POST };
    answer(Kind::Hello, 0, &wire::message::encode(&hello).expect("a hello"));
    let opened = answer(Kind::Open, 1, &Open::training(4, 1).encode(0).expect("an open"));
    let (_, sharing): (Opened, Sharing) = wire::message::decode(&opened).expect("an opened session");
    let Sharing::Files { exchange, .. } = sharing else { panic!("{sharing:?} over pipes") };
    // Before it is told that they are mapped.
    server.kill().expect("its end");
    server.wait().expect("its end");
    assert!(Path::new(&exchange).exists());
    let mut client = spawn(&["--env", "cartpole", "--envs", "4"]);
    assert!(client.open(&Open::training(4, 1)).expect("a session").is_shared());
    let folder = Path::new(&exchange).parent().expect("their folder");
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn a_restored_session_sends_the_same_bits_from_the_same_server_and_from_another() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let flags = ["--market", "nse", "--test-days", "5", "--envs", "64", &features];
    let (_server, address) = place.listen(&flags);
    let mut one = spawn(&flags);
    let mut other = Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let open = Open { episode: Episode::Steps(20), autoreset: Autoreset::NextStep, ..Open::training(64, 3) };
    let play = |client: &mut Client, session: &mut wire::Session, steps: std::ops::Range<u64>| {
        let mut seen = Vec::new();
        for step in steps {
            let actions = random_actions(&mut Stream::new(5, Purpose::Test, step, 0), 64);
            client.step(session, Actions::Discrete(&actions)).expect("a step");
            seen.extend_from_slice(&session.slab().bytes());
        }
        seen
    };
    let mut session = one.open(&open).expect("a session");
    one.reset(&mut session).expect("first observations");
    play(&mut one, &mut session, 0..50);
    let snapshot = one.snapshot(&session).expect("a snapshot");
    let then = session.slab().bytes().to_vec();
    let went_on = play(&mut one, &mut session, 50..120);
    one.restore(&mut session, &snapshot).expect("the way back");
    assert_eq!(session.slab().bytes(), then);
    assert!(play(&mut one, &mut session, 50..120) == went_on, "back on the same server");
    let mut session = other.open(&open).expect("a session elsewhere");
    other.restore(&mut session, &snapshot).expect("the way there");
    assert_eq!(session.slab().bytes(), then);
    assert!(play(&mut other, &mut session, 50..120) == went_on, "on another server, over a socket");
    // A session that was opened otherwise names the difference, and plays on.
    let mut third = other.open(&Open { seed: 4, ..open }).expect("a third");
    let refused = other.restore(&mut third, &snapshot).unwrap_err().to_string();
    assert!(refused.contains("seed 3"), "{refused}");
    other.reset(&mut third).expect("it goes on");
}

#[test]
fn a_refusal_that_comes_before_its_turn_is_kept_for_its_session() {
    let place = Place::new();
    let (_server, address) = place.listen(&["--env", "cartpole", "--envs", "262144"]);
    let mut client = Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let mut small = client.open(&Open::training(4, 1)).expect("a session");
    let mut large = client.open(&Open::training(1 << 18, 1)).expect("another");
    client.reset(&mut small).expect("first observations");
    client.reset(&mut large).expect("first observations");
    let many = vec![1; 1 << 18];
    for _ in 0..20 {
        // Posted both, the server may take either first; the large one takes long enough for a client to sleep.
        client.send(&mut large, Actions::Discrete(&many)).expect("a step in flight");
        client.send(&mut small, Actions::Discrete(&[0, 7, 0, 0])).expect("another");
        client.receive(&mut large).expect("a step");
        let refused = client.receive(&mut small).unwrap_err().to_string();
        assert!(refused.contains("environment 1: action 7"), "{refused}");
        client.step(&mut small, Actions::Discrete(&[1; 4])).expect("it goes on");
    }
}

#[test]
fn an_environment_plays_the_same_in_a_small_batch_and_a_large_one() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    let mut client = spawn(&["--envs", "64", "--test-days", "5", "--market", "nse", &features]);
    let mut small = client.open(&Open::training(3, 4)).expect("a session");
    let mut large = client.open(&Open::training(64, 4)).expect("another beside it");
    client.reset(&mut small).expect("first observations");
    client.reset(&mut large).expect("first observations");
    let mut stream = Stream::new(3, Purpose::Test, 0, 0);
    let obs_len = client.spec().observation.len as usize;
    for _ in 0..300 {
        let actions = random_actions(&mut stream, 64);
        client.step(&mut small, Actions::Discrete(&actions[..3])).expect("a step");
        client.step(&mut large, Actions::Discrete(&actions)).expect("a step");
        let of_large = large.slab().observations().to_vec();
        assert_eq!(small.slab().observations().to_vec(), of_large[..3 * obs_len]);
        assert_eq!(small.slab().reward(), &large.slab().reward()[..3]);
    }
}

#[test]
fn training_never_touches_a_held_out_bar_and_the_test_plays_all_of_them() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let mut client = spawn(&["--market", "nse", "--test-days", "5", "--envs", "64", &features]);
    let market = client.spec().market.clone().expect("a market");
    assert_eq!((market.calendar.len(), market.train.last), (20, 14));
    let held_out = market.test.expect("held-out days");
    assert_eq!((held_out.first, held_out.last), (15, 19));

    let ends = |client: &mut Client, open: &Open| {
        let mut session = client.open(open).expect("a session");
        client.reset(&mut session).expect("first observations");
        let n = open.n_envs as usize;
        let (mut first, mut last, mut steps) = (f64::INFINITY, f64::NEG_INFINITY, 0);
        for _ in 0..800 {
            client.step(&mut session, Actions::Discrete(&vec![2; n])).expect("a step");
            for &ts in session.slab().trace_column(0) {
                first = first.min(ts);
                last = last.max(ts);
            }
            steps += 1;
            if open.autoreset == Autoreset::Disabled && session.slab().truncated().iter().all(|&t| t == 1) {
                break;
            }
        }
        (first, last, steps)
    };
    let training = Open { trace: true, start: Start::Random, ..Open::training(64, 1) };
    let (_, last_trained, _) = ends(&mut client, &training);
    let (first_tested, last_tested, steps) = ends(&mut client, &Open::evaluation(1, Range::Test));
    assert!(
        last_trained < first_tested,
        "a training episode reached {last_trained}, the test begins at {first_tested}"
    );
    assert_eq!(steps, 5 * 75, "every held-out bar is played");
    let day_us = 86_400e6;
    assert!(last_tested - first_tested < 8.0 * day_us && last_tested - first_tested > 4.0 * day_us);
}

#[test]
fn bad_actions_and_sessions_are_refused_by_name_and_change_nothing() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let mut client = spawn(&["--envs", "4", "--test-days", "5", "--market", "nse", &features]);
    let mut refused = client.open(&Open::training(4, 1)).expect("a session");
    let mut untouched = client.open(&Open::training(4, 1)).expect("a twin");
    client.reset(&mut refused).expect("first observations");
    client.reset(&mut untouched).expect("first observations");
    for (actions, named) in [(vec![0, 0, 7, 0], "2"), (vec![0, -1, 0, 0], "1"), (vec![0, 0], "4")] {
        let error = client.step(&mut refused, Actions::Discrete(&actions)).unwrap_err().to_string();
        assert!(error.contains("refused") && error.contains(named), "{error}");
    }
    let too_many = client.open(&Open::training(5, 1)).unwrap_err().to_string();
    assert!(too_many.contains("--envs"), "{too_many}");
    let beyond = Open { range: Range::Sessions { first: 3, last: 99 }, ..Open::training(4, 1) };
    let beyond = client.open(&beyond).unwrap_err().to_string();
    assert!(beyond.contains("99") && beyond.contains("20"), "{beyond}");
    for _ in 0..50 {
        client.step(&mut refused, Actions::Discrete(&[0, 1, 2, 1])).expect("a step");
        client.step(&mut untouched, Actions::Discrete(&[0, 1, 2, 1])).expect("a step");
        assert_eq!(refused.slab().bytes(), untouched.slab().bytes());
    }
}
