//! What the server says on stderr while it serves: lines for people, or a JSON object a line for a collector.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use cli::Exit;
use serde_json::{Value, json};

use crate::cli::LogFormat;

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Chooses the format for this process.
pub fn set_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Has what this process says reach its terminal from the background too, where a client may have put it so that Ctrl-C
/// is not for it: with `stty tostop` it would be stopped there at its first word, and nobody would hear why.
pub fn speak_from_background() {
    // SAFETY: to ignore a signal runs no code of ours in a handler.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
}

/// Something that people want to know.
pub fn tell(event: &str, text: &str) {
    if IS_JSON.load(Ordering::Relaxed) {
        write_json("info", event, json!({ "text": text }));
    } else {
        let _ = writeln!(std::io::stderr(), "envpool: {text}");
    }
}

/// Something that only a collector wants to know; `fields` must be an object.
pub fn note(event: &str, fields: Value) {
    if IS_JSON.load(Ordering::Relaxed) {
        write_json("info", event, fields);
    }
}

/// Something that went wrong, after which the server goes on.
pub fn warn(event: &str, text: &str) {
    if IS_JSON.load(Ordering::Relaxed) {
        write_json("warning", event, json!({ "text": text }));
    } else {
        let _ = writeln!(std::io::stderr(), "envpool: {text}");
    }
}

/// What the process ends of.
pub fn fail(error: &anyhow::Error) -> Exit {
    cli::exit::report(error, |text| {
        if IS_JSON.load(Ordering::Relaxed) {
            write_json("error", "failed", json!({ "text": text }));
        } else {
            cli::say(&format!("envpool: {text}"));
        }
    })
}

fn write_json(level: &str, event: &str, mut fields: Value) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    fields["ts"] = json!((seconds * 1e3).round() / 1e3);
    fields["level"] = json!(level);
    fields["event"] = json!(event);
    // One write, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{fields}\n").as_bytes());
}
