//! What can be asked about, under which name, and what its values look like.

use crate::measure::Kind;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A time of that kind.
    Time(Kind, Statistic),
    /// Offered messages that were finally refused, whose end is unknown, or that were not started.
    Errors,
    /// Arrivals that could not start.
    NotStarted,
    /// Messages accepted.
    Accepted,
    /// Messages accepted per second.
    Rate,
    /// Accepted messages that never arrived.
    Lost,
    /// Messages that arrived more than once.
    Doubled,
    /// Messages that arrived changed.
    Corrupted,
    /// The deepest that the server's queue was.
    Queue,
    /// The growth of the server's queue; zero where it does not stand out of the noise.
    QueueSlope,
}

/// What of many times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// What this share of them, 0 to 1, did not exceed.
    Quantile(f64),
    /// The longest.
    Max,
    /// Their mean.
    Mean,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Hundredths of what was offered.
    Percent,
    /// Messages.
    Messages,
    /// Messages per second.
    PerS,
}

impl Metric {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let metric = match name {
            "errors" => Self::Errors,
            "not_started" => Self::NotStarted,
            "accepted" => Self::Accepted,
            "rate" => Self::Rate,
            "lost" => Self::Lost,
            "doubled" => Self::Doubled,
            "corrupted" => Self::Corrupted,
            "queue" => Self::Queue,
            "queue_slope" => Self::QueueSlope,
            _ => return Self::time(name),
        };
        Some(metric)
    }

    fn time(name: &str) -> Option<Self> {
        let (kind, statistic) = match name.rsplit_once('_') {
            Some((kind, statistic)) => {
                (Kind::ALL.into_iter().find(|known| known.name() == kind)?, statistic)
            }
            None => (Kind::Response, name),
        };
        let statistic = match statistic {
            "max" => Statistic::Max,
            "mean" => Statistic::Mean,
            _ => {
                let percent = statistic.strip_prefix('p')?;
                number(percent).filter(|percent| *percent > 0.0 && *percent < 100.0)?;
                // Divided by 100, 99.9 is a little more than 0.999: one message too many of a thousand.
                Statistic::Quantile(format!("{percent}e-2").parse().ok()?)
            }
        };
        Some(Self::Time(kind, statistic))
    }

    /// A value of this metric and its unit, or what was expected.
    pub(super) fn value(self, text: &str) -> Result<(f64, Unit), &'static str> {
        let percent = || text.strip_suffix('%').and_then(|text| number(text.trim_end()));
        let percent = || Some((percent().filter(|percent| *percent <= 100.0)?, Unit::Percent));
        let messages = || Some((number(text)?, Unit::Messages));
        let per_s =
            || Some((number(text.strip_suffix("/s").unwrap_or(text).trim_end())?, Unit::PerS));
        let zero = |unit| number(text).filter(|value| *value == 0.0).map(|zero| (zero, unit));
        match self {
            Self::Time(..) => {
                // A histogram tells nothing apart from an hour on.
                let us = duration_us(text).filter(|us| *us < HOUR_US);
                us.map(|us| (us, Unit::Us))
                    .or_else(|| zero(Unit::Us))
                    .ok_or("a time below an hour with its unit us, ms, s or m, as 500ms or 1.5s")
            }
            Self::Errors => percent()
                .or_else(|| zero(Unit::Percent))
                .ok_or("a share of what was offered, as 0.1%"),
            Self::NotStarted | Self::Accepted => percent()
                .or_else(messages)
                .ok_or("a share of what was offered or a number of messages, as 99% or 1000"),
            Self::Rate | Self::QueueSlope => per_s().ok_or("messages per second, as 200/s"),
            Self::Lost | Self::Doubled | Self::Corrupted | Self::Queue => {
                messages().ok_or("a number of messages, as 10")
            }
        }
    }
}

fn duration_us(text: &str) -> Option<f64> {
    let (count, us) =
        UNITS_US.iter().find_map(|(unit, us)| Some((text.strip_suffix(unit)?.trim_end(), *us)))?;
    Some(number(count)? * us)
}

/// Digits with at most one dot between them: no sign, no exponent, no `inf`.
fn number(text: &str) -> Option<f64> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match text.split_once('.') {
        Some((whole, part)) => is_digits(whole) && is_digits(part),
        None => is_digits(text),
    };
    text.parse().ok().filter(|value: &f64| is_number && value.is_finite())
}

/// What ends with another comes before it.
const UNITS_US: [(&str, f64); 4] = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6)];

const HOUR_US: f64 = 3_600e6;
