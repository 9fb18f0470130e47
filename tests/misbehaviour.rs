//! A server under clients that misbehave: it refuses them, and goes on serving the others the same bits, in as
//! much memory and with as many descriptors as before. `make gates` has more of them.

mod hostile;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use hostile::{N_ENVS, attack, decode};
use pipe_tests::{Guard, Place, bin, until};
use wire::{Actions, Client, Open};

/// Clients that a quick test sends, and that a gate sends.
const N_CLIENTS: u64 = if cfg!(feature = "gates") { 24_000 } else { 300 };
const N_DECODED: u64 = if cfg!(feature = "gates") { 6_000_000 } else { 50_000 };

struct Server {
    place: Place,
    guard: Guard,
}

impl Server {
    fn start() -> Self {
        let place = Place::new();
        let features = place.features("BPCL", 20);
        let address = format!("unix:{}", place.text("s"));
        let stderr = fs::File::create(place.path("stderr")).expect("a log");
        let n_envs = N_ENVS.to_string();
        let guard = Guard::of(
            std::process::Command::new(bin("envpool"))
                .args([
                    "--listen",
                    &address,
                    "--market",
                    "nse",
                    "--test-days",
                    "5",
                    "--envs",
                    &n_envs,
                    &features,
                ])
                .stdin(Stdio::null())
                .stderr(stderr)
                .spawn()
                .expect("envpool starts"),
        );
        until("it listens", || place.path("s").exists());
        let server = Self { place, guard };
        server.transcript();
        server
    }

    /// What a client that behaves gets.
    fn transcript(&self) -> Vec<u8> {
        let address = format!("unix:{}", self.place.text("s"));
        let mut client = Client::connect(&address, Duration::from_secs(60), "good").expect("it still serves");
        let mut session = client.open(&Open::training(N_ENVS, 5)).expect("a session");
        client.reset(&mut session).expect("first observations");
        let mut seen = Vec::new();
        for step in 0..20 {
            client.step(&mut session, Actions::Discrete(&[step % 3; N_ENVS as usize])).expect("a step");
            seen.extend_from_slice(&session.slab().bytes());
        }
        seen
    }

    /// Descriptors and resident pages, where the system tells.
    fn resources(&self) -> Option<(usize, usize)> {
        let process = format!("/proc/{}", self.guard.child.id());
        let n_descriptors = fs::read_dir(format!("{process}/fd")).ok()?.count();
        let pages = fs::read_to_string(format!("{process}/statm")).ok()?;
        Some((n_descriptors, pages.split_whitespace().nth(1)?.parse().ok()?))
    }
}

#[test]
fn the_decoder_takes_what_it_can_and_refuses_the_rest() {
    let n_requests: usize = (0..N_DECODED).map(decode).sum();
    println!("{N_DECODED} conversations decoded, {n_requests} requests in them");
    assert!(n_requests as u64 > N_DECODED, "the conversations get past the first check");
}

#[test]
fn clients_that_misbehave_and_die_change_nothing_for_others_and_leave_nothing_behind() {
    let server = Server::start();
    let expected = server.transcript();
    let path = server.place.path("s");
    // What the allocator and the threads keep is there after the first hundreds.
    let n_before = N_CLIENTS / 2;
    (0..n_before).for_each(|number| attack(&path, number));
    let idle_descriptors = |limit: usize| {
        until("the dead clients' descriptors are closed", || {
            server.resources().is_none_or(|(descriptors, _)| descriptors <= limit)
        });
    };
    let start = fs::read_to_string(server.place.path("stderr")).expect("a log");
    assert!(!start.contains("panicked"), "{start}");
    // The listening socket, the three standard streams, and what the signal handler holds.
    idle_descriptors(12);
    let before = server.resources();
    for number in n_before..N_CLIENTS {
        attack(&path, number);
        if number % 100 == 0 {
            assert!(
                server.transcript() == expected,
                "a client before {number} changed what another one gets"
            );
        }
    }
    assert!(server.transcript() == expected);
    if let Some((descriptors, pages)) = before {
        idle_descriptors(descriptors);
        let after = server.resources().expect("it runs").1;
        println!(
            "{N_CLIENTS} clients: {descriptors} descriptors, {pages} resident pages before, {after} after"
        );
        // 8 MB: threads that have ended leave the allocator's arenas in an order of their own.
        assert!(after <= pages + 2048, "{pages} resident pages became {after}");
    }
    let said = fs::read_to_string(server.place.path("stderr")).expect("a log");
    assert!(!said.contains("panicked"), "{said}");
}
