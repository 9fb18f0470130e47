//! From the text of a date or time to an instant and a trading date.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A point in time as a file spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Local date and time; the zone is the reader's to know.
    Civil(DateTime),
    /// Local date and time with its distance from UTC.
    Offset(DateTime, Offset),
    /// An instant: microseconds since 1970 in UTC.
    Instant(i64),
}

/// Reads `2023-07-03`, `2023-07-03 09:15[:00[.000000]]`, the same with `T`, with `Z` or `+05:30` behind it,
/// `20230703`, `03-Jul-2023`, and seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart
/// by their size). Dates such as 03/07/2023 are refused, since nobody can say which number is the month.
pub fn parse(text: &str) -> Option<Stamp> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
        return parse_digits(text);
    }
    let (date, rest) = parse_date(text)?;
    if rest.is_empty() {
        return Some(Stamp::Civil(date.at(0, 0, 0, 0)));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
    let (time, zone) = parse_time(rest)?;
    let civil = date.to_datetime(time);
    match zone.trim() {
        "" => Some(Stamp::Civil(civil)),
        zone => Some(Stamp::Offset(civil, parse_offset(zone)?)),
    }
}

/// What is said of a text that [`parse`] does not read.
pub fn not_understood(text: &str) -> String {
    format!("time \"{text}\" is not understood (write it as 2023-07-03 09:15:00+05:30)")
}

/// Reads a time of day, `09:15`, `09:15:00` or `09:15:00.5`, and gives back what follows it.
pub fn parse_time(text: &str) -> Option<(jiff::civil::Time, &str)> {
    let bytes = text.as_bytes();
    let hour = two_digits(bytes, 0)?;
    if bytes.get(2) != Some(&b':') {
        return None;
    }
    let minute = two_digits(bytes, 3)?;
    let (mut second, mut nanos, mut end) = (0, 0_i32, 5);
    if bytes.get(5) == Some(&b':') {
        second = two_digits(bytes, 6)?;
        end = 8;
        if bytes.get(8) == Some(&b'.') {
            let digits = bytes[9..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            nanos = text[9..9 + digits].parse().ok()?;
            nanos = (digits..9).fold(nanos, |value, _| value * 10);
            end = 9 + digits;
        }
    }
    let time = jiff::civil::Time::new(hour, minute, second, nanos).ok()?;
    Some((time, &text[end..]))
}

/// Microseconds since 1970 in UTC of a local date and time in `zone`.
pub fn civil_to_micros(civil: DateTime, zone: &TimeZone) -> Option<i64> {
    zone.to_timestamp(civil).ok().map(jiff::Timestamp::as_microsecond)
}

/// Microseconds since 1970 in UTC of a local date and time at a fixed distance from UTC.
pub fn offset_to_micros(civil: DateTime, offset: Offset) -> Option<i64> {
    offset.to_timestamp(civil).ok().map(jiff::Timestamp::as_microsecond)
}

/// The local date and time of an instant.
pub fn micros_to_civil(micros: i64, zone: &TimeZone) -> Option<DateTime> {
    let timestamp = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(zone.to_datetime(timestamp))
}

/// A date's distance from 1970-01-01 in days.
pub fn day_number(date: Date) -> i32 {
    // Civil dates lie within ten thousand years, so their distance fits.
    offset_to_micros(date.at(0, 0, 0, 0), Offset::UTC)
        .map_or(i32::MIN, |micros| (micros / (86_400 * MICROS_PER_SECOND)) as i32)
}

/// The date so many days after 1970-01-01.
pub fn day_date(day: i32) -> Date {
    micros_to_civil(i64::from(day) * 86_400 * MICROS_PER_SECOND, &TimeZone::UTC)
        .map_or(Date::MIN, DateTime::date)
}

/// An instant as people of the exchange read it, `2023-07-03 09:20`.
pub fn display(micros: i64, zone: &TimeZone) -> String {
    micros_to_civil(micros, zone)
        .map_or_else(|| micros.to_string(), |civil| civil.strftime("%Y-%m-%d %H:%M").to_string())
}

/// A zone by its IANA name or as a fixed offset such as `+05:30`.
pub fn zone_by_name(name: &str) -> Option<TimeZone> {
    match name.as_bytes().first()? {
        b'+' | b'-' => parse_offset(name).map(TimeZone::fixed),
        _ => TimeZone::get(name).ok(),
    }
}

fn parse_digits(text: &str) -> Option<Stamp> {
    let value: i64 = text.parse().ok()?;
    if text.len() == 8 {
        let (year, month, day) = (value / 10_000, value / 100 % 100, value % 100);
        return Some(Stamp::Civil(Date::new(year as i16, month as i8, day as i8).ok()?.at(0, 0, 0, 0)));
    }
    match text.len() {
        9 | 10 => value.checked_mul(MICROS_PER_SECOND).map(Stamp::Instant),
        12 | 13 => value.checked_mul(1_000).map(Stamp::Instant),
        15 | 16 => Some(Stamp::Instant(value)),
        18 | 19 => Some(Stamp::Instant(value / 1_000)),
        _ => None,
    }
}

fn parse_date(text: &str) -> Option<(Date, &str)> {
    let bytes = text.as_bytes();
    if bytes.len() >= 10 && matches!(bytes[4], b'-' | b'/') && bytes[7] == bytes[4] {
        let year = i16::from(two_digits(bytes, 0)?) * 100 + i16::from(two_digits(bytes, 2)?);
        let date = Date::new(year, two_digits(bytes, 5)?, two_digits(bytes, 8)?).ok()?;
        return Some((date, &text[10..]));
    }
    // NSE's own spelling, 03-Jul-2023.
    if bytes.len() >= 11 && bytes[2] == b'-' && bytes[6] == b'-' && text.is_ascii() {
        const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
        let month = MONTHS.find(&text[3..6].to_ascii_lowercase()).filter(|place| place % 3 == 0)? / 3 + 1;
        let year = i16::from(two_digits(bytes, 7)?) * 100 + i16::from(two_digits(bytes, 9)?);
        return Some((Date::new(year, month as i8, two_digits(bytes, 0)?).ok()?, &text[11..]));
    }
    None
}

fn parse_offset(text: &str) -> Option<Offset> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Some(Offset::UTC);
    }
    let bytes = text.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = i32::from(two_digits(bytes, 1)?);
    let minutes = match &bytes[3..] {
        [] => 0,
        [b':', rest @ ..] | rest if rest.len() == 2 => i32::from(two_digits(rest, 0)?),
        _ => return None,
    };
    (minutes < 60).then(|| Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok())?
}

/// The seconds that `09:15` or `09:15:00`, and nothing else, lie after midnight.
pub fn seconds_of_day(bytes: &[u8]) -> Option<i64> {
    let part = |at: usize, limit: i8| two_digits(bytes, at).filter(|&value| value < limit).map(i64::from);
    let second = match bytes.len() {
        5 => 0,
        8 if bytes[5] == b':' => part(6, 60)?,
        _ => return None,
    };
    if bytes[2] != b':' {
        return None;
    }
    Some(part(0, 24)? * 3_600 + part(3, 60)? * 60 + second)
}

fn two_digits(bytes: &[u8], at: usize) -> Option<i8> {
    match bytes.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some(((tens - b'0') * 10 + ones - b'0') as i8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<String> {
        let kolkata = zone_by_name("Asia/Kolkata").unwrap();
        let micros = match parse(text)? {
            Stamp::Civil(civil) => civil_to_micros(civil, &kolkata)?,
            Stamp::Offset(civil, offset) => offset_to_micros(civil, offset)?,
            Stamp::Instant(micros) => micros,
        };
        Some(display(micros, &TimeZone::UTC))
    }

    #[test]
    fn every_spelling_of_one_instant_is_understood() {
        for text in [
            "2023-07-03 09:15:00+05:30",
            "2023-07-03T09:15+0530",
            "2023-07-03 03:45:00Z",
            "2023-07-03 09:15",
            "2023/07/03 09:15:00.000",
            "03-Jul-2023 09:15:00",
            "1688355900",
            "1688355900000",
            "1688355900000000",
        ] {
            assert_eq!(utc(text).as_deref(), Some("2023-07-03 03:45"), "{text}");
        }
        assert_eq!(utc("20230703").as_deref(), Some("2023-07-02 18:30"));
    }

    #[test]
    fn nonsense_and_ambiguous_dates_are_refused() {
        for text in
            ["", "n/a", "03/07/2023", "2023-13-01", "2023-07-03 25:00", "2023-07-03x", "2023-07-03 09:15 IST"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn day_numbers_and_dates_are_inverse() {
        for day in [-1, 0, 1, 19_541] {
            assert_eq!(day_number(day_date(day)), day);
        }
        assert_eq!(day_date(19_541).to_string(), "2023-07-03");
    }
}
