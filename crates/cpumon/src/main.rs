//! Shows what the cores do beside any process.

use std::process::ExitCode;

use clap::Parser;
use cli::Exit;

fn main() -> ExitCode {
    let raw: Vec<_> = std::env::args_os().collect();
    // Around a command, whatever is cpumon's own fault must not look like an exit code of the command.
    let own_failure = if raw.iter().any(|word| word == "--") { Exit::Code(125) } else { Exit::Usage };
    let ends_there = raw.last().is_some_and(|word| word == "--");
    let arguments = match cpumon::cli::Arguments::try_parse_from(raw) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { own_failure.into() } else { ExitCode::SUCCESS };
        }
    };
    if ends_there && !arguments.has_command() {
        cli::say("cpumon: there is no command after -- (an empty variable?)");
        return own_failure.into();
    }
    cpumon::run::run(arguments).into()
}
