//! Rates and durations as people write them: `200/s`, `12000/min`, `1h30m`.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::{FASTEST_PER_S, LONGEST};

/// A text that is no rate or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// No number and unit.
    #[error("`{0}` is no rate: it is such as 200/s, 12000/min or 1e3/h")]
    Rate(String),
    /// Below zero, or faster than can be.
    #[error("the rate `{0}` is not from 0 to 10000000/s")]
    RateRange(String),
    /// No numbers with units.
    #[error("`{0}` is no duration: it is such as 30s, 5m or 1h30m")]
    Duration(String),
    /// Nothing, or too long.
    #[error("the duration `{0}` is not above 0 and up to 366 days")]
    DurationRange(String),
}

/// Reads a rate such as `200/s`, `12000/min` or `1e3/h`; in arrivals per second. Zero is one too.
pub fn parse_rate(text: &str) -> Result<f64, BadQuantity> {
    let bad = || BadQuantity::Rate(excerpt(text));
    let (number, unit) = text.trim().split_once('/').ok_or_else(bad)?;
    let seconds = match unit.trim_start() {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3600.0,
        "d" | "day" => 86_400.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| bad())?;
    let per_s = number / seconds;
    match (0.0..=FASTEST_PER_S).contains(&per_s) {
        // Not the zero below zero, which looks odd where it is shown.
        true => Ok(per_s.abs()),
        false => Err(BadQuantity::RateRange(excerpt(text))),
    }
}

/// Reads a duration such as `30s`, `500ms`, `5m` or `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    let bad = || BadQuantity::Duration(excerpt(text));
    let is_short = text.len() <= LONGEST_TEXT;
    let signed: jiff::SignedDuration = text.trim().parse().map_err(|_| bad())?;
    let duration = Duration::try_from(signed).ok().filter(|_| is_short);
    let in_range = duration.filter(|duration| !duration.is_zero() && *duration <= LONGEST);
    in_range.ok_or_else(|| BadQuantity::DurationRange(excerpt(text)))
}

/// A rate in a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub(super) f64);

/// A duration in a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length(pub(super) Duration);

/// What is written as a text. The reader of TOML adds where it stands to what is wrong with it.
trait Written: Sized {
    const FORM: &str;
    fn read(text: &str) -> Result<Self, BadQuantity>;
}

impl Written for Rate {
    const FORM: &str = "a rate such as \"200/s\"";
    fn read(text: &str) -> Result<Self, BadQuantity> {
        parse_rate(text).map(Rate)
    }
}

impl Written for Length {
    const FORM: &str = "a duration such as \"30s\" or \"5m\"";
    fn read(text: &str) -> Result<Self, BadQuantity> {
        parse_duration(text).map(Length)
    }
}

struct Reader<T>(PhantomData<T>);

impl<T: Written> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Reader(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Reader(PhantomData))
    }
}

/// The start of what may be long.
fn excerpt(text: &str) -> String {
    let shown = text.chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c });
    shown.collect()
}

const LONGEST_TEXT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, per_s) in [
            ("200/s", 200.0),
            ("12000/min", 200.0),
            ("1e3/h", 1000.0 / 3600.0),
            ("0.5/s", 0.5),
            (" 7 / day ", 7.0 / 86_400.0),
            ("0/s", 0.0),
            ("10000000/s", 1e7),
        ] {
            assert_eq!(parse_rate(text), Ok(per_s), "{text}");
        }
        let no_rates = ["", "200", "200/", "/s", "x/s", "200/fortnight", "1/s/s", "2 00/s"];
        for text in no_rates {
            assert!(matches!(parse_rate(text), Err(BadQuantity::Rate(_))), "{text}");
        }
        for text in ["-1/s", "NaN/s", "inf/s", "-inf/h", "1e999/s", "10000001/s"] {
            assert!(matches!(parse_rate(text), Err(BadQuantity::RateRange(_))), "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in
            [("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1h30m", 5_400_000), ("1ms", 1)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "5 parsecs", "\u{0}"] {
            assert!(matches!(parse_duration(text), Err(BadQuantity::Duration(_))), "{text}");
        }
        for text in ["0s", "-5s", "9000h", "5s ago"] {
            assert!(matches!(parse_duration(text), Err(BadQuantity::DurationRange(_))), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(per_s) = parse_rate(&text) {
                assert!((0.0..=FASTEST_PER_S).contains(&per_s));
            }
            if let Ok(duration) = parse_duration(&text) {
                assert!(duration <= LONGEST);
            }
        }
    }
}
