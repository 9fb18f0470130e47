//! Standard error: what is said to a person.

use std::io::{self, Write};

/// Says one thing. Nobody listening there is no reason to fail.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
