//! Serves a batched multi-core trading environment on stdin and stdout or a Unix socket.
//! See the library of the same name.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    envpool::log::speak_from_background();
    let arguments = envpool::cli::Arguments::parse();
    cli::run_main("envpool", || envpool::run(arguments))
}
