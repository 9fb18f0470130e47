//! Man pages and completions out of a tool's own `clap` definitions, so that they never differ from `--help`.

use std::io;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// A manual page in roff.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Writes `page` for `command` to `out`.
pub fn write(page: Page, mut command: Command, out: &mut dyn io::Write) -> io::Result<()> {
    let shell = match page {
        Page::Man => return clap_mangen::Man::new(command).render(out),
        Page::Bash => Shell::Bash,
        Page::Zsh => Shell::Zsh,
        Page::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut buffer = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut buffer);
    out.write_all(&buffer)
}
