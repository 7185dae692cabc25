//! What a run came to: counts by class, what was lost and when, how long services were away, and whether that is what
//! was asked for. Three values: what could not be seen is unknown, and never a pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::{Class, There, class};
use super::marks::Marks;
use super::uids::Continuity;
use super::{Judge, Last};
use crate::journal::{Moment, PlaceKind};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Everything is as it was asked for, and all of it was seen.
    Pass,
    /// Something could not be seen.
    Unknown,
    /// Something is not as it was asked for.
    Fail,
}

/// One thing that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// A word for it, such as `lost`.
    pub name: String,
    /// What was asked for.
    pub asked: String,
    /// What there was.
    pub actual: String,
    /// Whether that is it.
    pub word: Word,
}

/// Accepted mail that was out of sight at a moment: what RPO is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Messages, once for each recipient, that were accepted by then.
    pub accepted: u64,
    /// Of those, the ones out of sight.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// When the oldest of them was accepted.
    pub oldest_us: Option<u64>,
    /// How long before the incident that was.
    pub age_us: Option<u64>,
    /// Places that could not be read: there may be more to see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Loss {
    /// The worst of each respect: few messages may be old ones, and what could not be read once stays unread.
    fn worst(all: &[Self]) -> Option<Self> {
        let mut worst = all.iter().max_by_key(|loss| loss.messages)?.clone();
        worst.bytes = all.iter().map(|loss| loss.bytes).max()?;
        worst.oldest_us = all.iter().filter_map(|loss| loss.oldest_us).min();
        worst.age_us = all.iter().filter_map(|loss| loss.age_us).max();
        worst.unread = all.iter().flat_map(|loss| loss.unread.clone()).collect();
        worst.unread.sort_unstable();
        worst.unread.dedup();
        Some(worst)
    }
}

/// How long a service was away after an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The step that made it.
    pub incident: String,
    /// The service.
    pub service: String,
    /// From the incident until it was stable; none: it did not come back, or was never asked.
    pub rto_us: Option<u64>,
    /// What was asked for.
    pub objective_us: Option<u64>,
    /// When what happened.
    #[serde(flatten)]
    pub marks: Marks,
}

/// A message that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its number.
    pub message: u64,
    /// Who it was for.
    pub recipient: String,
    /// What became of it.
    pub class: Class,
    /// When it was accepted, in microseconds from the start of the run.
    pub accepted_us: Option<u64>,
    /// What was found, in words.
    pub found: String,
}

/// Messages, once for each recipient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// All that an attempt was made for.
    pub sent: u64,
    /// Of those, the ones with a complete 2yz to the end.
    pub accepted: u64,
    /// Attempts, of messages.
    pub attempts: u64,
    /// By class; a class without a message is there, too.
    pub by_class: BTreeMap<Class, u64>,
    /// Messages with the mark of this run that were never sent.
    pub never_sent: u64,
    /// Messages that are not of this run.
    pub foreign: u64,
    /// Copies beyond the first that attempts explain: the price of sending again.
    pub explained_copies: u64,
    /// With so many accepted and none lost, no more than this share is lost, at 95 % (the rule of three).
    pub lost_share_bound: Option<f64>,
    /// Delivered, and nobody saw when.
    #[serde(skip)]
    unwatched: u64,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Result {
    /// The answer.
    pub verdict: Word,
    /// It in a sentence.
    pub sentence: String,
    /// What was asked for, worst first.
    pub criteria: Vec<Criterion>,
    /// What became of the messages.
    pub messages: Messages,
    /// The worst of them.
    pub examples: Vec<Example>,
    /// By incident and service.
    pub rto: Vec<Outage>,
    /// By moment.
    pub rpo: BTreeMap<Moment, Loss>,
    /// What IMAP promises.
    pub continuity: Continuity,
    /// What is not undone, as a person would do it.
    pub left: Vec<String>,
    /// Why the run stopped before its time.
    pub aborted: Option<String>,
    /// How long it took.
    pub length_us: u64,
}

impl Judge {
    /// The verdict on what was told so far.
    pub fn result(&self) -> Result {
        let (messages, examples) = self.messages();
        let rto = self.outages();
        let continuity = self.uids.continuity();
        let mut criteria = self.about_the_run();
        criteria.extend(self.about_messages(&messages));
        criteria.extend(self.about_loss());
        let is_cut = self.aborted.is_some() || !self.is_ended;
        criteria.extend(about_outages(&rto, is_cut.then_some(self.at_work_us)));
        criteria.extend(self.about_continuity(&continuity));
        let verdict =
            criteria.iter().map(|criterion| criterion.word).max().unwrap_or(Word::Unknown);
        // A failure that was seen is one, whatever else was not seen.
        criteria.sort_by_key(|criterion| std::cmp::Reverse(criterion.word));
        let worst = |(moment, all): (&Moment, &Vec<Loss>)| Some((*moment, Loss::worst(all)?));
        let rpo = self.losses.iter().filter_map(worst).collect();
        Result {
            verdict,
            sentence: sentence(verdict, &criteria, &messages),
            criteria,
            messages,
            examples,
            rto,
            rpo,
            continuity,
            left: self.armed.values().cloned().collect(),
            aborted: self.aborted.clone(),
            length_us: self.t_us,
        }
    }

    fn messages(&self) -> (Messages, Vec<Example>) {
        let nobody = Last { serving: Vec::new(), unread: Vec::new() };
        let last = self.last.as_ref().unwrap_or(&nobody);
        let late_us = self.begin.objectives.late_us;
        let mut messages = Messages {
            attempts: self.attempts,
            never_sent: self.unknown,
            foreign: self.foreign,
            by_class: Class::ALL.into_iter().map(|class| (class, 0)).collect(),
            ..Messages::default()
        };
        let mut examples: BTreeMap<Class, Vec<Example>> = BTreeMap::new();
        for (at, pair) in self.pairs.rows().iter().enumerate() {
            let is_counted = |place: &crate::journal::Place| place.kind != PlaceKind::Snapshot;
            let there = self.pairs.there(at, &last.serving, is_counted);
            let class = class(pair.said(late_us), there);
            let is_there = matches!(class, Class::Delivered | Class::Duplicate);
            messages.unwatched += u64::from(is_there && pair.seen_after_us().is_none());
            messages.sent += 1;
            messages.accepted += u64::from(pair.is_accepted());
            *messages.by_class.entry(class).or_default() += 1;
            if there.delivered > 1 && pair.is_explained(there.delivered) {
                messages.explained_copies += u64::from(there.delivered) - 1;
            }
            let of_class = examples.entry(class).or_default();
            if class < Class::Late && of_class.len() < MOST_EXAMPLES {
                let recipient = self.begin.recipients.get(pair.recipient as usize);
                of_class.push(Example {
                    message: pair.message,
                    recipient: recipient.cloned().unwrap_or_default(),
                    class,
                    accepted_us: pair.is_accepted().then_some(pair.accepted_us),
                    found: found(there),
                });
            }
        }
        let lost = messages.by_class.get(&Class::Lost).copied().unwrap_or(0);
        let is_bound = lost == 0 && messages.accepted > 0 && self.last.is_some();
        messages.lost_share_bound = is_bound.then(|| (3.0 / messages.accepted as f64).min(1.0));
        (messages, examples.into_values().flatten().collect())
    }

    fn outages(&self) -> Vec<Outage> {
        let mut outages = Vec::new();
        for incident in &self.incidents {
            for (at, (clock, service)) in
                incident.clocks.iter().zip(&self.begin.services).enumerate()
            {
                let marks = clock.marks();
                let objective_us = self.begin.objectives.rto_us.get(at).copied().flatten();
                let (incident, service) = (incident.name.clone(), service.clone());
                let rto_us = marks.rto_us();
                outages.push(Outage { incident, service, rto_us, objective_us, marks });
            }
        }
        outages
    }

    fn about_messages(&self, messages: &Messages) -> Vec<Criterion> {
        let objectives = &self.begin.objectives;
        let count = |class: Class| messages.by_class.get(&class).copied().unwrap_or(0);
        let unread = match &self.last {
            None => vec!["there was no reading at the end".to_owned()],
            Some(last) => last.unread.clone(),
        };
        let mut criteria = Vec::new();
        let evidence = if unread.is_empty() { Word::Pass } else { Word::Unknown };
        criteria.push(Criterion {
            name: "evidence".into(),
            asked: "every place was read at the end".into(),
            actual: if unread.is_empty() { "all were".into() } else { unread.join("; ") },
            word: evidence,
        });
        criteria.push(Criterion {
            name: "accepted".into(),
            asked: "at least 1".into(),
            actual: messages.accepted.to_string(),
            word: if messages.accepted > 0 { Word::Pass } else { Word::Unknown },
        });
        let limits = [
            (Class::Lost, Some(objectives.lost)),
            (Class::Corrupt, Some(0)),
            (Class::Misdelivered, Some(0)),
            (Class::DeliveredAfterReject, Some(0)),
            (Class::Resurrected, Some(objectives.resurrected)),
            (Class::Duplicate, Some(objectives.duplicates)),
            (Class::Stranded, objectives.stranded),
            (Class::Pending, objectives.pending),
            (Class::Late, objectives.late_us.map(|_| objectives.late)),
        ];
        for (class, limit) in limits {
            let Some(limit) = limit else { continue };
            if class == Class::Late && messages.unwatched > 0 && count(class) <= limit {
                criteria.push(Criterion {
                    name: class.name().into(),
                    asked: format!("at most {limit}"),
                    actual: format!(
                        "{}; of {} more nobody saw when they came",
                        count(class),
                        messages.unwatched
                    ),
                    word: Word::Unknown,
                });
                continue;
            }
            // What a place that was not read would have shown may make a lost message a found one, and one copy two.
            let word = match count(class) <= limit {
                true => evidence,
                false if evidence == Word::Unknown && is_missing(class) => Word::Unknown,
                false => Word::Fail,
            };
            criteria.push(at_most(class.name(), limit, count(class), word));
        }
        let serving = self.last.as_ref().map_or(&[][..], |last| &last.serving);
        let views = self.pairs.views(serving);
        if !views.is_empty() {
            let rows = 0..self.pairs.rows().len();
            let of_row = |row| views.iter().map(move |view| (row, *view));
            let hidden =
                rows.flat_map(of_row).map(|(row, view)| self.pairs.hidden(row, view)).sum();
            criteria.push(at_most(
                "hidden",
                0,
                hidden,
                if hidden == 0 { evidence } else { Word::Fail },
            ));
        }
        let never_sent = if messages.never_sent == 0 { evidence } else { Word::Fail };
        criteria.push(at_most("never_sent", 0, messages.never_sent, never_sent));
        if let Some(limit) = objectives.error_share {
            // Who never heard a yes was not served, whether or not he heard a no.
            let refused = (count(Class::Refused) + count(Class::NotAccepted)) as f64
                / messages.sent.max(1) as f64;
            criteria.push(Criterion {
                name: "errors".into(),
                asked: format!("at most {:.3} %", limit * 100.0),
                actual: format!("{:.3} %", refused * 100.0),
                word: if refused <= limit { Word::Pass } else { Word::Fail },
            });
        }
        criteria
    }

    /// What was asked for holds at each promotion.
    fn about_loss(&self) -> Vec<Criterion> {
        let objectives = &self.begin.objectives;
        let losses = self.losses.get(&Moment::Promotion).map_or(&[][..], Vec::as_slice);
        let word = |is_met: &dyn Fn(&Loss) -> bool| {
            let of_one = |loss: &Loss| match (loss.unread.is_empty(), is_met(loss)) {
                (true, true) => Word::Pass,
                (true, false) => Word::Fail,
                (false, _) => Word::Unknown,
            };
            losses.iter().map(of_one).max().unwrap_or(Word::Unknown)
        };
        let worst = Loss::worst(losses);
        let actual = |tell: &dyn Fn(&Loss) -> String| {
            worst.as_ref().map_or_else(|| "nobody looked at the promotion".to_owned(), tell)
        };
        let mut criteria = Vec::new();
        if let Some(limit) = objectives.rpo_messages {
            criteria.push(Criterion {
                actual: actual(&|loss| loss.messages.to_string()),
                ..at_most("rpo_messages", limit, 0, word(&|loss| loss.messages <= limit))
            });
        }
        if let Some(limit_us) = objectives.rpo_us {
            let nothing = || "nothing was lost".to_owned();
            criteria.push(Criterion {
                name: "rpo_time".into(),
                asked: format!("at most {}", seconds(limit_us)),
                actual: actual(&|loss| loss.age_us.map_or_else(nothing, seconds)),
                word: word(&|loss| loss.age_us.unwrap_or(0) <= limit_us),
            });
        }
        criteria
    }

    fn about_continuity(&self, continuity: &Continuity) -> Option<Criterion> {
        (continuity.looks > 0).then(|| {
            let word = if continuity.breaches == 0 { Word::Pass } else { Word::Fail };
            at_most("imap_breaches", 0, continuity.breaches, word)
        })
    }

    fn about_the_run(&self) -> Vec<Criterion> {
        let mut criteria = Vec::new();
        let mut complain = |name: &str, asked: &str, actual: String, word: Word| {
            criteria.push(Criterion { name: name.into(), asked: asked.into(), actual, word });
        };
        if let Some(why) = &self.aborted {
            complain("run", "to its end", why.clone(), Word::Unknown);
        } else if !self.is_ended {
            let actual = "the journal has no end".to_owned();
            complain("run", "to its end", actual, Word::Unknown);
        }
        for (word, why) in &self.failed_steps {
            complain("step", "does what it is for", why.clone(), *word);
        }
        if let Some(odd) = &self.odd {
            let actual = format!("{} lines make no sense; the first: {odd}", self.odd_count);
            complain("journal", "makes sense", actual, Word::Unknown);
        }
        criteria
    }
}

/// Of a run that was cut short, its last moment: who was not back by then may have been in time.
fn about_outages(outages: &[Outage], cut_us: Option<u64>) -> Vec<Criterion> {
    let with_objective = outages.iter().filter_map(|outage| Some((outage, outage.objective_us?)));
    let criterion = |(outage, limit_us): (&Outage, u64)| {
        let (actual, word) = match outage.rto_us {
            Some(rto_us) if rto_us <= limit_us => (seconds(rto_us), Word::Pass),
            Some(rto_us) => (seconds(rto_us), Word::Fail),
            None if outage.marks.detected_us.is_some() => {
                let had_time = |cut_us| cut_us > outage.marks.fault_us.saturating_add(limit_us);
                let answering_us = outage.marks.answering_us();
                match cut_us.is_none_or(had_time) {
                    // It may have been in time, and may have gone again.
                    true if answering_us.is_some_and(|at_us| !had_time(at_us)) => {
                        let why = "it answered again, and the run ended before that was stable; let `recovered` take longer";
                        (why.into(), Word::Unknown)
                    }
                    true => ("it did not come back".into(), Word::Fail),
                    false => ("it was not back when the run was cut short".into(), Word::Unknown),
                }
            }
            None => ("nobody asked it".into(), Word::Unknown),
        };
        Criterion {
            name: format!("rto {} after {}", outage.service, outage.incident),
            asked: format!("at most {}", seconds(limit_us)),
            actual,
            word,
        }
    };
    with_objective.map(criterion).collect()
}

/// What was not found may lie where nobody could look.
fn is_missing(class: Class) -> bool {
    matches!(class, Class::Lost | Class::Stranded | Class::Pending)
}

fn at_most(name: &str, limit: u64, actual: u64, word: Word) -> Criterion {
    let asked = if limit == 0 { "none".to_owned() } else { format!("at most {limit}") };
    Criterion { name: name.into(), asked, actual: actual.to_string(), word }
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}

fn found(there: There) -> String {
    let There { delivered, corrupt, misdelivered, pending, stranded, quarantined, bounced } = there;
    let parts = [
        (delivered, "delivered"),
        (corrupt, "corrupt"),
        (misdelivered, "with somebody else"),
        (pending, "in a queue"),
        (stranded, "where nobody serves"),
        (quarantined, "put aside"),
        (bounced, "bounced"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { "nowhere".to_owned() } else { parts.join(", ") }
}

fn sentence(verdict: Word, criteria: &[Criterion], messages: &Messages) -> String {
    let first = criteria.first().filter(|criterion| criterion.word != Word::Pass);
    let because = first
        .map(|criterion| {
            format!("{}: {} (asked: {})", criterion.name, criterion.actual, criterion.asked)
        })
        .unwrap_or_default();
    match verdict {
        Word::Pass => match messages.lost_share_bound {
            Some(bound) => format!(
                "all {} accepted are accounted for, which proves a loss of no more than {:.2} % (95 %)",
                messages.accepted,
                bound * 100.0,
            ),
            None => {
                let lost = messages.by_class.get(&Class::Lost).copied().unwrap_or(0);
                format!(
                    "{lost} of {} accepted are lost, which is within what was asked for",
                    messages.accepted
                )
            }
        },
        Word::Unknown => format!("nobody can tell: {because}"),
        Word::Fail => because,
    }
}

/// Of one class.
const MOST_EXAMPLES: usize = 10;
