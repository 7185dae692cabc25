//! From what was measured to one word. *Invalid* (the generator was the bottleneck) stands above *met* and *missed*, for
//! both would be said of the wrong machine; above all stands that nothing was accepted, since then there is nothing to
//! judge. What was asked and could not be measured is never met.

mod facts;
mod health;
mod metric;
mod objectives;
mod text;

use serde::Serialize;

pub use facts::{Delivery, Facts, Queue};
pub use health::{Advice, Context, Health};
pub use metric::{Metric, Statistic, Unit};
pub use objectives::{BadObjectives, Objective, Objectives, Op};

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// In one word.
    pub word: Word,
    /// Each objective.
    pub judged: Vec<Judged>,
    /// Why it is that word; empty if every objective was met.
    pub reasons: Vec<String>,
    /// What was seen of the generator, and what helps.
    pub advice: Vec<Advice>,
}

/// A verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Every objective was.
    Met,
    /// An objective was.
    Missed,
    /// The generator was the bottleneck.
    Invalid,
    /// Not one message was.
    NothingAccepted,
}

/// An objective beside what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// As written.
    pub objective: String,
    /// What was asked, in the unit.
    pub asked: f64,
    /// What was measured, in the unit.
    pub actual: Option<f64>,
    /// The same for people.
    pub actual_text: String,
    /// Of both numbers.
    pub unit: Unit,
    /// `None` if it was not measured, which counts as missed.
    pub is_met: Option<bool>,
}

/// Judges a run.
pub fn judge(objectives: &Objectives, facts: &Facts<'_>) -> Verdict {
    let judged: Vec<Judged> = objectives.all().iter().map(|one| facts.judge(one)).collect();
    let advice = facts.health.judge(&facts.context());
    let missed = judged.iter().filter(|judged| judged.is_met != Some(true));
    let mut reasons: Vec<String> = missed.map(Judged::reason).collect();
    let mut word = if reasons.is_empty() { Word::Met } else { Word::Missed };
    let invalid: Vec<&Advice> = advice.iter().filter(|advice| advice.is_invalid).collect();
    if !invalid.is_empty() {
        word = Word::Invalid;
        reasons.splice(0..0, invalid.iter().map(|advice| advice.reason.clone()));
    }
    if facts.accepted == 0 {
        word = Word::NothingAccepted;
        reasons.insert(0, facts.nothing_accepted());
    }
    Verdict { word, judged, reasons, advice }
}

impl Judged {
    fn reason(&self) -> String {
        format!(
            "{}: {}",
            self.objective,
            match self.actual {
                Some(_) => format!("it was {}", self.actual_text),
                None => "it was not measured, so it is not met".to_owned(),
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::{Kind, Measures};
    use crate::queue::Slope;

    /// A thousand responses of 1 to 1000 ms.
    fn measures() -> Measures {
        let mut measures = Measures::default();
        for ms in 1..=1000 {
            measures.record(Kind::Response, Duration::from_millis(ms));
            measures.record(Kind::Service, Duration::from_millis(1));
        }
        measures
    }

    fn facts<'a>(measures: &'a Measures, health: &'a Health) -> Facts<'a> {
        Facts {
            measures,
            offered: 1000,
            accepted: 990,
            refused: 5,
            unknown: 3,
            not_started: 2,
            elapsed: Duration::from_secs(10),
            delivery: Some(Delivery { lost: 1, doubled: 2, corrupted: 0 }),
            queue: Some(Queue { max: 70, slope: Some(Slope { per_s: 3.0, is_growing: true }) }),
            health,
        }
    }

    fn word(objectives: &str, facts: &Facts<'_>) -> Word {
        judge(&Objectives::parse(objectives).unwrap(), facts).word
    }

    #[test]
    fn each_metric_is_compared_with_what_was_measured() {
        let (measures, health) = (measures(), Health::default());
        let facts = facts(&measures, &health);
        for (missed, met) in [
            ("p99<980ms", "p99<1s"),
            ("p50<=490ms", "p50<=501ms"),
            ("max<999ms", "max<1100ms"),
            ("mean<500ms", "mean<502ms"),
            ("mean>501ms", "mean>500ms"),
            ("service_p99<900us", "service_p99<1100us"),
            ("errors<1%", "errors<=1%"),
            ("not_started<=1", "not_started<=2"),
            ("not_started<0.2%", "not_started<=0.2%"),
            ("accepted>99%", "accepted>=99%"),
            ("accepted>=991", "accepted>=990"),
            ("rate>99/s", "rate>=99/s"),
            ("lost<=0", "lost<=1"),
            ("doubled<2", "doubled<3"),
            ("corrupted>0", "corrupted<=0"),
            ("queue<70", "queue<=70"),
            ("queue_slope<=0", "queue_slope<=3/s"),
        ] {
            assert_eq!(word(missed, &facts), Word::Missed, "{missed}");
            assert_eq!(word(met, &facts), Word::Met, "{met}");
            assert_eq!(word(&format!("{met},{missed}"), &facts), Word::Missed, "{missed}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_met_however_it_is_asked() {
        let (measures, health) = (measures(), Health::default());
        let facts = Facts { delivery: None, queue: None, ..facts(&measures, &health) };
        for objective in
            ["connect_p99<1m", "connect_max>=0", "lost<9", "queue<9", "queue_slope<9", "lost>=0"]
        {
            let verdict = judge(&Objectives::parse(objective).unwrap(), &facts);
            assert_eq!(
                (verdict.word, verdict.judged[0].is_met),
                (Word::Missed, None),
                "{objective}"
            );
            assert!(verdict.reasons[0].contains("not measured"), "{:?}", verdict.reasons);
        }
        let few = Facts { queue: Some(Queue { max: 3, slope: None }), ..facts };
        assert_eq!(word("queue_slope<=0", &few), Word::Missed);
        let no_time = Facts { elapsed: Duration::ZERO, ..facts };
        assert_eq!(word("rate>1", &no_time), Word::Missed);
    }

    #[test]
    fn noise_of_the_queue_is_no_growth() {
        let (measures, health) = (measures(), Health::default());
        let slope = Some(Slope { per_s: 0.4, is_growing: false });
        let facts = Facts { queue: Some(Queue { max: 9, slope }), ..facts(&measures, &health) };
        assert_eq!(word("queue_slope<=0", &facts), Word::Met);
    }

    #[test]
    fn words_outrank_each_other() {
        let measures = measures();
        let sick = Health { planned: 1000, lateness_p99_us: Some(90_000), ..Health::default() };
        let healthy = Health::default();
        for (health, accepted, objective, expected) in [
            (&healthy, 990, "p99<1s", Word::Met),
            (&healthy, 990, "p99<1ms", Word::Missed),
            (&sick, 990, "p99<1s", Word::Invalid),
            (&sick, 990, "p99<1ms", Word::Invalid),
            (&healthy, 0, "p99<1s", Word::NothingAccepted),
            (&sick, 0, "p99<1s", Word::NothingAccepted),
        ] {
            let facts = Facts { accepted, ..facts(&measures, health) };
            let verdict = judge(&Objectives::parse(objective).unwrap(), &facts);
            assert_eq!(verdict.word, expected, "{accepted} {objective}");
            assert_eq!(verdict.reasons.is_empty(), expected == Word::Met);
        }
    }

    #[test]
    fn waiting_for_connections_counts_against_the_server() {
        let measures = measures();
        let full = Health { connections_used: 9, connections_limit: 9, ..Health::default() };
        let facts = facts(&measures, &full);
        assert_eq!(word("p99<1s,not_started<=2", &facts), Word::Met);
        let verdict = judge(&Objectives::parse("not_started<=1").unwrap(), &facts);
        assert_eq!(verdict.word, Word::Missed);
        assert!(verdict.advice[0].advice.contains("--connections"), "{:?}", verdict.advice);
    }

    #[test]
    fn a_run_of_nothing_is_not_met() {
        let (measures, health) = (Measures::default(), Health::default());
        let facts = Facts { offered: 0, accepted: 0, ..facts(&measures, &health) };
        let verdict = judge(&Objectives::usual(true), &facts);
        assert_eq!(verdict.word, Word::NothingAccepted);
        assert_eq!(verdict.reasons[0], "no message that counts was sent");
    }

    #[test]
    fn json_has_words_and_numbers() {
        let (measures, health) = (measures(), Health::default());
        let objectives = Objectives::parse("p99<500ms,errors<=1%,dns_p99<1s").unwrap();
        let verdict = judge(&objectives, &facts(&measures, &health));
        let json = serde_json::to_value(verdict).unwrap();
        assert_eq!(json["word"], "missed");
        assert_eq!(json["judged"][0]["unit"], "us");
        assert_eq!(json["judged"][0]["is_met"], false);
        assert_eq!(json["judged"][1]["actual_text"], "1 %");
        assert!(json["judged"][2]["is_met"].is_null() && json["judged"][2]["actual"].is_null());
        let reason = json["reasons"][0].as_str().unwrap();
        assert!(reason.starts_with("p99<500ms: it was 99"), "{reason}");
    }
}
