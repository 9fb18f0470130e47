//! See the library of the same name.

fn main() -> std::process::ExitCode {
    cli::run_main("featgen", featgen::run)
}
