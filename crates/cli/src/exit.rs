//! Exit codes, and the one place where an error becomes a line on stderr.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How a tool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// Something failed; a line on stderr says what.
    Failed,
    /// The command line or its combination of values makes no sense.
    Usage,
    /// A batch was done except for inputs that were skipped and listed.
    Partial,
    /// Ended with the code of the command that was wrapped.
    Code(u8),
}

impl Exit {
    /// The number the operating system gets.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Code(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error in what was asked for, rather than in doing it: the tool exits with [`Exit::Usage`].
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Runs a tool's `run` and turns its outcome into an exit code. An error is printed to stderr as one line,
/// `tool: outer: inner: cause`. A reader that closed our standard output is no error.
pub fn run_main(tool: &str, run: impl FnOnce() -> anyhow::Result<Exit>) -> ExitCode {
    match run() {
        Ok(exit) => exit.into(),
        Err(error) => report(&error, |text| crate::say(&format!("{tool}: {text}"))).into(),
    }
}

/// Has `say` say what went wrong, in one line, and gives what the tool ends with. Nothing is said where only the
/// reader of our output has gone.
pub fn report(error: &anyhow::Error, say: impl FnOnce(&str)) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    say(&one_line(error));
    if error.chain().any(<dyn std::error::Error + 'static>::is::<UsageError>) {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // A wrapped error often repeats its source; say each thing once.
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}

/// Whether an error is the reader of our output having gone away, which ends a tool quietly.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn codes_are_those_of_the_documentation() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Partial, Exit::Code(42)].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 42]);
    }

    #[test]
    fn an_error_is_one_line_from_outer_to_inner() {
        let error = Err::<(), _>(io::Error::other("disk\nfull")).context("a.csv").unwrap_err();
        assert_eq!(one_line(&error), "a.csv: disk full");
    }

    #[test]
    fn a_closed_pipe_is_success_and_a_usage_error_is_two() {
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report(&pipe, |text| panic!("{text}")), Exit::Done);
        let usage = anyhow::Error::from(UsageError("no input".into())).context("reading flags");
        let mut said = String::new();
        assert_eq!(report(&usage, |text| said = text.into()), Exit::Usage);
        assert_eq!(said, "reading flags: no input");
    }
}
