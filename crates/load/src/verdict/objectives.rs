//! What is asked of a server, as a person writes it: `p99<500ms,errors<0.1%`. Percentiles are of the response time unless
//! a prefix names another time, so that the honest number is the one with the short name.

use std::fmt;

use super::metric::{Metric, Unit};

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Objectives(Vec<Objective>);

/// One thing that is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// As written.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub op: Op,
    /// With what, in the unit.
    pub asked: f64,
    /// Of what is asked and of what is measured.
    pub unit: Unit,
}

/// How what was measured is compared with what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Less.
    Below,
    /// Less or the same.
    AtMost,
    /// More.
    Above,
    /// More or the same.
    AtLeast,
}

/// Why a text is no list of objectives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadObjectives {
    /// Nothing between two commas, or nothing at all.
    #[error(
        "an objective is empty; write METRIC<VALUE with commas between, as p99<500ms,errors<0.1%"
    )]
    Empty,
    /// Too long a text.
    #[error("objectives are 100 at most, in 4096 bytes")]
    TooMany,
    /// No comparison.
    #[error("{0:?} compares nothing: write <, <=, > or >= between what and how much, as p99<500ms")]
    Op(String),
    /// Not a metric.
    #[error(
        "{metric:?} in {text:?} is no metric: there are p50, p99.9 and the like, max and mean (alone \
         of the response time, or as service_p99, mail_p95, delivery_max), errors, not_started, \
         accepted, rate, lost, doubled, corrupted, queue and queue_slope"
    )]
    Metric {
        /// The part before the comparison.
        metric: String,
        /// The objective.
        text: String,
    },
    /// Not a value of that metric.
    #[error("{value:?} in {text:?} is not {expected}")]
    Value {
        /// The part behind the comparison.
        value: String,
        /// The objective.
        text: String,
        /// What was expected, with an example.
        expected: &'static str,
    },
}

impl Objectives {
    /// Parses `METRIC OP VALUE`, with commas between.
    pub fn parse(text: &str) -> Result<Self, BadObjectives> {
        if text.len() > MOST_BYTES || text.split(',').count() > MOST_OBJECTIVES {
            return Err(BadObjectives::TooMany);
        }
        text.split(',').map(Objective::parse).collect::<Result<_, _>>().map(Self)
    }

    /// What is asked when nothing was said. The queue is asked about only where somebody looks at it: what is not
    /// measured is never met.
    pub fn usual(is_queue_watched: bool) -> Self {
        let text = if is_queue_watched { USUAL_WITH_QUEUE } else { USUAL };
        Self::parse(text).expect("it is a constant")
    }

    /// In the order they were written.
    pub fn all(&self) -> &[Objective] {
        &self.0
    }
}

/// As [`Objectives::parse`] takes it.
impl fmt::Display for Objectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|objective| objective.text.as_str()).collect();
        f.write_str(&texts.join(","))
    }
}

impl Objective {
    fn parse(text: &str) -> Result<Self, BadObjectives> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadObjectives::Empty);
        }
        let at = text.find(['<', '>']).ok_or_else(|| BadObjectives::Op(text.to_owned()))?;
        let (name, rest) = (text[..at].trim_end(), &text[at..]);
        let (op, value) = OPS
            .iter()
            .find_map(|(sign, op)| Some((*op, rest.strip_prefix(sign)?.trim_start())))
            .ok_or_else(|| BadObjectives::Op(text.to_owned()))?;
        let metric = Metric::parse(name).ok_or_else(|| BadObjectives::Metric {
            metric: name.to_owned(),
            text: text.to_owned(),
        })?;
        let (asked, unit) = metric.value(value).map_err(|expected| BadObjectives::Value {
            value: value.to_owned(),
            text: text.to_owned(),
            expected,
        })?;
        Ok(Self { text: text.to_owned(), metric, op, asked, unit })
    }

    /// Whether what was measured, in the objective's unit, is as asked.
    pub fn is_met_by(&self, actual: f64) -> bool {
        match self.op {
            Op::Below => actual < self.asked,
            Op::AtMost => actual <= self.asked,
            Op::Above => actual > self.asked,
            Op::AtLeast => actual >= self.asked,
        }
    }
}

/// The longer signs first.
const OPS: [(&str, Op); 4] =
    [("<=", Op::AtMost), (">=", Op::AtLeast), ("<", Op::Below), (">", Op::Above)];

const MOST_BYTES: usize = 4096;
const MOST_OBJECTIVES: usize = 100;

const USUAL: &str = "p99<=500ms,errors<0.1%";
const USUAL_WITH_QUEUE: &str = "p99<=500ms,errors<0.1%,queue_slope<=0/s";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::metric::Statistic;
    use super::*;
    use crate::measure::Kind;

    fn one(text: &str) -> Objective {
        let objectives = Objectives::parse(text).unwrap();
        assert_eq!(objectives.all().len(), 1, "{text}");
        objectives.all()[0].clone()
    }

    #[test]
    fn every_metric_operator_and_unit_is_read() {
        let quantile = |kind, share| Metric::Time(kind, Statistic::Quantile(share));
        for (text, metric, op, asked, unit) in [
            ("p99<500ms", quantile(Kind::Response, 0.99), Op::Below, 5e5, Unit::Us),
            ("p99.9 <= 1.5 s", quantile(Kind::Response, 0.999), Op::AtMost, 1.5e6, Unit::Us),
            ("p99.99<2m", quantile(Kind::Response, 0.9999), Op::Below, 120e6, Unit::Us),
            ("service_p50<300us", quantile(Kind::Service, 0.5), Op::Below, 300.0, Unit::Us),
            ("queue_wait_p90<1ms", quantile(Kind::QueueWait, 0.9), Op::Below, 1e3, Unit::Us),
            ("tls_full_p95<1ms", quantile(Kind::TlsFull, 0.95), Op::Below, 1e3, Unit::Us),
            (
                "response_max>0",
                Metric::Time(Kind::Response, Statistic::Max),
                Op::Above,
                0.0,
                Unit::Us,
            ),
            ("mail_mean<1s", Metric::Time(Kind::Mail, Statistic::Mean), Op::Below, 1e6, Unit::Us),
            (
                "delivery_max<59m",
                Metric::Time(Kind::Delivery, Statistic::Max),
                Op::Below,
                3540e6,
                Unit::Us,
            ),
            ("errors<0.1%", Metric::Errors, Op::Below, 0.1, Unit::Percent),
            ("errors<=0", Metric::Errors, Op::AtMost, 0.0, Unit::Percent),
            ("not_started<=3", Metric::NotStarted, Op::AtMost, 3.0, Unit::Messages),
            ("not_started<1 %", Metric::NotStarted, Op::Below, 1.0, Unit::Percent),
            ("accepted>=99%", Metric::Accepted, Op::AtLeast, 99.0, Unit::Percent),
            ("rate>=200/s", Metric::Rate, Op::AtLeast, 200.0, Unit::PerS),
            ("rate>200", Metric::Rate, Op::Above, 200.0, Unit::PerS),
            ("lost<=0", Metric::Lost, Op::AtMost, 0.0, Unit::Messages),
            ("doubled<1", Metric::Doubled, Op::Below, 1.0, Unit::Messages),
            ("corrupted<1", Metric::Corrupted, Op::Below, 1.0, Unit::Messages),
            ("queue<1000", Metric::Queue, Op::Below, 1000.0, Unit::Messages),
            ("queue_slope<=2.5/s", Metric::QueueSlope, Op::AtMost, 2.5, Unit::PerS),
        ] {
            let found = one(text);
            assert_eq!((found.metric, found.op, found.unit), (metric, op, unit), "{text}");
            assert!((found.asked - asked).abs() < 1e-6, "{text}: {}", found.asked);
            assert_eq!(found.text, text);
        }
    }

    #[test]
    fn every_kind_of_time_can_be_asked_for() {
        for kind in Kind::ALL {
            let found = one(&format!("{}_p99<1s", kind.name()));
            assert_eq!(found.metric, Metric::Time(kind, Statistic::Quantile(0.99)));
        }
    }

    #[test]
    fn an_error_names_the_part_and_an_example() {
        for (text, part, example) in [
            ("", "empty", "p99<500ms"),
            ("p99<1s,", "empty", "p99<500ms"),
            ("p99=1s", "\"p99=1s\"", "p99<500ms"),
            ("p99", "\"p99\"", "<="),
            ("p999<1s", "\"p999\" in \"p999<1s\"", "p99.9"),
            ("p0<1s", "\"p0\"", "p99.9"),
            ("p<1s", "\"p\"", "p50"),
            ("p-5<1s", "\"p-5\"", "p50"),
            ("response_<1s", "\"response_\"", "service_p99"),
            ("nosuch_p99<1s", "\"nosuch_p99\"", "service_p99"),
            ("<1s", "\"\"", "p50"),
            ("p99<500", "\"500\"", "500ms"),
            ("p99<<500ms", "\"<500ms\"", "500ms"),
            ("p99<-1ms", "\"-1ms\"", "500ms"),
            ("p99<1e3ms", "\"1e3ms\"", "500ms"),
            ("p99<infs", "\"infs\"", "500ms"),
            ("p99<60m", "\"60m\"", "below an hour"),
            ("p99<1%", "\"1%\"", "500ms"),
            ("p99<", "\"\"", "500ms"),
            ("errors<10", "\"10\"", "0.1%"),
            ("errors<101%", "\"101%\"", "0.1%"),
            ("rate>5ms", "\"5ms\"", "200/s"),
            ("lost<1%", "\"1%\"", "as 10"),
        ] {
            let error = Objectives::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(example), "{text}: {error}");
        }
        assert_eq!(Objectives::parse(&"p99<1s,".repeat(101)), Err(BadObjectives::TooMany));
        assert_eq!(Objectives::parse(&"9".repeat(5000)), Err(BadObjectives::TooMany));
    }

    #[test]
    fn comparisons_are_told_apart_at_the_border() {
        for (op, met) in [
            ("<", [true, false, false]),
            ("<=", [true, true, false]),
            (">", [false, false, true]),
            (">=", [false, true, true]),
        ] {
            let objective = one(&format!("queue{op}5"));
            assert_eq!([4.0, 5.0, 6.0].map(|actual| objective.is_met_by(actual)), met, "{op}");
            assert!(!objective.is_met_by(f64::NAN));
        }
    }

    #[test]
    fn the_usual_ones_are_those_of_the_manual() {
        assert_eq!(Objectives::usual(false).to_string(), "p99<=500ms,errors<0.1%");
        assert_eq!(Objectives::usual(true).all().len(), 3);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_0-9.<>=%/, é-]{0,30}") {
            if let Ok(objectives) = Objectives::parse(&text) {
                prop_assert!(objectives.all().iter().all(|o| o.asked.is_finite() && o.asked >= 0.0));
                prop_assert_eq!(Objectives::parse(&objectives.to_string()), Ok(objectives));
            }
        }
    }
}
