//! Times as people type them: absolute, local, or so long ago.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// A time with zone, a local one, the start of a local day, or so long ago: `36h`, `7d`, `2w`.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    on_day(text, Time::MIN)
}

/// As [`parse`], but a day means its end.
pub(crate) fn parse_end(text: &str) -> Result<Timestamp, String> {
    on_day(text, Time::MAX)
}

fn on_day(text: &str, time_of_day: Time) -> Result<Timestamp, String> {
    if let Some(ago) = ago(text) {
        return Timestamp::now().checked_sub(ago).map_err(|e| e.to_string());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let civil = match text.parse::<Date>() {
        Ok(date) if text.len() <= 10 => date.to_datetime(time_of_day),
        _ => text.parse::<DateTime>().map_err(|_| EXPECTED.to_owned())?,
    };
    let zoned = civil.to_zoned(TimeZone::system()).map_err(|e| e.to_string())?;
    Ok(zoned.timestamp())
}

/// A time span: `500ms`, `30s`, `5m`, `36h`, `5d`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let bad = || "expected a time such as 500ms, 30s, 5m, 2h or 5d".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text[..end].parse().map_err(|_| bad())?;
    let unit_ms = match &text[end..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(bad)
}

fn ago(text: &str) -> Option<Duration> {
    let text = text.strip_suffix("ago").unwrap_or(text).trim();
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return None,
    };
    Some(Duration::from_mins(u64::from(number) * minutes))
}

/// `2026-11-21 03:00` here, of nanoseconds since 1970.
pub(crate) fn local_minute(time_ns: i64) -> String {
    Timestamp::from_nanosecond(time_ns.into()).map_or_else(
        |_| String::new(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

const EXPECTED: &str =
    "expected 2026-11-21, '2026-11-21 03:00', 2026-11-21T03:00:00Z, or so long ago: 36h, 7d, 2w";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_type_them() {
        let local = |text: &str| {
            let civil: DateTime = text.parse().unwrap();
            civil.to_zoned(TimeZone::system()).unwrap().timestamp()
        };
        assert_eq!(parse("2026-11-21"), Ok(local("2026-11-21T00:00")));
        assert_eq!(parse("2026-11-21 03:00"), Ok(local("2026-11-21T03:00")));
        let utc: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
        assert_eq!(parse("2026-11-21T04:00:00+01:00"), Ok(utc));
        assert_eq!(parse_end("2026-11-21"), Ok(local("2026-11-21T23:59:59.999999999")));
        assert_eq!(parse_end("2026-11-21 03:00"), parse("2026-11-21 03:00"));
        for (text, hours) in
            [("36h", 36), ("7d", 168), ("2w", 336), ("0d", 0), ("2d ago", 48), ("120m ago", 2)]
        {
            let before = Timestamp::now() - Duration::from_hours(hours);
            let difference = parse(text).unwrap().duration_since(before);
            assert!((-60..60).contains(&difference.as_secs()), "{text}");
        }
        for text in
            ["", "d", "7", "ago", "yesterday", "-1d", "99999999999d", "4294967295w", "2026-13-01"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
