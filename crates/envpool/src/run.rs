//! What the program does, in a handful of steps.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::CommandFactory;
use cli::Exit;

use crate::cli::{Arguments, Command, Serve, ServiceArguments};
use crate::config::Config;
use crate::served::Served;
use crate::socket::{Listening, parse_address};
use crate::{bench, describe, load, log, ping, stdio};

/// Runs envpool.
pub fn run(arguments: Arguments) -> Result<Exit> {
    match arguments.command {
        Some(Command::Pages { page }) => {
            cli::pages::write(page, Arguments::command(), &mut std::io::stdout().lock())?;
        }
        Some(Command::Describe { serve, json }) => print_description(&serve, json)?,
        Some(Command::Ping(ping)) => ping::run(&ping, &mut std::io::stdout().lock())?,
        Some(Command::Bench(bench)) => bench::run(&bench, &mut std::io::stdout())?,
        None => {
            let service = arguments.service;
            log::set_format(service.log_format);
            let outcome = match &service.listen {
                Some(address) => serve_on_socket(address, &service, &arguments.serve),
                None => serve_on_stdio(&arguments.serve),
            };
            if let Err(error) = outcome {
                return Ok(log::fail(&error));
            }
        }
    }
    Ok(Exit::Done)
}

fn serve_on_socket(address: &str, service: &ServiceArguments, serve: &Serve) -> Result<()> {
    let path = parse_address(address)?;
    let config = Config::new(serve)?;
    // Before the data is read: a socket that is taken is known at once, and clients may come and wait.
    let listening = Listening::bind(path, service.socket_mode)?;
    match prepare(&config) {
        Ok(served) => listening.serve(served, service.idle_timeout.map(Duration::from_secs_f64)),
        Err(error) => {
            // Nobody will serve it, and this process made it a moment ago.
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

fn serve_on_stdio(serve: &Serve) -> Result<()> {
    stdio::check()?;
    let config = Config::new(serve)?;
    let gate = stdio::stop_on_signals()?;
    let served = prepare(&config)?;
    if config.n_threads > 1 {
        // Inside the pool, so that a step need not be handed in from outside.
        rayon::scope(|_| stdio::serve(&served, &gate))
    } else {
        stdio::serve(&served, &gate)
    }
}

/// Loads what is to be served, on as many threads as shall step it.
fn prepare(config: &Config) -> Result<Served> {
    build_pool(config.n_threads)?;
    if let Some(environment) = &config.known {
        return Ok(Served::known(environment.clone(), config));
    }
    let served = Served::market(&load::load(&config.features)?, config)?;
    let n_interior_nulls = served.data().map_or(0, trading_env::MarketData::n_interior_nulls);
    if n_interior_nulls > 0 {
        let text = format!(
            "{n_interior_nulls} rows between others lack a feature or a price; episodes end before them"
        );
        log::tell("incomplete-rows", &text);
    }
    if let Some(market) = &served.spec.market
        && market.rules.costs.starts_with("nse-intraday")
        && !market.rules.square_off
    {
        log::tell(
            "overnight",
            "nse-intraday charges are for positions that are closed on the same day, and these rules keep them \
             overnight (leave out --no-square-off, or take --costs nse-delivery)",
        );
    }
    Ok(served)
}

/// The pool that steps environments.
pub(crate) fn build_pool(n_threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n_threads)
        .thread_name(|thread_idx| format!("step-{thread_idx}"))
        .build_global()
        .with_context(|| format!("--threads {n_threads}"))
}

fn print_description(serve: &Serve, json: bool) -> Result<()> {
    let served = prepare(&Config::new(serve)?)?;
    let mut out = std::io::stdout().lock();
    if json {
        let text = served.spec.to_json().map_err(anyhow::Error::msg)?;
        writeln!(out, "{text}")?;
    } else {
        describe::write(&served, &mut out)?;
    }
    out.flush()?;
    Ok(())
}
