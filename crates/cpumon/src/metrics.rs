//! The newest sample for Prometheus, over the least of HTTP that it takes. One client at a time, each with two
//! seconds, so that nobody can hold it up for long or make it grow.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::platform;
use crate::sample::Sample;

/// A server in a thread of its own, which ends with the process.
pub struct Metrics {
    /// Where it listens.
    pub address: SocketAddr,
    effective_cores: f64,
    text: Arc<Mutex<String>>,
}

const PATIENCE: Duration = Duration::from_secs(2);
const MOST_REQUEST_BYTES: usize = 8192;

impl Metrics {
    /// Listens at `address`; a port of 0 takes any that is free.
    pub fn serve(address: SocketAddr, effective_cores: f64) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("{address}: cannot be listened at (--prometheus)"))?;
        let address = listener.local_addr().context("--prometheus")?;
        let text = Arc::new(Mutex::new(render(&Sample::default(), effective_cores)));
        let served = Arc::clone(&text);
        thread::Builder::new().name("cpumon-metrics".to_owned()).spawn(move || {
            for client in listener.incoming() {
                match client {
                    // A client that goes away or breaks the rules is its own problem.
                    Ok(client) => drop(answer(client, &served)),
                    // Without descriptors left this would spin.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(Self { address, effective_cores, text })
    }

    /// Replaces what is served.
    pub fn update(&self, sample: &Sample) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = render(sample, self.effective_cores);
    }
}

fn answer(mut client: TcpStream, text: &Mutex<String>) -> std::io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    client.set_write_timeout(Some(PATIENCE))?;
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") && request.len() < MOST_REQUEST_BYTES {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        client.set_read_timeout(Some(left))?;
        match client.read(&mut piece)? {
            0 => break,
            length => request.extend_from_slice(&piece[..length]),
        }
        if Instant::now() >= deadline {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut words = request.split_ascii_whitespace();
    let (status, body) = match (words.next(), words.next().and_then(|path| path.split('?').next())) {
        (Some("GET"), Some("/metrics" | "/")) => {
            ("200 OK", text.lock().unwrap_or_else(PoisonError::into_inner).clone())
        }
        (Some("GET"), Some(_)) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        (Some(_), Some(_)) => ("405 Method Not Allowed", "only GET\n".to_owned()),
        _ => ("400 Bad Request", "no request\n".to_owned()),
    };
    let length = body.len();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    client.write_all((head + &body).as_bytes())
}

/// What the system does not tell is left out, as Prometheus wants it.
fn render(sample: &Sample, effective_cores: f64) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(
                text,
                "# HELP cpumon_{name} {help}\n# TYPE cpumon_{name} {kind}\ncpumon_{name} {value}"
            );
        }
    };
    let s = sample;
    gauge("effective_cores", "Cores that may be used.", Some(effective_cores));
    gauge("parallelism", "Cores used in the last interval.", s.parallelism);
    gauge("cpu_seconds_total", "CPU time of what is watched.", s.cpu_s);
    gauge("processes", "Processes watched.", s.processes.map(f64::from));
    gauge("threads", "Threads watched.", s.threads.map(f64::from));
    gauge("running_threads", "Threads on a core, on average.", s.running);
    gauge("waiting_threads", "Threads ready and without a core, on average.", s.waiting);
    gauge("run_wait_ratio", "Of the time that threads wanted a core, the share without one.", s.run_wait);
    gauge("iowait_ratio", "Share of the cores' time idle for a disk.", s.losses.iowait);
    gauge("steal_ratio", "Share of the cores' time given away by the hypervisor.", s.losses.steal);
    gauge("throttled_ratio", "Share of a quota's periods in which it ran out.", s.losses.throttled);
    gauge("cpu_pressure_ratio", "Share of the time in which a thread had no core.", s.losses.cpu_pressure);
    gauge(
        "io_pressure_ratio",
        "Share of the time in which a thread waited for a disk.",
        s.losses.io_pressure,
    );
    gauge(
        "memory_pressure_ratio",
        "Share of the time in which a thread waited for memory.",
        s.losses.memory_pressure,
    );
    gauge("load1", "Load average over one minute.", s.load_1min);
    gauge("resident_bytes", "Memory resident.", s.resident_bytes.map(|bytes| bytes as f64));
    gauge("own_cpu_seconds_total", "CPU time of cpumon itself.", Some(platform::own_cpu_s()));
    if let Some(cores) = &s.cores {
        text.push_str("# HELP cpumon_core_busy_ratio Share in which a core worked.\n# TYPE cpumon_core_busy_ratio gauge\n");
        for (core, busy) in cores.iter().enumerate() {
            let _ = writeln!(text, "cpumon_core_busy_ratio{{core=\"{core}\"}} {busy}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_newest_sample_is_served_and_nonsense_is_refused() {
        let metrics = Metrics::serve("127.0.0.1:0".parse().unwrap(), 2.0).unwrap();
        let sample = Sample { parallelism: Some(1.5), cores: Some(vec![0.25]), ..Sample::default() };
        metrics.update(&sample);
        let text = ask(metrics.address, "GET /metrics?from=here HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\ncpumon_parallelism 1.5\n") && !text.contains("steal"), "{text}");
        assert!(text.contains("cpumon_core_busy_ratio{core=\"0\"} 0.25\n"));
        assert!(ask(metrics.address, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask(metrics.address, "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(Metrics::serve(metrics.address, 2.0).is_err(), "the port is taken");
    }

    #[test]
    fn a_silent_client_does_not_hold_up_the_next_one_for_long() {
        let metrics = Metrics::serve("127.0.0.1:0".parse().unwrap(), 2.0).unwrap();
        let silent = TcpStream::connect(metrics.address).unwrap();
        let start = Instant::now();
        assert!(ask(metrics.address, "GET / HTTP/1.1\r\n\r\n").contains("cpumon_effective_cores 2\n"));
        assert!(start.elapsed() < 4 * PATIENCE);
        drop(silent);
    }
}
