//! Whether a server serves, and what: for scripts that wait for one, and for health checks.

use std::time::{Duration, Instant};

use anyhow::Result;
use wire::Client;

use crate::cli::PingArguments;

/// Says hello, and prints who answered with what, and how fast.
pub fn run(arguments: &PingArguments, out: &mut impl std::io::Write) -> Result<()> {
    let patience = Duration::from_secs_f64(arguments.wait);
    let client = Client::connect(&arguments.address, patience, "envpool ping")?;
    drop(client);
    // Once more, without the wait for it to listen and to load.
    let begun = Instant::now();
    let client = Client::connect(&arguments.address, Duration::ZERO, "envpool ping")?;
    let took = begun.elapsed();
    let spec = client.spec();
    writeln!(
        out,
        "{}: {} serves {}, up to {} environments a session, observations of {} numbers; hello in {:.1} ms",
        arguments.address,
        client.server(),
        spec.environment,
        spec.max_envs,
        spec.observation.len,
        took.as_secs_f64() * 1e3
    )?;
    Ok(())
}
