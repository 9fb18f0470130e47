//! What a group is to train, as `group.toml` of its directory says: from it an interrupted group goes on.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use wire::Spec;

use crate::config::Config;
use crate::report::group_report::Kind;
use crate::training::files::put_file;
use crate::training::window;

/// A group of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// What tells its runs apart.
    pub kind: Kind,
    /// How many of them are trained side by side.
    pub at_once: usize,
    /// The runs.
    pub members: Vec<Planned>,
}

/// One run of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The name of its directory.
    pub name: String,
    /// Everything that decides it.
    pub config: Config,
}

const FILE: &str = "group.toml";

impl GroupPlan {
    /// `count` seeds, from that of `config` on.
    pub fn seeds(config: &Config, count: u32, at_once: usize) -> Self {
        let planned =
            |seed| Planned { name: format!("seed-{seed}"), config: Config { seed, ..config.clone() } };
        let members = (0..u64::from(count)).map(|n| planned(config.seed.wrapping_add(n))).collect();
        Self { kind: Kind::Seeds, at_once, members }
    }

    /// `count` windows over the days that `spec` holds out.
    ///
    /// # Errors
    /// If there is no market, or there are too few days.
    pub fn walk_forward(
        config: &Config,
        spec: &Spec,
        (count, embargo_days): (u32, u32),
        at_once: usize,
    ) -> Result<Self> {
        let market = spec.market.as_ref().context("--walk-forward needs a market (serve features)")?;
        let windows = window::expanding(market, count, embargo_days)?;
        let planned = |(window, n)| Planned {
            name: format!("window-{n}"),
            config: Config { window: Some(window), ..config.clone() },
        };
        Ok(Self {
            kind: Kind::WalkForward,
            at_once,
            members: windows.into_iter().zip(1..).map(planned).collect(),
        })
    }

    /// What the directory of the group is called, after its date.
    pub fn mark(&self) -> String {
        match (self.kind, self.members.first().zip(self.members.last())) {
            (Kind::Seeds, Some((first, last))) => format!("seeds-{}-{}", first.config.seed, last.config.seed),
            _ => format!("walk-forward-{}", self.members.len()),
        }
    }

    /// The command of its algorithm.
    pub fn algorithm(&self) -> &'static str {
        self.members.first().map_or("ppo", |member| member.config.algorithm.name())
    }

    /// Whether a group lies in `directory`.
    pub fn lies_in(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Writes it into the group's `directory`.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write(&self, directory: &Path) -> Result<()> {
        put_file(&directory.join(FILE), &toml::to_string(self).context(FILE)?)
    }

    /// Reads it from the group's `directory`.
    ///
    /// # Errors
    /// If it is not there, or damaged.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).map_err(|error| anyhow!("{}: {}", path.display(), error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::window::Window;

    #[test]
    fn a_plan_reads_back_as_it_was() {
        let mut plan = GroupPlan::seeds(&Config { seed: 4, ..Config::default() }, 3, 2);
        plan.members[1].config.window =
            Some(Window { train: "2026-01-01..2026-01-02".into(), ..Window::default() });
        let directory = tempfile::tempdir().unwrap();
        assert!(!GroupPlan::lies_in(directory.path()));
        plan.write(directory.path()).unwrap();
        assert!(GroupPlan::lies_in(directory.path()));
        assert_eq!(GroupPlan::read(directory.path()).unwrap(), plan);
        assert_eq!((plan.mark(), plan.algorithm()), ("seeds-4-6".to_owned(), "ppo"));
    }
}
