//! Numbers and names as they are written for a reader.

/// `value` to so many decimal places, so that lines are not mostly digits that mean nothing.
pub fn round(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

/// A number of cores, with a decimal place only where it has one.
pub fn cores(count: f64) -> String {
    if count.fract() < 0.05 { format!("{count:.0}") } else { format!("{count:.1}") }
}

/// A number and what it counts.
pub fn counted(count: impl Into<u64>, one: &str, more: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A share as a whole percentage.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Seconds, as finely as a reader wants them.
pub fn seconds(seconds: f64) -> String {
    if seconds < 9.995 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

/// A block as high as the share.
pub fn block(share: f64) -> char {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BLOCKS[((share.clamp(0.0, 1.0) * 8.0) as usize).min(7)]
}

/// A name that a process chose, without whatever would move the cursor or end the line.
pub fn plain(name: &str) -> String {
    name.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_fine_as_they_mean_something() {
        assert_eq!([cores(2.0), cores(1.5), cores(15.99)], ["2", "1.5", "16.0"]);
        assert_eq!([seconds(0.126), seconds(9.994), seconds(9.996)], ["0.13 s", "9.99 s", "10.0 s"]);
        assert_eq!([counted(1_u32, "core", "cores"), counted(2_u32, "core", "cores")], ["1 core", "2 cores"]);
        assert_eq!((round(0.126_49, 3), percent(0.126)), (0.126, "13 %".to_owned()));
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 7.0].map(block), ['▁', '▁', '▅', '█', '█']);
    }

    #[test]
    fn a_name_cannot_draw_on_the_terminal() {
        assert_eq!(plain("a\nb\x1b[2J"), "a b [2J");
    }
}
