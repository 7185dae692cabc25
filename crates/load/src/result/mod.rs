//! What a run came to, as a document: a record of what was counted, which merges with those of other shards, and what
//! follows from it. Times are microseconds.

mod merge;
mod why;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::merge::{BadMerge, Part, merge};
use crate::deliver::Delivery;
use crate::engine::Run;
use crate::limit::Limit;
use crate::measure::{Counts, Kind, Measures, Summary};
use crate::own::Used;
use crate::queue::Slope;
use crate::replies::Replies;
use crate::verdict::{self};
use crate::verdict::{Advice, BadObjectives, Facts, Health, Judged, Objectives, Verdict, Word};

/// When messages began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As planned, whatever the server does.
    Open,
    /// Each after the one before: what a waiting sender feels is not seen.
    Closed,
}

/// A part of a plan that several machines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 0 on.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

/// A phase of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// As the profile says.
    pub name: String,
    /// From the plan's start to its start.
    pub start_us: u64,
    /// To its end.
    pub end_us: u64,
    /// Whether it is warm-up.
    pub is_warmup: bool,
}

/// The arrival plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// Of everything that makes the plan: equal for all shards of one.
    pub digest: String,
    /// Which part of it was sent here.
    pub shard: Option<Shard>,
    /// Its phases; none in closed mode.
    pub stages: Vec<Stage>,
}

/// The server's queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QueueFacts {
    /// How often somebody looked.
    pub samples: u64,
    /// Messages at the first look.
    pub first: u64,
    /// Messages at the last.
    pub last: u64,
    /// Messages at most.
    pub max: u64,
    /// How it changed; `None` if there were too few samples to tell.
    pub slope: Option<Slope>,
}

/// Messages that count, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages whose planned start came.
    pub offered: u64,
    /// Of those, the ones that no session was free for until the end.
    pub not_started: u64,
    /// Messages that waited for another attempt when the run ended.
    pub not_retried: u64,
    /// The rest of the counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How the generator did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Share of a processor that each thread with sessions used, 0 to 1.
    pub cpu_shares: Vec<f64>,
    /// What the process took.
    #[serde(flatten)]
    pub used: Used,
    /// Connections that were open at most.
    pub connections_most: u64,
    /// How many may be.
    pub connections_limit: u64,
    /// Idle connections that were held to the end.
    pub idle_held: u64,
    /// Messages that were not made when they were due.
    pub made_late: u64,
    /// Waits that were longer than histograms can tell.
    pub clipped: u64,
}

/// What was counted: all that the results of shards need to become one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Of this document's form: 1.
    pub version: u32,
    /// When messages began.
    pub mode: Mode,
    /// Servers, as they were typed.
    pub target: Vec<String>,
    /// In every message.
    pub run: String,
    /// Of what was drawn.
    pub seed: u64,
    /// The arrival plan.
    pub plan: PlanFacts,
    /// Shards whose results were left out of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Shard>,
    /// What it is judged by.
    pub expect: String,
    /// When the plan began.
    pub started_at: Timestamp,
    /// Length of the warm-up.
    pub warmup_us: u64,
    /// Length of the plan after it; in closed mode, of the run.
    pub duration_us: u64,
    /// From the end of the warm-up to the last end of a message.
    pub elapsed_us: u64,
    /// Whether somebody stopped it.
    pub is_interrupted: bool,
    /// Messages that count.
    #[serde(flatten)]
    pub totals: Totals,
    /// Messages of the warm-up.
    pub warmup: Counts,
    /// What servers said.
    pub replies: Replies,
    /// What became of accepted mail, if somebody looked.
    pub delivery: Option<Delivery>,
    /// The server's queue, if somebody looked.
    pub queue: Option<QueueFacts>,
    /// How the generator did.
    pub generator: Generator,
}

/// The whole document.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    /// In one word.
    pub verdict: Word,
    /// In one sentence.
    pub sentence: String,
    /// Each objective.
    pub objectives: Vec<Judged>,
    /// Why the verdict is what it is.
    pub reasons: Vec<String>,
    /// What was seen of the generator, and what helps.
    pub advice: Vec<Advice>,
    /// What else a person should know, from whoever ran it.
    pub remarks: Vec<String>,
    /// What was counted.
    #[serde(flatten)]
    pub record: Record,
    /// Messages a second that the plan asked for; `None` in closed mode.
    pub asked_per_s: Option<f64>,
    /// Messages a second that were accepted.
    pub achieved_per_s: f64,
    /// From the planned start to the final reply, of every attempt.
    pub response_us: Option<Summary>,
    /// From the first byte of MAIL to the final reply.
    pub service_us: Option<Summary>,
    /// From the planned start until there was a session.
    pub queue_wait_us: Option<Summary>,
    /// From acceptance until it was seen.
    pub delivery_us: Option<Summary>,
    /// What the generator itself was late.
    pub lateness_us: Option<Summary>,
    /// Each phase of the conversations, by name.
    pub phases: BTreeMap<&'static str, Summary>,
    /// The search for the highest rate, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People count from 1.
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(text: &str) -> Result<Self, BadShard> {
        let (index, count) = text.split_once('/').ok_or(BadShard)?;
        let (index, count): (u64, u64) =
            (index.parse().map_err(|_| BadShard)?, count.parse().map_err(|_| BadShard)?);
        if index == 0 || index > count || count > SHARDS {
            return Err(BadShard);
        }
        Ok(Self { index: index - 1, count })
    }
}

/// No shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard is I/N, such as 1/3, 2/3 and 3/3, of 1000 at most")]
pub struct BadShard;

impl Totals {
    /// Of a run.
    pub fn of(run: &Run) -> Self {
        let counts = run.total.main.counts;
        Self {
            offered: run.paced.offered,
            not_started: run.paced.not_started,
            not_retried: run.paced.not_retried,
            counts,
        }
    }
}

impl Document {
    /// Judges a record by its measures.
    pub fn new(record: Record, measures: &Measures) -> Result<Self, BadObjectives> {
        let objectives = Objectives::parse(&record.expect)?;
        let health = record.health(measures);
        let facts = record.facts(measures, &health);
        let Verdict { word, judged, mut reasons, mut advice } = verdict::judge(&objectives, &facts);
        if word == Word::NothingAccepted
            && let Some(why) = why::why(&record.replies.rows())
        {
            reasons[0] = format!("{}; {}", reasons[0], why.reason);
            advice.insert(0, why);
        }
        let phases = Kind::phases().filter_map(|kind| Some((kind.name(), measures.summary(kind)?)));
        let asked_per_s =
            (record.mode == Mode::Open).then(|| per_s(record.totals.offered, record.duration_us));
        let achieved_per_s = per_s(record.totals.counts.accepted, record.elapsed_us);
        Ok(Self {
            verdict: word,
            sentence: sentence(word, &record, achieved_per_s, &reasons),
            objectives: judged,
            reasons,
            advice,
            remarks: Vec::new(),
            asked_per_s,
            achieved_per_s,
            response_us: measures.summary(Kind::Response),
            service_us: measures.summary(Kind::Service),
            queue_wait_us: measures.summary(Kind::QueueWait),
            delivery_us: measures.summary(Kind::Delivery),
            lateness_us: measures.summary(Kind::Lateness),
            phases: phases.collect(),
            limit: None,
            record,
        })
    }
}

impl Document {
    /// The phases that occurred, in the order of a conversation: with STARTTLS the handshake comes after it.
    pub fn phases_in_order(&self) -> Vec<(Kind, Summary)> {
        let mut kinds: Vec<Kind> = Kind::phases().collect();
        if self.phases.contains_key(Kind::StartTls.name()) {
            let is_handshake = |kind: &Kind| matches!(kind, Kind::TlsFull | Kind::TlsResumed);
            let handshakes: Vec<Kind> = kinds.extract_if(.., |kind| is_handshake(kind)).collect();
            let at = kinds.iter().position(|kind| *kind == Kind::StartTls).map_or(0, |at| at + 1);
            kinds.splice(at..at, handshakes);
        }
        let present = |kind: Kind| Some((kind, *self.phases.get(kind.name())?));
        kinds.into_iter().filter_map(present).collect()
    }
}

impl Record {
    fn health(&self, measures: &Measures) -> Health {
        let Generator { cpu_shares, used, connections_most, connections_limit, .. } =
            &self.generator;
        Health {
            planned: if self.mode == Mode::Open { self.totals.offered } else { 0 },
            lateness_p99_us: lateness(measures),
            cpu_shares: cpu_shares.clone(),
            descriptors_used: used.descriptors_most,
            descriptors_limit: used.descriptors_limit,
            descriptors_exhausted: self.totals.counts.descriptors_exhausted,
            ports_exhausted: self.totals.counts.ports_exhausted,
            connections_used: *connections_most,
            connections_limit: *connections_limit,
        }
    }

    fn facts<'f>(&self, measures: &'f Measures, health: &'f Health) -> Facts<'f> {
        let Counts { accepted, refused, deferred, failed, unknown, .. } = self.totals.counts;
        let delivery = self.delivery.as_ref().map(|delivery| verdict::Delivery {
            lost: delivery.lost,
            doubled: delivery.doubled,
            corrupted: delivery.corrupted,
        });
        Facts {
            measures,
            offered: self.totals.offered,
            accepted,
            refused: refused + deferred + self.totals.not_retried,
            unknown: unknown + failed,
            not_started: self.totals.not_started,
            elapsed: std::time::Duration::from_micros(self.elapsed_us.max(1)),
            delivery,
            queue: self.queue.map(|queue| verdict::Queue { max: queue.max, slope: queue.slope }),
            health,
        }
    }
}

/// What 99 % of the messages were not late by; of few, what all but some were not: one is an accident.
fn lateness(measures: &Measures) -> Option<u64> {
    let count = measures.get(Kind::Lateness)?.len() as f64;
    let quantile = (1.0 - ACCIDENTS / count).clamp(0.0, 0.99);
    measures.value_at(Kind::Lateness, quantile)
}

/// A rate of nothing is zero.
fn per_s(count: u64, duration_us: u64) -> f64 {
    if duration_us == 0 { 0.0 } else { count as f64 * 1e6 / duration_us as f64 }
}

fn sentence(word: Word, record: &Record, achieved_per_s: f64, reasons: &[String]) -> String {
    let why = reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
    let counts = &record.totals.counts;
    if record.is_interrupted {
        return format!(
            "stopped when {} of {} messages that were due had been accepted",
            counts.accepted, record.totals.offered
        );
    }
    match word {
        Word::Met => format!(
            "{} of {} messages accepted, {achieved_per_s:.1} a second, and every objective met",
            counts.accepted, record.totals.offered
        ),
        Word::Missed => format!("objectives missed{why}"),
        Word::Invalid => format!("no verdict on the server{why}"),
        Word::NothingAccepted => format!("no verdict{why}"),
    }
}

/// Messages that may be late by any time without a verdict on the generator.
const ACCIDENTS: f64 = 5.0;

/// More machines than anybody has for this.
const SHARDS: u64 = 1000;
