//! Learns a policy with libtorch against an environment server, and judges it on held-out days.
//! See the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run_main("train", train::run::run)
}
