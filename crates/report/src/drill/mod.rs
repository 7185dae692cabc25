//! The record of a drill: what it shows as plain data, and four ways to write it. All fields are
//! public and have defaults; times are microseconds from the start of the run, and every text may
//! have been written by somebody hostile.

mod head;
mod junit;
mod markdown;
mod prometheus;
mod record;
mod results;
mod timeline;

use crate::html;

/// All that the record shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The answer.
    pub verdict: Verdict,
    /// Which run it was.
    pub identity: Identity,
    /// What was tried and why, in sentences.
    pub description: String,
    /// What the reader must know to read the rest rightly: a sentence each.
    pub remarks: Vec<String>,
    /// Attempts by second, in order; seconds without an attempt may be left out.
    pub seconds: Vec<Second>,
    /// The parts of the traffic, in order.
    pub phases: Vec<Phase>,
    /// What was asked for, worst first.
    pub criteria: Vec<Criterion>,
    /// What became of the messages.
    pub messages: Messages,
    /// The worst of them.
    pub examples: Vec<Example>,
    /// How long services were away, by incident and service.
    pub outages: Vec<Outage>,
    /// Accepted mail that was out of sight, by moment.
    pub losses: Vec<Loss>,
    /// What IMAP promises, if anybody looked.
    pub continuity: Option<Continuity>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// Whether all is as it was.
    pub undos: Vec<Undo>,
    /// The files that prove it.
    pub evidence: Vec<Evidence>,
    /// Who stands for it; roles that nobody is named for are left to be filled in.
    pub signatures: Vec<Signature>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// In a word.
    pub word: Word,
    /// In a sentence.
    pub sentence: String,
}

/// One of three answers: what could not be seen is never a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Word {
    /// Everything is as it was asked for.
    Pass,
    /// Something is not.
    Fail,
    /// Something could not be seen.
    #[default]
    Unknown,
}

/// Which run it was. What is empty is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The run's id, as in each message.
    pub drill: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its SHA-256, in hexadecimal.
    pub scenario_sha256: String,
    /// Of the program.
    pub tool_version: String,
    /// Where the program ran.
    pub host: String,
    /// Who ran it.
    pub operator: String,
    /// Who allowed it.
    pub approver: String,
    /// The change or ticket it was done under.
    pub ticket: String,
    /// What asks for it: a clause of a standard, a plan.
    pub reference: String,
    /// When it began by the wall clock, RFC 3339 in UTC.
    pub started: String,
    /// When it ended, in seconds since 1970, if that is known.
    pub end_unix_s: Option<u64>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Why it stopped before its time, or empty.
    pub aborted: String,
}

/// What attempts of a second came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Its start, in microseconds from the start of the run.
    pub at_us: u64,
    /// A complete 2yz to the end of the message.
    pub accepted: u64,
    /// Anything before the end, or a complete 4yz or 5yz to it.
    pub failed: u64,
    /// No complete reply once a byte of the end may have left.
    pub in_doubt: u64,
}

/// A part of the traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    /// `baseline`, `fault`, `recovered`, `drain`.
    pub name: String,
    /// Its start.
    pub from_us: u64,
    /// Its end.
    pub to_us: u64,
}

/// One thing that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criterion {
    /// A word for it: `lost`.
    pub name: String,
    /// What was asked for.
    pub asked: String,
    /// What there was.
    pub measured: String,
    /// Whether that is it.
    pub word: Word,
}

/// Messages, once for each recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages {
    /// All that an attempt was made for.
    pub sent: u64,
    /// Of those, the ones with a complete 2yz to the end.
    pub accepted: u64,
    /// Attempts, of messages.
    pub attempts: u64,
    /// By class, worst first: the word (`lost`, `delivered_after_reject`) and how many.
    pub by_class: Vec<(String, u64)>,
    /// Messages with the mark of this run that were never sent.
    pub never_sent: u64,
    /// Messages that are not of this run.
    pub foreign: u64,
    /// Copies beyond the first that attempts explain.
    pub explained_copies: u64,
    /// With none lost, no more than so many in a million are, at 95 %.
    pub lost_bound_ppm: Option<u64>,
}

/// A message that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Its number.
    pub message: u64,
    /// Who it was for.
    pub recipient: String,
    /// What became of it, as in [`Messages::by_class`].
    pub class: String,
    /// When it was accepted, if it was.
    pub accepted_us: Option<u64>,
    /// What was found, in words.
    pub found: String,
}

/// How long a service was away after an incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outage {
    /// The step that made it.
    pub incident: String,
    /// The service.
    pub service: String,
    /// From the incident until it was stable; none: it did not come back, or was never asked.
    pub rto_us: Option<u64>,
    /// What was asked for.
    pub objective_us: Option<u64>,
    /// When the incident was.
    pub fault_us: u64,
    /// The first failure after it.
    pub noticed_us: Option<u64>,
    /// When whoever took over was ready.
    pub promoted_us: Option<u64>,
    /// The first success after the first failure.
    pub first_ok_us: Option<u64>,
    /// The start of the first row of successes that was long enough.
    pub stable_us: Option<u64>,
    /// Failures after the incident.
    pub failures: u64,
    /// Successes after it.
    pub successes: u64,
}

/// Accepted mail that was out of sight at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// `promotion`, `salvage`, `snapshot`, `final`.
    pub moment: String,
    /// Messages, once for each recipient, that were accepted by then.
    pub accepted: u64,
    /// Of those, the ones out of sight.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// How long before the incident the oldest of them was accepted.
    pub age_us: Option<u64>,
    /// Places that could not be read: there may be more to see.
    pub unread: Vec<String>,
}

/// What IMAP promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Continuity {
    /// Messages that were looked at with their UID, each time that they were.
    pub looks: u64,
    /// Promises that were broken.
    pub breaches: u64,
    /// The first of them, a sentence each.
    pub examples: Vec<String>,
}

/// Something that was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at_us: u64,
    /// When by the wall clock, in UTC.
    pub utc: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub what: String,
    /// What it said or found, or why it failed.
    pub result: String,
    /// Whether it failed.
    pub is_failed: bool,
    /// Whether something happened to the service from here on.
    pub is_fault: bool,
    /// How long it took; none: it never ended.
    pub duration_us: Option<u64>,
    /// Who did it: a person where a person was asked to.
    pub who: String,
}

/// What became of an undo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// Of what.
    pub what: String,
    /// Whether all is as it was.
    pub is_done: bool,
    /// Why not, or empty.
    pub why: String,
    /// What a person would type instead.
    pub by_hand: String,
}

/// A file that proves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Its name.
    pub file: String,
    /// In hexadecimal.
    pub sha256: String,
}

/// Who stands for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// `created`, `reviewed`, `acknowledged`.
    pub role: String,
    /// Who; empty: a line to write on.
    pub name: String,
    /// When; empty: a line to write on.
    pub date: String,
}

impl Page {
    fn title(&self) -> String {
        match self.identity.scenario.as_str() {
            "" => "Drill".to_owned(),
            scenario => format!("Drill: {scenario}"),
        }
    }
}

impl Word {
    /// As in JSON.
    fn raw(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }

    /// For people, with a sign for those who see no colour.
    fn shown(self) -> &'static str {
        match self {
            Self::Pass => "✓ pass",
            Self::Fail => "✗ fail",
            Self::Unknown => "– unknown",
        }
    }

    fn tone(self) -> &'static str {
        match self {
            Self::Pass => "good",
            Self::Fail => "bad",
            Self::Unknown => "warn",
        }
    }
}

/// The page, complete: it loads nothing and runs nothing, and a browser prints it as evidence.
pub fn html(page: &Page) -> String {
    let sections = [
        head::banner(page),
        head::identity(page),
        head::description(page),
        timeline::section(page),
        results::criteria(page),
        results::messages(page),
        results::examples(page),
        results::outages(page),
        results::losses(page),
        results::continuity(page),
        record::steps(page),
        record::undos(page),
        record::evidence(page),
        record::signatures(page),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n{}{}</style>\n</head>\n\
         <body>\n<main>\n{}</main>\n</body>\n</html>\n",
        html::text(&page.title()),
        include_str!("../load/page.css"),
        include_str!("page.css"),
        sections.concat()
    )
}

/// The same in short, for a pull request or a ticket: tables as GitHub reads them.
pub fn markdown(page: &Page) -> String {
    markdown::write(page)
}

/// For a CI server: a test case for each criterion, the steps as properties.
pub fn junit(page: &Page) -> String {
    junit::write(page)
}

/// For the textfile collector of Prometheus: text exposition format 0.0.4, gauges only.
pub fn prometheus(page: &Page) -> String {
    prometheus::write(page)
}

/// Rows of a table that may come by the hundred; the rest is counted.
const MOST_STEPS: usize = 500;
const MOST_EXAMPLES: usize = 200;
const MOST_ROWS: usize = 200;
