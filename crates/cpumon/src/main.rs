//! Shows what the cores do beside any process.

use std::process::ExitCode;

use clap::Parser;
use cli::Exit;

fn main() -> ExitCode {
    let raw: Vec<_> = std::env::args_os().collect();
    // Around a command, whatever is cpumon's own fault must not look like an exit code of the command.
    let own_failure = if raw.iter().any(|word| word == "--") { Exit::Code(125) } else { Exit::Usage };
    let arguments = match cpumon::cli::Arguments::try_parse_from(raw) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { own_failure.into() } else { ExitCode::SUCCESS };
        }
    };
    cpumon::run::run(arguments).into()
}
