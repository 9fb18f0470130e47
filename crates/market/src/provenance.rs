//! Where numbers come from: simulated, real, or nobody said. It travels with the data from the first file
//! to the last report, so that a result on simulated bars can never pass for a real one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a set of bars comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Provenance {
    /// Made by a generator.
    Simulated {
        /// The generator's name and version.
        generator: String,
        /// The seed that reproduces it.
        seed: u64,
    },
    /// Real bars, as somebody who knows the source said.
    Real {
        /// The source in that person's words.
        source: String,
    },
    /// Nobody said.
    Unlabelled,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simulated { generator, seed } => write!(f, "SIMULATED ({generator}, seed {seed})"),
            Self::Real { source } => write!(f, "real ({source})"),
            Self::Unlabelled => write!(f, "unlabelled"),
        }
    }
}
