//! What a journal says: plain data, one event a line. Names of what comes by the million are short; times are
//! microseconds from the start of the run, by a clock that is never set.

use serde::{Deserialize, Serialize};

use crate::scenario::Report;

/// One line: what happened, when, and the hash of the line before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'l> {
    /// SHA-256 of the line before, without its end, in hexadecimal; of nothing in the first.
    pub prev: &'l str,
    /// Microseconds from the start of the run.
    pub t: u64,
    /// What happened.
    pub e: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The first of all.
    Begin(Box<Begin>),
    /// A message is about to be sent: from here on nobody but its reply knows whether it was.
    Intent(Intent),
    /// What an attempt came to.
    Done(Done),
    /// Somebody who looks all the time saw a message.
    Seen(Seen),
    /// A round of reading begins.
    Survey(Survey),
    /// A place is read from its beginning.
    Read {
        /// Which.
        p: u16,
    },
    /// A copy that lies there.
    Found(Found),
    /// What a folder says of itself over IMAP.
    Folder(Folder),
    /// A bounce that names a message.
    Bounced {
        /// The message.
        m: u64,
        /// Its recipient; none: the bounce does not say which.
        r: Option<u32>,
        /// Where it lies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        p: Option<u16>,
    },
    /// A place was read to its end, or not.
    ReadEnd {
        /// Which.
        p: u16,
        /// Why it could not be read; none: it was.
        failed: Option<String>,
        /// Messages that are no part of this run.
        foreign: u64,
    },
    /// The round is over.
    SurveyEnd {
        /// As it began.
        moment: Moment,
    },
    /// A reading client is about to remove a message for good. Until it has, nobody knows whether it is there.
    Expunging {
        /// The message.
        m: u64,
        /// Its recipient.
        r: u32,
    },
    /// A reading client removed a message for good.
    Expunged {
        /// The message.
        m: u64,
        /// Its recipient.
        r: u32,
    },
    /// Something happened to the service from here on: RTO runs from it.
    Incident {
        /// The step that made it.
        name: String,
        /// Whether a person was asked for it just now: it happens before his answer, nobody knows when.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
    },
    /// What a person was asked for has happened.
    Happened {
        /// The step.
        name: String,
    },
    /// The way is open again, as far as the drill can tell: what was promoted serves.
    Promoted {
        /// The step that did it.
        name: String,
    },
    /// What a probe said.
    Probe {
        /// Of which service, by its place in [`Begin::services`].
        s: u16,
        /// Why not; none: it is well.
        failed: Option<String>,
        /// From the question, whose time is that of the line, to the answer, in microseconds.
        took: u64,
    },
    /// A step begins.
    Step {
        /// Its name.
        name: String,
        /// What it does, for people.
        does: String,
        /// Who does it; empty: the drill.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        who: String,
    },
    /// A step has ended.
    StepEnd {
        /// Its name.
        name: String,
        /// Why it failed; none: it is done.
        failed: Option<String>,
        /// Whether that is an answer to what the drill asks, and not a drill that went wrong.
        judged: bool,
        /// What it printed or found, shortened, without secrets.
        said: String,
    },
    /// An undo that will be needed if what follows happens.
    Armed(Armed),
    /// An undo was done, and looked at.
    Undone {
        /// Of which.
        id: u32,
        /// Why it failed; none: all is as it was.
        failed: Option<String>,
    },
    /// The part of the traffic that begins.
    Phase {
        /// `baseline`, `fault`, `recovered` or `drain`.
        name: String,
    },
    /// Something that a reader should know.
    Note {
        /// A sentence.
        text: String,
    },
    /// The run stops before its time.
    Aborted {
        /// Why.
        why: String,
    },
    /// Nothing follows but what `recover` does.
    End,
}

impl Event {
    /// Whether it is one of those that come by the thousand.
    pub fn is_of_a_message(&self) -> bool {
        matches!(
            self,
            Event::Intent(_)
                | Event::Done(_)
                | Event::Seen(_)
                | Event::Found(_)
                | Event::Bounced { .. }
                | Event::Expunged { .. }
                | Event::Folder(_)
                | Event::Probe { .. }
        )
    }
}

/// What a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// Of this form of the journal.
    pub version: u32,
    /// The run's id, as it stands in each message.
    pub run: String,
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub title: String,
    /// For people who read the report.
    pub description: String,
    /// Who answers for it, and what it is evidence for.
    pub report: Report,
    /// The machine on which it ran.
    pub host: String,
    /// Its SHA-256, after variables were put in and secrets masked.
    pub scenario_sha256: String,
    /// Of mailrig.
    pub tool_version: String,
    /// What the wall clock showed at the microsecond 0 of the run.
    pub at: String,
    /// Of the kernel: processes, rules and addresses do not outlive it.
    pub boot_id: String,
    /// Of the traffic.
    pub seed: u64,
    /// Roles by name.
    pub roles: Vec<String>,
    /// Who mail is for.
    pub recipients: Vec<String>,
    /// Where copies may lie.
    pub places: Vec<Place>,
    /// What is probed.
    pub services: Vec<String>,
    /// Names of the servers that mail is sent to.
    pub servers: Vec<String>,
    /// What is asked of the run.
    pub objectives: Objectives,
}

/// Where copies may lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// For people: `primary maildir`.
    pub name: String,
    /// The role whose it is, by its number.
    pub role: u16,
    /// What lies there.
    pub kind: PlaceKind,
    /// Places with the same number show the same copies: a store that is read as Maildir and over IMAP.
    pub store: u16,
}

/// What lies in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// Delivered mail.
    Mailbox,
    /// Mail that is to go on.
    Queue,
    /// Mail that somebody is to look at.
    Quarantine,
    /// What a snapshot gives back, by itself.
    Snapshot,
}

/// What a run must keep to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// For each service: from the incident until it is stable, in microseconds.
    pub rto_us: Vec<Option<u64>>,
    /// Accepted messages that may be lost for good.
    pub lost: u64,
    /// Accepted messages that may be out of sight at promotion; none: any number.
    pub rpo_messages: Option<u64>,
    /// The age that the oldest of those may have, in microseconds; none: any.
    pub rpo_us: Option<u64>,
    /// Copies above what attempts explain.
    pub duplicates: u64,
    /// Messages that readers had removed, and that may be back.
    pub resurrected: u64,
    /// Copies that may still lie in a role that does not serve; none: any number.
    pub stranded: Option<u64>,
    /// Copies that may still wait in a queue of one that does; none: any number.
    pub pending: Option<u64>,
    /// Of all messages, how many may be refused at every attempt, 0 to 1; none: all.
    pub error_share: Option<f64>,
    /// From a reply until the message is seen, in microseconds, before it counts as late; none: never.
    pub late_us: Option<u64>,
    /// How many of them may be late.
    pub late: u64,
    /// For a service to be stable: so many successes after each other.
    pub stable_count: u32,
    /// And for so long, in microseconds.
    pub stable_us: u64,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            rto_us: Vec::new(),
            lost: 0,
            rpo_messages: None,
            rpo_us: None,
            duplicates: 0,
            resurrected: 0,
            stranded: Some(0),
            pending: None,
            error_share: None,
            late_us: None,
            late: 0,
            stable_count: 5,
            stable_us: 1_000_000,
        }
    }
}

/// An attempt that begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The message.
    pub m: u64,
    /// Which attempt, from 1 on.
    pub a: u32,
    /// To which server.
    pub s: u16,
    /// For whom.
    pub to: Vec<u32>,
    /// Its size.
    pub bytes: u64,
}

/// What an attempt came to, for each of its recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The message.
    pub m: u64,
    /// Which attempt.
    pub a: u32,
    /// A complete 2yz to the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ok: Vec<u32>,
    /// No complete reply once a byte of the end may have left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<u32>,
    /// Anything before that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail: Vec<u32>,
    /// A complete 4yz or 5yz to the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<u32>,
    /// Whether another server is tried at once: then this is no failure that anybody feels.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// What was said, or what happened, if it was not 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A message that came to sight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The message.
    pub m: u64,
    /// Whose mailbox; none: that of its recipients, whoever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<u32>,
    /// Where.
    pub p: u16,
}

/// A round of reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// What it is to show.
    pub moment: Moment,
    /// Roles that serve now, by their numbers.
    pub serving: Vec<u16>,
}

/// What a round of reading is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// How things go.
    Between,
    /// What users see when somebody else serves.
    Promotion,
    /// What a snapshot alone would have given back.
    Snapshot,
    /// After the dead one's queue and store were brought over.
    Salvage,
    /// What the verdict is about.
    Final,
}

/// A copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The message.
    pub m: u64,
    /// Whose mailbox, or who it waits for; none: nobody whom the run knows.
    pub r: Option<u32>,
    /// Where.
    pub p: u16,
    /// Whether its body is not what was sent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bad: bool,
    /// What IMAP, or a uidlist, says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Imap>,
}

/// What IMAP says of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imap {
    /// The folder.
    pub folder: String,
    /// UIDVALIDITY.
    pub validity: u32,
    /// UID.
    pub uid: u32,
    /// Flags and keywords in their order, a space between two, without `\Recent`; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// INTERNALDATE, in seconds since 1970; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<i64>,
}

/// A folder over IMAP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Whose mailbox.
    pub r: u32,
    /// Where.
    pub p: u16,
    /// Its name.
    pub folder: String,
    /// UIDVALIDITY.
    pub validity: u32,
    /// UIDNEXT.
    pub next: u32,
}

/// An undo that was written down before what it undoes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// Its number in this run.
    pub id: u32,
    /// The step that needs it.
    pub step: String,
    /// What is done to undo, as data.
    pub undo: serde_json::Value,
    /// What a person would type instead.
    pub by_hand: String,
}

fn is_false(is: &bool) -> bool {
    !is
}
