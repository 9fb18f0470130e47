//! Numbers, times and days as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wire::spec::{Days, Market};

/// A time as people at the exchange write it.
pub fn local_time(ts_micros: i64, zone: &TimeZone) -> String {
    Timestamp::from_microsecond(ts_micros).map_or_else(
        |_| ts_micros.to_string(),
        |ts| zone.to_datetime(ts).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// The date of a time at the exchange.
pub fn local_date(ts_micros: i64, zone: &TimeZone) -> String {
    local_time(ts_micros, zone).chars().take(10).collect()
}

/// A range of days in words: `30 days, 2026-01-02 to 2026-02-13`.
pub fn days_in_words(market: &Market, days: Days) -> String {
    let date = |ordinal: u32| market.calendar.get(ordinal as usize).map_or("?", String::as_str);
    format!("{}, {} to {}", plural(days.count().into(), "day"), date(days.first), date(days.last))
}

/// A fraction as a percentage with its sign.
pub fn percent(fraction: f64) -> String {
    // What rounds to zero has no sign worth showing.
    let percent = 100.0 * fraction;
    if percent.abs() < 0.005 { "0.00 %".into() } else { format!("{percent:+.2} %") }
}

/// A number of things: `1 day`, `30 days`.
pub fn plural(count: u64, thing: &str) -> String {
    match (count, thing.strip_suffix('y').filter(|stem| !stem.ends_with('a'))) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{} {stem}ies", thousands(count)),
        _ => format!("{} {thing}s", thousands(count)),
    }
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, -0.000_01, 0.012_34, -1.0].map(percent),
            ["0.00 %", "0.00 %", "+1.23 %", "-100.00 %"]
        );
        assert_eq!((plural(1, "day"), plural(2, "day")), ("1 day".into(), "2 days".into()));
        assert_eq!(plural(3, "policy"), "3 policies");
    }

    #[test]
    fn times_are_those_of_the_exchange() {
        let zone = crate::judgement::play::time_zone("Asia/Kolkata");
        assert_eq!(local_time(0, &zone), "1970-01-01 05:30:00");
        assert_eq!(local_date(86_400_000_000, &zone), "1970-01-02");
    }
}
