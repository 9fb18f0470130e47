//! Flags about the service itself, and the commands that need no data of the user's.

use clap::{Args, ValueEnum};

/// How the log on stderr is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line, clients' coming and going included.
    Json,
}

/// How to serve.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Service")]
pub struct ServiceArguments {
    /// Serve on the Unix socket at PATH rather than on stdin and stdout.
    ///
    /// Any number of clients may connect, each with its own sessions. The socket is removed at the end; one that a
    /// dead server left behind is replaced.
    #[arg(long, value_name = "unix:PATH")]
    pub listen: Option<String>,

    /// Who may connect to the socket, as an octal file mode: 0660 lets the group in.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = parse_mode, requires = "listen")]
    pub socket_mode: u32,

    /// End a client that has had no session open for SECONDS [default: never].
    ///
    /// At most 64 clients are connected at a time, and one that does nothing keeps its place from others. A client with
    /// a session may think as long as it likes.
    #[arg(long, value_name = "SECONDS", value_parser = parse_limit, requires = "listen")]
    pub idle_timeout: Option<f64>,

    /// How the log on stderr is written.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Asks a server whether it serves.
#[derive(Debug, Clone, Args)]
pub struct PingArguments {
    /// Where it listens.
    #[arg(value_name = "unix:PATH")]
    pub address: String,

    /// Wait up to this many seconds for it to listen.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = parse_seconds)]
    pub wait: f64,
}

/// Measures steps a second delivered to another process.
#[derive(Debug, Clone, Args)]
pub struct BenchArguments {
    /// Numbers of environments.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "256,4096",
          value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub envs: Vec<u32>,

    /// Rows of the table, of 64 numbers each with the account: 18000 fit a cache, 4000000 (1 GB) do not.
    #[arg(long, value_name = "ROWS", default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(750..=20_000_000))]
    pub rows: u32,

    /// Threads that step environments [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,

    /// Measurements of each kind, made in turn; their median counts.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// How long one measurement lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3, value_parser = parse_seconds)]
    pub seconds: f64,

    /// Print JSON rather than a table.
    #[arg(long)]
    pub json: bool,

    /// Serve the table on stdin and stdout: what the benchmark starts.
    #[arg(long, hide = true)]
    pub serve: bool,
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err("not an octal mode from 0600 to 0777 with which its own user may connect".into()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 0 to 86400".into()),
    }
}

fn parse_limit(text: &str) -> Result<f64, String> {
    // A shorter one would end clients between their hello and their first session.
    parse_seconds(text)
        .ok()
        .filter(|&seconds| seconds >= 1.0)
        .ok_or("not a number of seconds from 1 to 86400".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_a_client_open_its_session() {
        assert_eq!((parse_limit("1"), parse_limit("2.5")), (Ok(1.0), Ok(2.5)));
        for text in ["0", "0.9", "-1", "nan", "inf", "86401", "soon"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_octal_and_let_their_own_user_in() {
        for (text, expected) in [("600", 0o600), ("0660", 0o660), ("0o666", 0o666)] {
            assert_eq!(parse_mode(text), Ok(expected));
        }
        for text in ["", "0", "60", "0888", "01777", "-600", "rw"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }
}
