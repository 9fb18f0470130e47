//! The client in C that stands beside the protocol's page: whoever reads both gets the bits that the Rust client gets.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use pipe_tests::{Place, Run, root};
use wire::{Actions, Client, Open, Session, Transport};

const N_ENVS: u32 = 8;
const N_STEPS: u32 = 120;

/// What the C client prints of an answer.
fn printed(session: &Session) -> String {
    let slab = session.slab();
    let observations = slab.observations().to_vec();
    let mut text = String::new();
    for (row, seen) in observations.chunks(slab.layout().obs_len()).enumerate() {
        let env = slab.env_id().get(row).map_or(row as u32, |&env| env);
        let (terminated, truncated) = (slab.terminated()[row], slab.truncated()[row]);
        let _ = write!(text, "{env} {:08x} {terminated} {truncated}", slab.reward()[row].to_bits());
        for value in seen {
            let _ = write!(text, " {:08x}", value.to_bits());
        }
        text.push('\n');
    }
    for (record, ..) in slab.finished() {
        let bits = record.episode_return.to_bits();
        let _ = writeln!(text, "finished {} {} {bits:016x}", record.env, record.length);
    }
    text
}

/// The same conversation as the C client's, with the Rust client.
fn expected(client: &mut Client, batch: u32) -> String {
    let open = Open { batch, ..Open::training(N_ENVS, 7) };
    let mut session = client.open(&open).expect("a session");
    let mut text = String::new();
    let parts: Vec<Vec<u32>> =
        (0..N_ENVS).step_by(batch as usize).map(|first| (first..first + batch).collect()).collect();
    for part in &parts {
        if open.is_partial() {
            client.reset_some(&mut session, part, &[]).expect("first observations");
        } else {
            client.reset(&mut session).expect("first observations");
        }
        text += &printed(&session);
    }
    for step in 0..N_STEPS {
        for part in &parts {
            let choices: Vec<i32> = part.iter().map(|env| ((env + step / 3) % 2) as i32).collect();
            if open.is_partial() {
                client.send_some(&mut session, part, Actions::Discrete(&choices)).expect("actions");
            } else {
                client.send(&mut session, Actions::Discrete(&choices)).expect("actions");
            }
        }
        for _ in &parts {
            client.receive(&mut session).expect("a step");
            text += &printed(&session);
        }
    }
    text
}

#[test]
fn the_client_in_c_gets_the_bits_of_the_client_in_rust() {
    let place = Place::new();
    let program = place.text("client");
    let source = root().join("crates/wire/examples/client.c");
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o", &program]).arg(source);
    match compile.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: the_client_in_c_gets_the_bits_of_the_client_in_rust: there is no cc");
            return;
        }
        outcome => {
            let outcome = outcome.expect("cc starts");
            assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
        }
    }
    let features = place.features("BPCL", 20);
    let envs = N_ENVS.to_string();
    let market: &[&str] = &["--market", "nse", "--test-days", "5", "--episode-len", "50", &features];
    for (name, flags) in [("cartpole", &["--env", "cartpole"][..]), ("portfolio", market)] {
        let socket = place.text(name);
        let address = format!("unix:{socket}");
        let _server = Run::new("envpool").args(["--listen", &address, "--envs", &envs]).args(flags).start();
        let patience = Duration::from_secs(20);
        let mut client =
            Client::connect_over(&address, patience, "test", Transport::Inline).expect("a connection");
        for batch in [N_ENVS, 4, 1] {
            let arguments = [socket.clone(), envs.clone(), batch.to_string(), N_STEPS.to_string()];
            let said = Run::program(&program).args(arguments).succeeds().stdout;
            assert!(said.contains("finished"), "episodes end among the steps");
            assert!(said == expected(&mut client, batch), "{name}, {batch} at a time");
        }
        let refused = Run::program(&program).args([&socket, "16", "16", "1"]).fails(1);
        assert!(refused.contains("--envs"), "{refused}");
    }
}
