//! How `envpool` treats those who come to its socket: who dies, who has no place, who says nothing; and how it ends.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pipe_tests::{Guard, Place, Run, bin};
use wire::message::Hello;
use wire::{Actions, Client, Open};

#[test]
fn a_client_that_dies_leaves_the_others_playing() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let (mut server, address) = place.listen(&["--envs", "16", "--test-days", "5", &features]);
    let connect = || Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let mut survivor = connect();
    let mut session = survivor.open(&Open::training(16, 1)).expect("a session");
    survivor.reset(&mut session).expect("first observations");
    for _ in 0..20 {
        let mut doomed = connect();
        let mut other = doomed.open(&Open::training(16, 1)).expect("a session");
        doomed.reset(&mut other).expect("first observations");
        doomed.send(&mut other, Actions::Discrete(&[0; 16])).expect("actions in flight");
        drop(doomed);
        survivor.step(&mut session, Actions::Discrete(&[1; 16])).expect("the survivor's step");
    }
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
    assert!(!place.path("s").exists());
    let gone = survivor.step(&mut session, Actions::Discrete(&[1; 16])).unwrap_err();
    assert!(gone.to_string().contains("went away") || gone.to_string().contains("refused"), "{gone}");
}

#[test]
fn a_server_answers_a_ping_lets_in_whom_it_is_told_and_says_goodbye() {
    let place = Place::new();
    let address = format!("unix:{}", place.text("s"));
    let refused = Run::new("envpool").args(["ping", &address]).fails(1);
    assert!(refused.contains("nobody listens"), "{refused}");
    let refused = Run::new("envpool").args(["ping", "unix:/dev/null/s"]).fails(1);
    assert!(refused.contains("cannot connect to unix:/dev/null/s: Not a directory"), "{refused}");
    assert_eq!(refused.matches("Not a directory").count(), 1, "{refused}");
    let (mut server, _) = place.listen(&["--env", "cartpole", "--socket-mode", "0660", "--envs", "3"]);
    let said = Run::new("envpool").args(["ping", &address, "--wait", "60"]).succeeds().stdout;
    assert!(said.contains("serves cartpole, up to 3 environments"), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(place.path("s")).expect("a socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let mut session = client.open(&Open::training(3, 1)).expect("a session");
    client.reset(&mut session).expect("first observations");
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
    let gone = client.step(&mut session, Actions::Discrete(&[0; 3])).unwrap_err().to_string();
    assert!(gone.contains("told to end"), "{gone}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_a_server_that_still_loads() {
    let place = Place::new();
    let features = place.path("features.parquet");
    let made = Command::new("mkfifo").arg(&features).status().expect("mkfifo runs");
    assert!(made.success());
    let address = format!("unix:{}", place.text("s"));
    for listen in [&[][..], &["--listen", &address]] {
        // Nobody ever opens the other end of the pipe that it reads, and its stdin stays open.
        let mut server = Guard::of(
            Command::new(bin("envpool"))
                .arg(&features)
                .args(listen)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("envpool starts"),
        );
        let status = format!("/proc/{}/status", server.child.id());
        pipe_tests::until("it listens to signals", || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            caught.is_some_and(|mask| {
                u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> 14 & 1 == 1)
            })
        });
        server.signal(rustix::process::Signal::TERM);
        assert!(server.wait(Duration::from_secs(20)).success(), "{listen:?}");
        assert!(!place.path("s").exists());
    }
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let place = Place::new();
    let log = std::fs::File::create(place.path("log")).expect("a log");
    let address = format!("unix:{}", place.text("s"));
    let mut server = Guard::of(
        Command::new(bin("envpool"))
            .args(["--env", "cartpole", "--log-format", "json", "--listen", &address])
            .stderr(log)
            .spawn()
            .expect("envpool starts"),
    );
    Run::new("envpool").args(["ping", &address, "--wait", "60"]).succeeds();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
    let text = std::fs::read_to_string(place.path("log")).expect("a log");
    let events: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["event"].to_string())
        .collect();
    assert_eq!(events[0], "\"listening\"", "{text}");
    assert!(events.contains(&"\"connected\"".into()), "{text}");
    assert_eq!(events.last().map(String::as_str), Some("\"stopping\""), "{text}");
    let failed = Run::new("envpool").args(["no-such-file", "--log-format", "json"]).fails(1);
    let line: serde_json::Value = serde_json::from_str(failed.trim()).expect("JSON");
    assert_eq!(line["level"], "error", "{failed}");
    assert!(line["text"].as_str().is_some_and(|text| text.contains("no-such-file")), "{failed}");
}

#[test]
fn a_client_for_whom_no_descriptor_is_left_is_told_so_and_others_play_on() {
    let place = Place::new();
    let address = format!("unix:{}", place.text("s"));
    let limited = "ulimit -n 32 && exec \"$0\" --env cartpole --listen \"$1\"";
    let server = bin("envpool").display().to_string();
    let mut server = Run::program("bash").args(["-c", limited, &server, &address]).start();
    let connect = || Client::connect(&address, Duration::from_secs(20), "test");
    let mut clients = Vec::new();
    let refused = loop {
        match connect() {
            Ok(client) => clients.push(client),
            Err(error) => break error.to_string(),
        }
        assert!(clients.len() < 32, "as many clients as descriptors");
    };
    assert!(refused.contains("too few file descriptors"), "{refused}");
    assert!(clients.len() > 2, "{} clients", clients.len());
    let mut session = clients[0].open(&Open::training(4, 1)).expect("a session");
    clients[0].reset(&mut session).expect("first observations");
    clients[0].step(&mut session, Actions::Discrete(&[1; 4])).expect("a step");
    // Who leaves makes room.
    clients.truncate(1);
    pipe_tests::until("there is room again", || connect().is_ok());
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
}

#[test]
fn who_opens_no_session_is_ended_by_the_idle_timeout_and_told_so_and_who_has_one_may_think() {
    let place = Place::new();
    let log = std::fs::File::create(place.path("log")).expect("a log");
    let address = format!("unix:{}", place.text("s"));
    let _server = Guard::of(
        Command::new(bin("envpool"))
            .args(["--env", "cartpole", "--envs", "4", "--idle-timeout", "3", "--listen", &address])
            .stderr(log)
            .spawn()
            .expect("envpool starts"),
    );
    let connect = || Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let mut thinks = connect();
    let mut session = thinks.open(&Open::training(4, 1)).expect("a session");
    thinks.reset(&mut session).expect("first observations");
    let mut closed = connect();
    let its_last = closed.open(&Open::training(4, 1)).expect("a session");
    closed.close(its_last).expect("its end");
    let idle = connect();
    // Whoever sends a byte now and then has no session for all that, nor has he said hello.
    let trickle = |greeted: bool| {
        let mut stream = UnixStream::connect(place.path("s")).expect("a connection");
        let hello =
            wire::message::encode(&Hello { client: "trickle".into(), capabilities: 0 }).expect("bytes");
        if greeted {
            wire::frame::write(&mut stream, wire::frame::Kind::Hello, 0, &hello).expect("a hello");
        }
        std::thread::spawn(move || {
            let begun = Instant::now();
            let frame = b"ENVP".iter().cycle();
            for byte in frame.take_while(|_| begun.elapsed() < Duration::from_secs(120)) {
                if stream.write_all(&[*byte]).is_err() {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(700));
            }
            false
        })
    };
    let (greets, says_nothing) = (trickle(true), trickle(false));
    pipe_tests::until("three clients are ended", || {
        let said = std::fs::read_to_string(place.path("log")).unwrap_or_default();
        said.matches("had no session for 3 s (--idle-timeout)").count() == 3
            && said.contains("said no hello for 10 s")
    });
    assert!(greets.join().expect("its end") && says_nothing.join().expect("its end"), "both are hung up on");
    thinks.step(&mut session, Actions::Discrete(&[1; 4])).expect("it was never idle");
    for mut client in [closed, idle] {
        let told = client.open(&Open::training(4, 1)).map(|_| ()).unwrap_err().to_string();
        assert!(told.contains("--idle-timeout"), "{told}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_session_that_memory_has_no_room_for_is_refused_and_the_server_serves_on() {
    let place = Place::new();
    let address = format!("unix:{}", place.text("s"));
    let limited = "ulimit -v 800000 && exec \"$0\" --env cartpole --envs 1048576 --threads 2 --listen \"$1\"";
    let server = bin("envpool").display().to_string();
    let mut server = Run::program("bash").args(["-c", limited, &server, &address]).start();
    let mut client = Client::connect(&address, Duration::from_secs(20), "test").expect("a connection");
    let refused = client.open(&Open::training(1 << 20, 1)).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("no memory for a session of 1048576 environments"), "{refused}");
    let mut session = client.open(&Open::training(64, 1)).expect("a smaller session");
    client.reset(&mut session).expect("first observations");
    client.step(&mut session, Actions::Discrete(&[1; 64])).expect("a step");
    drop(client);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(Duration::from_secs(20)).success());
}
