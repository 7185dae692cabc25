//! The page of a load test: what it shows as plain data, and `html`. All fields are public and have
//! defaults; a part of the page without data is left out.

mod figures;
mod latency;
mod limit;
mod over_time;
mod phases;
mod tables;
mod verdict;

use crate::html;

/// All that the page shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// What the window is called; the target, say.
    pub title: String,
    /// What came out.
    pub verdict: Verdict,
    /// Which run it was.
    pub run: Run,
    /// What was asked of the server.
    pub objectives: Vec<Objective>,
    /// What the reader must know to read the numbers rightly: a sentence each.
    pub remarks: Vec<String>,
    /// What became of the messages.
    pub counts: Counts,
    /// From planned start to final reply.
    pub response_us: Option<Percentiles>,
    /// From the first byte sent to the final reply.
    pub service_us: Option<Percentiles>,
    /// The longest p99 of response that the objectives allow, in microseconds.
    pub response_limit_us: Option<u64>,
    /// Latency by percentile, a curve for each kind; the first three are drawn.
    pub spectrum: Vec<Curve>,
    /// The run in time, in order.
    pub intervals: Vec<Interval>,
    /// The phases of the arrival plan, in order.
    pub stages: Vec<Band>,
    /// The server's queue, if it was looked at; its samples are in the intervals.
    pub queue: Option<Queue>,
    /// The phases of a conversation, in order.
    pub phases: Vec<Phase>,
    /// What the server said.
    pub replies: Vec<Reply>,
    /// The search for the highest rate, if it was one.
    pub limit: Option<Limit>,
    /// What became of accepted messages, if it was looked at.
    pub delivery: Option<Delivery>,
    /// What the generator says about itself.
    pub generator: Generator,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// In a word.
    pub kind: VerdictKind,
    /// In a sentence.
    pub sentence: String,
}

/// The word of a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerdictKind {
    /// All objectives are met.
    Met,
    /// At least one is not.
    Missed,
    /// The generator was the limit.
    Invalid,
    /// There is nothing to judge.
    #[default]
    NothingAccepted,
    /// Somebody ended it.
    Interrupted,
    /// The highest rate that holds is known.
    LimitFound,
}

/// Which run it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The server.
    pub target: String,
    /// As in every message.
    pub id: String,
    /// When it began, for people.
    pub started: String,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The command, without secrets.
    pub command: String,
    /// Of the plan and the messages.
    pub seed: Option<u64>,
    /// The same for all shards of a plan.
    pub plan_digest: String,
    /// Of the program.
    pub version: String,
    /// Anything else: names and values.
    pub more: Vec<(String, String)>,
}

/// One objective, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objective {
    /// What is measured: `p99 response`.
    pub name: String,
    /// `< 500 ms`.
    pub asked: String,
    /// `212 ms`.
    pub actual: String,
    /// None if it cannot be said.
    pub is_met: Option<bool>,
}

/// What became of the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Arrivals of the plan, without warm-up.
    pub offered: u64,
    /// A complete 2xx to the end of the message.
    pub accepted: u64,
    /// 5xx.
    pub refused: u64,
    /// 4xx until no attempt was left.
    pub deferred: u64,
    /// No server answered.
    pub failed: u64,
    /// No complete reply.
    pub unknown: u64,
    /// Arrivals that could not be started.
    pub not_started: u64,
    /// Waiting for another attempt at the end.
    pub not_retried: u64,
    /// What the plan asked for, a second, if there was one.
    pub asked_per_s: Option<f64>,
    /// Accepted messages, a second.
    pub achieved_per_s: f64,
    /// In accepted messages.
    pub bytes: u64,
    /// Anything else.
    pub more: Vec<Fact>,
}

/// A distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// 50 %.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// Latency by percentile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// `response`, `service`, `delivery`.
    pub name: String,
    /// Quantiles, 0 to 1, and microseconds; in order.
    pub points: Vec<(f64, u64)>,
}

/// What happened in a second or another short time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Interval {
    /// Its start, from the start of the run.
    pub at_s: f64,
    /// Whether it does not count.
    pub is_warmup: bool,
    /// What the plan asked for, if there was one.
    pub asked_per_s: Option<f64>,
    /// Accepted messages.
    pub accepted_per_s: f64,
    /// Messages seen where they are delivered, if that was looked at.
    pub delivered_per_s: Option<f64>,
    /// Half of the responses, in microseconds; none without a response.
    pub p50_us: Option<u64>,
    /// 99 % of them.
    pub p99_us: Option<u64>,
    /// All of them.
    pub max_us: Option<u64>,
    /// Messages in the server's queue.
    pub queue: Option<u64>,
    /// Connections open.
    pub open: Option<u64>,
}

/// A phase of the arrival plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Band {
    /// As in the profile.
    pub name: String,
    /// Its start, from the start of the run.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Whether it does not count.
    pub is_warmup: bool,
}

/// How the server's queue went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    /// Who was asked: `postfix`.
    pub source: String,
    /// Messages a second, by the line that fits best; more than none is growth.
    pub slope_per_s: f64,
    /// Where the line starts, in seconds.
    pub from_s: f64,
    /// Where it ends.
    pub to_s: f64,
    /// Messages at its start.
    pub from_depth: f64,
}

/// A phase of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Phase {
    /// `connect`, `mail`.
    pub name: String,
    /// As in the JSON: `phases.connect`.
    pub key: String,
    /// Whether a conversation has this one or the one before it, not both: TLS in full or resumed.
    pub is_alternative: bool,
    /// How long it took.
    pub us: Percentiles,
}

/// What the server said, and how often.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// What it was said to: `rcpt`.
    pub phase: String,
    /// `450`; none if the conversation ended otherwise.
    pub code: Option<u16>,
    /// `4.2.0`, or empty.
    pub enhanced: String,
    /// The text, without what differs from message to message.
    pub text: String,
    /// How often.
    pub count: u64,
    /// First said, in seconds from the start.
    pub first_s: Option<f64>,
    /// Last said.
    pub last_s: Option<f64>,
}

/// The search for the highest rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limit {
    /// The highest rate that held, a second.
    pub holds_per_s: Option<f64>,
    /// The lowest that broke.
    pub breaks_per_s: Option<f64>,
    /// The rates in the order they were tried.
    pub steps: Vec<Step>,
}

/// One rate that was tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The plan's rate.
    pub asked_per_s: f64,
    /// Accepted, a second.
    pub achieved_per_s: f64,
    /// Response, in microseconds.
    pub p50_us: Option<u64>,
    /// Response, in microseconds.
    pub p99_us: Option<u64>,
    /// Whether all objectives were met; none if it could not be judged.
    pub held: Option<bool>,
    /// Why it broke, or empty.
    pub reason: String,
}

/// What became of accepted messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delivery {
    /// Where was looked: `imap://…`.
    pub place: String,
    /// Copies that were accepted.
    pub expected: u64,
    /// Of these, found.
    pub delivered: u64,
    /// Of these, not found.
    pub lost: u64,
    /// Found more than once.
    pub doubled: u64,
    /// Found, and not as sent.
    pub corrupted: u64,
    /// Anything else.
    pub more: Vec<Fact>,
    /// From accepted to found.
    pub us: Option<Percentiles>,
}

/// What the generator says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Generator {
    /// Lateness against the plan.
    pub lateness_us: Option<Percentiles>,
    /// Anything else: CPU, descriptors, ports, retransmissions.
    pub facts: Vec<Fact>,
    /// What would help, a sentence each.
    pub advice: Vec<String>,
}

/// A number with its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fact {
    /// As in the JSON: `generator.cpu_share`.
    pub key: String,
    /// For people.
    pub label: String,
    /// The number.
    pub value: Value,
    /// What it is measured against, in words: `of 65,536`. May be empty.
    pub note: String,
    /// Whether it is the reason that the result is invalid.
    pub is_bad: bool,
}

/// A number and its unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// So many.
    Count(u64),
    /// Microseconds.
    Us(u64),
    /// A second.
    PerS(f64),
    /// Bytes.
    Bytes(u64),
    /// A part of one.
    Share(f64),
    /// No number.
    Text(String),
}

impl Default for Value {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Page {
    fn name(&self) -> &str {
        if self.title.is_empty() { "Load test" } else { &self.title }
    }
}

/// The page, complete: it loads nothing and runs nothing.
pub fn html(page: &Page) -> String {
    let sections = [
        verdict::banner(page),
        figures::section(page),
        limit::section(page),
        latency::section(page),
        over_time::sections(page),
        phases::section(page),
        tables::replies(page),
        tables::accounts(page),
        tables::footer(page),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n\
         <body>\n<main>\n{}</main>\n</body>\n</html>\n",
        html::text(page.name()),
        include_str!("page.css"),
        sections.concat()
    )
}
