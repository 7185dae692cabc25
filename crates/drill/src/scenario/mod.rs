//! A scenario: what a drill does, as a TOML file. Text becomes this in two steps: a first reading finds what is wrong and
//! where it stands; a second one puts variables in. What is known only when the drill runs (`${lab}`, `${port.…}`,
//! `${steps.…}`) stays in the text of a step until then.

pub(crate) mod check;
mod faults;
mod lab;
mod parse;
mod promote;
mod roles;
mod steps;
#[cfg(test)]
mod tests;
mod vars;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::check::{MAIL, READING};
pub use self::faults::{Clock, Fault, Fill, NetworkFault, ProxyFault};
pub use self::lab::{Disk, Lab, Process, ProxyAt, Signal};
pub use self::parse::{BadScenario, LONGEST_BYTES, Loaded, load};
pub use self::promote::{Haproxy, MovedAddress, Promote, Start};
pub use self::roles::{Imap, Queue, Role, Store, Submission, Tls, Where};
pub use self::steps::{Action, Manual, Probe, RestoreCheck, Run, Salvage, Step, WaitUntil};
pub(crate) use self::vars::unescaped;
pub use self::vars::{BadVariable, Values};

/// What a drill does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of this form of the file: 1.
    pub version: u32,
    /// One line: what it shows.
    pub title: String,
    /// For people who read the report.
    #[serde(default)]
    pub description: String,
    /// Names and values that may stand in all texts as `${name}`; `--set` changes them.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Values that no journal and no report shows: `${secret.name}`.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// The environment besides of every `mailrig` that runs on this machine: how to reach a repository, for instance. Secrets
    /// may stand in it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What is asked of the run.
    #[serde(default)]
    pub objectives: Objectives,
    /// Servers that the drill makes for itself.
    #[serde(default)]
    pub lab: Lab,
    /// Who takes part.
    pub roles: BTreeMap<String, Role>,
    /// Mail that is sent all the time.
    pub traffic: Traffic,
    /// Services that are asked all the time how they are, by name. `mail` is the traffic itself.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// What must be true before the first step.
    #[serde(default)]
    pub steady: Vec<Probe>,
    /// What ends the run before its time.
    #[serde(default)]
    pub abort_if: Vec<AbortIf>,
    /// The whole must be done by then; undoing is not counted.
    #[serde(default = "ten_minutes")]
    pub max_duration: Span,
    /// What happens, in this order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What is run at the very end, whatever became of the rest, after all else was undone; from the last to the first.
    #[serde(default)]
    pub undo: Vec<Run>,
    /// Hosts that are never touched, whatever a step says.
    #[serde(default)]
    pub protected: Vec<String>,
    /// What stands in the report besides.
    #[serde(default)]
    pub report: Report,
}

/// Where a secret comes from; one of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// The first line of a file.
    File(String),
    /// The first line that a program prints.
    Command(Vec<String>),
    /// A variable of the environment.
    Env(String),
}

/// What is asked of the run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// By service: how long it may be away after an incident.
    #[serde(default)]
    pub rto: BTreeMap<String, Span>,
    /// Accepted messages that may be out of sight when somebody else serves.
    pub rpo_messages: Option<u64>,
    /// The age that the oldest of those may have.
    pub rpo_time: Option<Span>,
    /// Accepted messages that may be lost for good.
    #[serde(default)]
    pub lost: u64,
    /// Copies above those that attempts explain.
    #[serde(default)]
    pub duplicates: u64,
    /// Messages that readers had removed, and that may be back, as after a restore.
    #[serde(default)]
    pub resurrected: u64,
    /// Accepted messages that may still lie where nobody serves.
    #[serde(default)]
    pub stranded: u64,
    /// Accepted messages that may still wait in a queue; without it: any number.
    pub pending: Option<u64>,
    /// The share of all messages, 0 to 1, that may be refused at every attempt; without it: all.
    pub errors: Option<f64>,
    /// When a message is late, and how many may be.
    pub late: Option<Late>,
    /// When a service is stable again.
    #[serde(default)]
    pub stable: Stable,
}

/// When a message is late.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// From the reply until it is seen.
    pub after: Span,
    /// How many may be late.
    #[serde(default)]
    pub messages: u64,
}

/// When a service is stable again: after a row of successes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Stable {
    /// At least so many.
    pub successes: u32,
    /// And at least so long.
    #[serde(rename = "for")]
    pub length: Span,
}

impl Default for Stable {
    fn default() -> Self {
        Self { successes: 5, length: Span(Duration::from_secs(1)) }
    }
}

/// Mail that is sent all the time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Messages a second: `100/s`.
    pub rate: String,
    /// Who it is for: a pattern as `load --recipients` takes it. The domain must be a reserved one.
    pub recipients: String,
    /// Who it is from.
    #[serde(default = "sender")]
    pub senders: String,
    /// Roles in the order in which a sender tries them, as by MX records.
    pub to: Vec<String>,
    /// Roles to which every second message goes by submission, in this order.
    #[serde(default)]
    pub submit_to: Vec<String>,
    /// People who read their mail meanwhile.
    pub readers: Option<Readers>,
    /// How long a sender waits before each further round.
    #[serde(default = "retries")]
    pub retry: Vec<Span>,
    /// How long it waits for a connection, and for an answer.
    #[serde(default = "five_seconds")]
    pub patience: Span,
    /// How large messages are, as `load --size` takes it.
    #[serde(default = "two_kib")]
    pub size: String,
    /// At one time.
    #[serde(default = "fifty")]
    pub connections: u32,
    /// Before the first step.
    #[serde(default = "three_seconds")]
    pub baseline: Span,
    /// After the last one.
    #[serde(default = "three_seconds")]
    pub recovered: Span,
    /// At the end, until everything is where it is to be.
    #[serde(default = "thirty_seconds")]
    pub drain: Span,
    /// What the messages follow from.
    #[serde(default = "one")]
    pub seed: u64,
}

/// People who read their mail over IMAP while all goes on: each logs in, looks for what is new, and leaves. How they fare
/// is the service `reading`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Readers {
    /// The role at which.
    pub of: String,
    /// At one time.
    #[serde(default = "two")]
    pub clients: u32,
    /// Between two looks of one.
    #[serde(default = "a_hundred_ms")]
    pub every: Span,
    /// An answer that takes longer is none.
    #[serde(default = "five_seconds")]
    pub patience: Span,
    /// Who sees one of so many messages removes it for good; without it nobody does. It must not come back.
    pub expunge_every: Option<NonZeroU32>,
}

/// Something that is asked all the time how it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How it is asked.
    pub probe: Probe,
    /// Between two questions.
    #[serde(default = "a_hundred_ms")]
    pub interval: Span,
    /// An answer that takes longer is none.
    #[serde(default = "one_second")]
    pub patience: Span,
}

/// What ends the run before its time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AbortIf {
    /// The service that fails.
    pub service: String,
    /// For so long without a success.
    #[serde(rename = "for")]
    pub length: Span,
}

/// What stands in the report besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Who answers for the drill.
    #[serde(default)]
    pub operator: String,
    /// Who allowed it.
    #[serde(default)]
    pub approver: String,
    /// The number of a change or ticket.
    #[serde(default)]
    pub ticket: String,
    /// What this drill is evidence for.
    #[serde(default)]
    pub reference: String,
}

/// A length of time, written as `300ms`, `5s` or `2m`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

#[cfg(test)]
impl schemars::JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time: 300ms, 5s, 2m.",
            "pattern": r"^[0-9P]|\$\{",
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A variable is put in later.
        if text.contains("${") {
            return Ok(Self::default());
        }
        ::load::plan::parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

fn ten_minutes() -> Span {
    Span(Duration::from_secs(600))
}

fn thirty_seconds() -> Span {
    Span(Duration::from_secs(30))
}

fn one_second() -> Span {
    Span(Duration::from_secs(1))
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn three_seconds() -> Span {
    Span(Duration::from_secs(3))
}

fn a_hundred_ms() -> Span {
    Span(Duration::from_millis(100))
}

fn retries() -> Vec<Span> {
    [200, 500, 1000, 2000, 4000].map(|ms| Span(Duration::from_millis(ms))).to_vec()
}

fn one() -> u64 {
    1
}

fn two() -> u32 {
    2
}

fn fifty() -> u32 {
    50
}

fn sender() -> String {
    "sender@drill.test".into()
}

fn two_kib() -> String {
    "2K".into()
}
