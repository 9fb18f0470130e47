//! The environment server of a command: started or connected to, and held against a policy.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::{Client, Spec};

use crate::cli::ServerArguments;
use crate::config::Config;
use crate::judgement::origin::Origin;
use crate::networks::device::Placement;
use crate::networks::torch::TorchLearner;
use crate::report::summary::rules_in_words;
use crate::training::checkpoint::{Checkpoint, Network};

/// How long a server may take to begin to listen.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may be silent before a person is told, and how often after that.
const FIRST_WORD: Duration = Duration::from_secs(3);
const NEXT_WORD: Duration = Duration::from_secs(15);

/// The server that `config` names; unless told to be quiet, says that it waits where that takes long.
///
/// # Errors
/// If it cannot be started or reached, or speaks another protocol.
pub fn connect(config: &Config, quiet: bool) -> Result<Client> {
    let name = concat!("train ", env!("CARGO_PKG_VERSION"));
    let subject = config.connect.clone().or_else(|| config.server.first().cloned()).unwrap_or_default();
    let (ready, waiting) = channel::<()>();
    let begun = Instant::now();
    let talker = thread::spawn(move || {
        let mut patience = FIRST_WORD;
        while waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            if quiet {
                continue;
            }
            cli::say(&format!(
                "train: waiting for {subject} to be ready, {} s so far",
                begun.elapsed().as_secs()
            ));
            patience = NEXT_WORD;
        }
    });
    let client = if let Some(address) = &config.connect {
        Client::connect(address, CONNECT_PATIENCE, name)
    } else {
        let command: Vec<_> = config.server.iter().map(Into::into).collect();
        Client::spawn(&command, name)
    };
    drop(ready);
    // It has nothing left to do but to end.
    let _ = talker.join();
    Ok(client?)
}

/// The policy of a checkpoint, a server that shows what it can act on, and what the policy learnt from.
///
/// # Errors
/// If there is no checkpoint, no server, or the two do not fit.
pub fn with_policy(path: &Path, server: &ServerArguments) -> Result<(Client, TorchLearner, Option<Origin>)> {
    let config = server.to_config()?;
    let checkpoint = Checkpoint::read(path)?;
    let client = connect(&config, false)?;
    fits(&checkpoint.fixed.network, client.spec()).with_context(|| path.display().to_string())?;
    let scaler = client.spec().market.as_ref().and_then(|market| market.scaler.as_ref());
    if scaler != checkpoint.fixed.scaler.as_ref() {
        cli::say(
            "train: the server scales features by other training days than the policy learnt with (judge it on \
             the same days for equal decisions)",
        );
    }
    if let (Some(origin), Some(market)) = (&checkpoint.state.origin, &client.spec().market)
        && origin.rules != market.rules
    {
        cli::say(&format!(
            "train: the server's rules ({}) are not those that the policy learnt under ({})",
            rules_in_words(&market.rules),
            rules_in_words(&origin.rules)
        ));
    }
    let learner = policy(&checkpoint)?;
    Ok((client, learner, checkpoint.state.origin))
}

/// The policy of `checkpoint`, ready to act on the processor.
///
/// # Errors
/// If libtorch fails.
pub fn policy(checkpoint: &Checkpoint) -> Result<TorchLearner> {
    TorchLearner::starting_at(
        &checkpoint.fixed.network.shape,
        &checkpoint.parameters,
        Placement::one_thread(),
    )
}

/// Whether a policy can act on what a server shows.
///
/// # Errors
/// If it cannot, with why.
pub fn fits(network: &Network, spec: &Spec) -> Result<()> {
    let (then, now) = (&network.observation, &spec.observation);
    if then.len != now.len {
        bail!(
            "the policy sees {} values and the server shows {} (use the features that it learnt with)",
            then.len,
            now.len
        );
    }
    if let Some((then, now)) = then.features.iter().zip(&now.features).find(|(then, now)| then != now) {
        bail!(
            "the policy learnt from the feature {then} where the server has {now} (use the features that it learnt with)"
        );
    }
    ensure!(
        then == now,
        "the server shows what the policy sees in another order or with another --window (use the options that it \
         learnt with)"
    );
    ensure!(
        network.action == spec.action,
        "the server takes other actions than the policy has (use the rules that it learnt with)"
    );
    Ok(())
}
