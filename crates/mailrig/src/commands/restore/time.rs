//! Points in time as people type them: absolute, local, or so long ago.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// A time with zone, or a local date with or without a time, or a span before now. A date alone
/// means its end.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(span) = text.trim_end_matches("ago").trim().parse::<Span>() {
        let time = Zoned::now().checked_sub(span.abs()).map_err(|e| e.to_string())?;
        return Ok(time.timestamp());
    }
    let civil = match text.parse::<jiff::civil::Date>() {
        Ok(date) if text.len() <= 10 => date.at(23, 59, 59, 0),
        _ => text.parse::<DateTime>().map_err(|e| e.to_string())?,
    };
    let zoned = civil.to_zoned(TimeZone::system()).map_err(|e| e.to_string())?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let time = |text: &str| parse(text).unwrap();
        assert_eq!(time("2026-11-20T12:00:00Z").as_second(), 1_795_176_000);
        assert_eq!(time("2026-11-20"), time("2026-11-20 23:59:59"));
        let ago = |text: &str| Timestamp::now().as_second() - time(text).as_second();
        for (text, seconds) in [("36h", 36 * 3600), ("90m ago", 5400), ("2d ago", 2 * 86_400)] {
            assert!((ago(text) - seconds).abs() < 7200, "{text}: {}", ago(text));
        }
        for text in ["", "yesterdayish", "2026-13-01", "ago"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
