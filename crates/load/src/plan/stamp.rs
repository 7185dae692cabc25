//! The time at the start of a log's line: of syslog (no year), ISO 8601, or Exim. All of them are put on one scale on
//! which every year has a 29 February, for a line without a year does not say whether its year has; those days that
//! no line names are taken out at the end.

use std::collections::BTreeSet;

use jiff::civil::DateTime;

/// A time as a line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// None in syslog's.
    year: Option<i64>,
    /// Days since the start of a year that has 366.
    day: i64,
    /// Since midnight.
    micros: i64,
    /// Whether parts of a second are missing.
    pub(super) is_coarse: bool,
}

/// Puts stamps on the scale, in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    /// Microseconds of the last stamp on the scale.
    last: Option<i64>,
    /// What real years are ahead of ours, once a line has told one.
    ahead_years: Option<i64>,
    /// Years of which a line names 29 February.
    leap_years: BTreeSet<i64>,
}

impl Stamp {
    /// Reads a stamp and gives the line after it.
    pub(super) fn read(line: &str) -> Option<(Stamp, &str)> {
        Self::read_iso(line).or_else(|| Self::read_syslog(line))
    }

    /// Of milliseconds since 1970.
    pub(super) fn of_ms(ms: u64) -> Option<Stamp> {
        let instant = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
        Some(Self::of(instant.to_zoned(jiff::tz::TimeZone::UTC).datetime(), false))
    }

    fn of(time: DateTime, is_coarse: bool) -> Stamp {
        let day = day_of_year(time.month(), time.day());
        let seconds = i64::from(time.hour()) * 3600
            + i64::from(time.minute()) * 60
            + i64::from(time.second());
        let micros = seconds * 1_000_000 + i64::from(time.subsec_nanosecond() / 1000);
        Stamp { year: Some(i64::from(time.year())), day, micros, is_coarse }
    }

    /// `Nov  2 07:08:09`.
    fn read_syslog(line: &str) -> Option<(Stamp, &str)> {
        let month = MONTHS.iter().zip(1..).find(|(month, _)| line.starts_with(**month))?.1;
        let (day, rest) = line.get(3..)?.strip_prefix(' ')?.trim_start().split_once(' ')?;
        let (clock, rest) = rest.split_once(' ')?;
        let day: i8 = day.parse().ok()?;
        // A leap year, so that every day is one.
        let time: DateTime = format!("2000-{month:02}-{day:02}T{clock}").parse().ok()?;
        let stamp = Stamp { year: None, ..Self::of(time, !clock.contains('.')) };
        Some((stamp, rest))
    }

    /// `2026-11-22T20:12:26.123456+00:00` as well as Exim's `2026-11-22 20:12:26.123 +0000`.
    fn read_iso(line: &str) -> Option<(Stamp, &str)> {
        let separator = line.as_bytes().get(10)?;
        if !line.starts_with(|c: char| c.is_ascii_digit()) || !matches!(separator, b'T' | b' ') {
            return None;
        }
        let (date, rest) = (line.get(..10)?, line.get(11..)?);
        let (clock, mut rest) = rest.split_once(' ')?;
        let zone_at = clock.find(['+', '-', 'Z']).unwrap_or(clock.len());
        let (clock, mut zone) = clock.split_at(zone_at);
        let next = rest.split(' ').next().unwrap_or_default();
        if zone.is_empty() && next.len() == 5 && next.starts_with(['+', '-']) {
            (zone, rest) = (next, rest.get(6..)?);
        }
        let time: DateTime = format!("{date}T{clock}").parse().ok()?;
        let offset = jiff::SignedDuration::from_mins(zone_minutes(zone)?);
        Some((Self::of(time.checked_sub(offset).ok()?, !clock.contains('.')), rest))
    }
}

impl Calendar {
    /// Microseconds on the scale.
    pub(super) fn place(&mut self, stamp: Stamp) -> i64 {
        let within = stamp.day * DAY + stamp.micros;
        let near = || {
            // Of the years in which it can be the one that is nearest to the line before.
            let last = self.last.unwrap_or(within);
            let year = last.div_euclid(YEAR);
            let away = |year: &i64| (year * YEAR + within - last).abs();
            (year - 1..=year + 1).min_by_key(away).unwrap_or(year)
        };
        let year = match (stamp.year, self.ahead_years) {
            (Some(year), Some(ahead)) => year - ahead,
            (Some(year), None) => {
                let near = near();
                self.ahead_years = Some(year - near);
                near
            }
            (None, _) => near(),
        };
        if stamp.day == LEAP_DAY {
            self.leap_years.insert(year);
        }
        let placed = year * YEAR + within;
        self.last = Some(placed);
        placed
    }

    /// Microseconds between two times of the scale, without the days that were not.
    pub(super) fn between(&self, from: i64, to: i64) -> u64 {
        (self.real(to) - self.real(from)).max(0).unsigned_abs()
    }

    fn real(&self, placed: i64) -> i64 {
        let (year, within) = (placed.div_euclid(YEAR), placed.rem_euclid(YEAR));
        let is_after =
            |year: i64| within >= (LEAP_DAY + 1) * DAY && !self.leap_years.contains(&year);
        let leaps_before = self.leap_years.range(..year).count() as i64;
        placed - (year - leaps_before + i64::from(is_after(year))) * DAY
    }
}

/// In a year of 366 days, from 0.
fn day_of_year(month: i8, day: i8) -> i64 {
    let before = [0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335];
    let month = usize::try_from(month - 1).unwrap_or_default();
    before.get(month).copied().unwrap_or_default() + i64::from(day) - 1
}

/// East of Greenwich: `Z`, `+0100`, `+01:00`; nothing counts as zero.
fn zone_minutes(zone: &str) -> Option<i64> {
    let Some(sign) = zone.bytes().next().filter(|sign| *sign != b'Z') else {
        return (zone.len() < 2).then_some(0);
    };
    let digits = zone[1..].replace(':', "");
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let minutes = number / 100 * 60 + number % 100;
    Some(if sign == b'-' { -minutes } else { minutes })
}

const DAY: i64 = 86_400_000_000;
const YEAR: i64 = 366 * DAY;
/// 29 February.
const LEAP_DAY: i64 = 59;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds between the first line and each.
    fn seconds(lines: &[&str]) -> Vec<u64> {
        let mut calendar = Calendar::default();
        let stamps = lines.iter().map(|line| Stamp::read(&format!("{line} rest")).unwrap().0);
        let placed: Vec<i64> = stamps.map(|stamp| calendar.place(stamp)).collect();
        placed.iter().map(|at| calendar.between(placed[0], *at) / 1_000_000).collect()
    }

    #[test]
    fn every_form_is_read() {
        let same = [
            "2026-11-22 20:12:26",
            "2026-11-22T20:12:26Z",
            "2026-11-22T21:12:26.000+01:00",
            "2026-11-22T15:12:26-0500",
            "2026-11-23 01:42:26.500 +0530",
            "Nov 22 20:12:26",
        ];
        assert_eq!(seconds(&same), [0; 6]);
        assert_eq!(seconds(&["Nov  2 00:00:00", "Nov 12 00:00:01"]), [0, 864_001]);
        for (line, rest) in [
            ("2026-11-22 20:12:26.1 +0100 [7] x", "[7] x"),
            ("2026-11-22 20:12:26 [7] x", "[7] x"),
            ("Nov  2 20:12:26 mx x", "mx x"),
        ] {
            assert_eq!(Stamp::read(line).unwrap().1, rest, "{line}");
        }
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for line in [
            "",
            "Nov",
            "Nov 22",
            "Nov 31 00:00:00 x",
            "Nov 22 25:00:00 x",
            "Nov -2 00:00:00 x",
            "2026-13-01 00:00:00 x",
            "2026-11-22T20:12:26+99 x",
            "2026-11-22T20:12:26+é1 x",
            "2026-11-2é 20:12:26 x",
            "9999-12-31T23:59:59-9900 x",
        ] {
            assert_eq!(Stamp::read(line), None, "{line}");
        }
    }

    #[test]
    fn years_and_leap_days_are_guessed() {
        let day = 86_400;
        assert_eq!(seconds(&["Dec 31 23:59:59", "Jan  1 00:00:01"]), [0, 2]);
        // A late line of the old year does not begin another.
        let late = ["Dec 31 23:59:58", "Jan  1 00:00:01", "Dec 31 23:59:59", "Jan  1 00:00:02"];
        assert_eq!(seconds(&late), [0, 3, 1, 4]);
        assert_eq!(seconds(&["Feb 28 12:00:00", "Mar  1 12:00:00"]), [0, day]);
        let leap = ["Feb 28 12:00:00", "Feb 29 12:00:00", "Mar  1 12:00:00"];
        assert_eq!(seconds(&leap), [0, day, 2 * day]);
        // The server was upgraded, and its log has years from then on.
        let upgraded = ["Dec 31 23:59:59", "2026-01-01T00:00:01Z", "2026-03-01T00:00:01Z"];
        assert_eq!(seconds(&upgraded), [0, 2, 59 * day + 2]);
        assert_eq!(seconds(&["2025-06-01 00:00:00", "2027-06-01 00:00:00"]), [0, 730 * day]);
    }
}
