//! Where numbers come from: simulated, real, or nobody said. It travels with the data from the first file
//! to the last report, so that a result on simulated bars can never pass for a real one.
//!
//! A CSV file says so itself in a comment line, above its header as a rule, in one of two forms:
//!
//! ```text
//! # simulated by GENERATOR, seed N
//! # real: SOURCE
//! ```
//!
//! After the seed anything may follow that does not begin with a digit. [`Provenance::label`] writes these
//! lines and [`Provenance::from_label`] reads them.

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

impl Provenance {
    /// Reads a comment line, without its `#`. A comment that is no label gives `None`; a label that begins
    /// like one of the two forms and does not keep to it is an error, because guessing could turn
    /// simulated bars into unlabelled ones.
    pub fn from_label(comment: &str) -> Result<Option<Self>, String> {
        let comment = comment.trim();
        let lower = comment.to_ascii_lowercase();
        if let Some(source) = lower.strip_prefix("real:") {
            let source = comment[comment.len() - source.len()..].trim();
            if source.is_empty() {
                return Err("the label \"# real:\" names no source".to_owned());
            }
            return Ok(Some(Self::Real { source: source.to_owned() }));
        }
        if !lower.starts_with("simulated") {
            return Ok(None);
        }
        let parsed = lower.strip_prefix("simulated by ").and_then(|rest| {
            let start = comment.len() - rest.len();
            let end = start + rest.find(", seed ")?;
            let digits = &rest[end - start + ", seed ".len()..];
            let digits = &digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())];
            Some(Self::Simulated { generator: comment[start..end].to_owned(), seed: digits.parse().ok()? })
        });
        match parsed {
            Some(label) => Ok(Some(label)),
            None => Err(format!(
                "the label \"# {comment}\" does not read \"# simulated by GENERATOR, seed N\" (mend or remove it)"
            )),
        }
    }

    /// What the comment lines of a CSV text say, wherever they stand: below the header, too, as where one file was
    /// put behind another, and in quotes, as a spreadsheet saves them. Several labels are combined.
    pub fn of_comments(text: &[u8]) -> Result<Self, String> {
        const STEP: usize = 1 << 16;
        let mut all: Option<Self> = None;
        let mut start = 0;
        while start < text.len() {
            let end = text.len().min(start + STEP);
            // Rows hold no such sign, so that most of a file is passed over at the speed of memory.
            if !text[start..end].contains(&b'#') {
                start = end;
                continue;
            }
            for at in (start..end).filter(|&at| text[at] == b'#') {
                let Some(comment) = comment_at(text, at) else { continue };
                let Some(label) = Self::from_label(&String::from_utf8_lossy(comment))? else { continue };
                all = Some(match all {
                    Some(earlier) => earlier.combine(label),
                    None => label,
                });
            }
            start = end;
        }
        Ok(all.unwrap_or(Self::Unlabelled))
    }

    /// The comment line that says this, without its `#`; `None` where nobody said.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Simulated { generator, seed } => Some(format!("simulated by {generator}, seed {seed}")),
            Self::Real { source } => Some(format!("real: {source}")),
            Self::Unlabelled => None,
        }
    }

    /// What a batch of several inputs is: simulated as soon as one of them is, unlabelled as soon as one of
    /// the others is, and real only if all are.
    #[must_use]
    pub fn combine(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Simulated { generator, seed }, other) | (other, Self::Simulated { generator, seed }) => {
                let addition = other.to_string();
                let generator = if generator.contains(&addition) {
                    generator
                } else {
                    format!("{generator} and {addition}")
                };
                Self::Simulated { generator, seed }
            }
            (Self::Unlabelled, _) | (_, Self::Unlabelled) => Self::Unlabelled,
            (Self::Real { source: a }, Self::Real { source: b }) => {
                Self::Real { source: if a.contains(&b) { a } else { format!("{a}; {b}") } }
            }
        }
    }
}

/// The comment whose sign stands at `at`, without its signs and quotes, if only blanks, quotes, signs or a byte
/// order mark stand before it on its line.
fn comment_at(text: &[u8], at: usize) -> Option<&[u8]> {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'');
    let blanks = text[..at].iter().rev().take_while(|&&byte| is_blank(byte)).count();
    let before = &text[..at - blanks];
    let begins_a_line = matches!(before.last(), None | Some(b'\n' | b'\r'));
    if !begins_a_line && before != b"\xef\xbb\xbf" {
        return None;
    }
    let comment = &text[at..];
    let end = comment.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(comment.len());
    let comment = comment[..end].trim_ascii_start();
    let text = comment.iter().position(|byte| !matches!(byte, b'#' | b' ' | b'\t')).unwrap_or(comment.len());
    Some(&comment[text..])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(seed: u64) -> Provenance {
        Provenance::Simulated { generator: "market::simulate 1".into(), seed }
    }

    fn real(source: &str) -> Provenance {
        Provenance::Real { source: source.into() }
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        for provenance in [simulated(7), real("NSE 5-minute export")] {
            let label = provenance.label().unwrap();
            assert_eq!(Provenance::from_label(&label), Ok(Some(provenance)));
        }
        let more = " Simulated by market::simulate 1, seed 7: not market data";
        assert_eq!(Provenance::from_label(more), Ok(Some(simulated(7))));
        assert_eq!(Provenance::from_label("exported on Monday"), Ok(None));
    }

    #[test]
    fn a_broken_label_is_an_error_rather_than_no_label() {
        assert!(Provenance::from_label("simulated").is_err());
        assert!(Provenance::from_label("simulated by x, seed seven").is_err());
        assert!(Provenance::from_label("real:").is_err());
    }

    #[test]
    fn a_label_is_found_wherever_it_stands() {
        let found = |text: &str| Provenance::of_comments(text.as_bytes()).unwrap();
        let label = "# simulated by market::simulate 1, seed 7";
        assert_eq!(found("date,open\n1,2\n"), Provenance::Unlabelled);
        for text in [
            format!("{label}\ndate,open\n1,2\n"),
            format!("\u{feff}{label}\r\ndate,open\r\n"),
            format!("\n# made on Monday\n\n  {label}\ndate,open\n"),
            format!("date,open\n1,2\n{label}\n"),
            format!("date,open\n{}{label}", "1,2\n".repeat(50_000)),
            format!("\"{label}\",,,\ndate,open\n"),
            format!("#{label}\ndate,open\n"),
            format!("date,open\r{label}\r1,2\r"),
        ] {
            assert_eq!(found(&text), simulated(7), "{text:.60}");
        }
        assert_eq!(found("symbol,note\nA#1,# simulated\n"), Provenance::Unlabelled);
        assert!(matches!(found(&format!("# real: NSE\na\n{label}")), Provenance::Simulated { .. }));
        assert!(Provenance::of_comments(b"a,b\n# simulated\n").is_err());
    }

    #[test]
    fn one_simulated_input_makes_the_batch_simulated() {
        assert_eq!(simulated(7).combine(simulated(7)), simulated(7));
        for other in [real("NSE"), Provenance::Unlabelled, simulated(8)] {
            assert!(matches!(simulated(7).combine(other.clone()), Provenance::Simulated { .. }));
            assert!(matches!(other.combine(simulated(7)), Provenance::Simulated { .. }));
        }
        assert_eq!(real("a").combine(Provenance::Unlabelled), Provenance::Unlabelled);
        assert_eq!(real("a").combine(real("b")), real("a; b"));
    }
}
