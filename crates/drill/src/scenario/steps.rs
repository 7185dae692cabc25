//! The steps of a scenario: what each kind of them says. A step does one thing; what it does is undone at the end, in the
//! order opposite to that in which it was done.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fault, Promote, Span};
use crate::command::line;
use crate::journal::Moment;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StepFile")]
pub struct Step {
    /// Its name: no other step has it.
    pub name: String,
    /// How long to let things go on before it.
    pub after: Option<Span>,
    /// How long it may take.
    pub timeout: Span,
    /// Whether the time of recovery runs from it, if that is said.
    pub incident: Option<bool>,
    /// Whether it does.
    pub is_incident: bool,
    /// What it does.
    pub action: Action,
}

impl Step {
    /// Its name, and those of the steps in it.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = vec![self.name.as_str()];
        if let Action::Parallel(steps) = &self.action {
            names.extend(steps.iter().flat_map(Step::names));
        }
        names
    }
}

/// A step as it is written: what it does stands under a name of its own.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct StepFile {
    /// Its name: no other step has it.
    name: String,
    /// How long to let things go on before it.
    after: Option<Span>,
    /// How long it may take.
    timeout: Option<Span>,
    /// Whether the time of recovery runs from it; without it: from what breaks something.
    incident: Option<bool>,
    /// Runs a command.
    run: Option<Run>,
    /// Runs mailrig with these arguments, on this machine.
    mailrig: Option<Vec<String>>,
    /// Breaks something, or mends it.
    fault: Option<Fault>,
    /// Starts a process of the lab, or starts it again.
    start: Option<String>,
    /// Ends a process of the lab, and starts it again.
    restart: Option<String>,
    /// Lets another role serve.
    promote: Option<Promote>,
    /// Lets the first role serve again.
    failback: Option<Promote>,
    /// Waits until something is true.
    wait_until: Option<WaitUntil>,
    /// Insists that something is true.
    expect: Option<Probe>,
    /// Looks at all places.
    survey: Option<Moment>,
    /// Brings the queue of a dead role to another one.
    salvage: Option<Salvage>,
    /// Restores some mailboxes to a scratch place, and compares them with their snapshot.
    restore_check: Option<RestoreCheck>,
    /// Lets a person do something.
    manual: Option<Manual>,
    /// Does several steps at one time.
    parallel: Option<Vec<Step>>,
}

#[cfg(test)]
impl schemars::JsonSchema for Step {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = StepFile::json_schema(generator);
        let kinds = ACTIONS.split(", ").map(|kind| kind.trim_matches('`'));
        let one: Vec<_> = kinds.map(|kind| serde_json::json!({ "required": [kind] })).collect();
        schema.insert("oneOf".into(), one.into());
        schema
    }
}

impl TryFrom<StepFile> for Step {
    type Error = String;

    fn try_from(file: StepFile) -> Result<Self, String> {
        let name = file.name;
        let actions = [
            file.run.map(Action::Run),
            file.mailrig.map(Action::Mailrig),
            file.fault.map(Action::Fault),
            file.start.map(Action::Start),
            file.restart.map(Action::Restart),
            file.promote.map(Action::Promote),
            file.failback.map(Action::Failback),
            file.wait_until.map(Action::WaitUntil),
            file.expect.map(Action::Expect),
            file.survey.map(Action::Survey),
            file.salvage.map(Action::Salvage),
            file.restore_check.map(Action::RestoreCheck),
            file.manual.map(Action::Manual),
            file.parallel.map(Action::Parallel),
        ];
        let mut actions = actions.into_iter().flatten();
        let action = match (actions.next(), actions.next()) {
            (Some(action), None) => action,
            (None, _) => {
                return Err(format!("step `{name}` does nothing: it needs one of {ACTIONS}"));
            }
            (Some(_), Some(_)) => {
                return Err(format!("step `{name}` does two things: make two steps of it"));
            }
        };
        let breaks = matches!(&action, Action::Fault(fault) if fault.breaks());
        let (incident, is_incident) = (file.incident, file.incident.unwrap_or(breaks));
        let timeout = file.timeout.unwrap_or_else(|| action.usual_timeout());
        Ok(Self { name, after: file.after, timeout, incident, is_incident, action })
    }
}

const ACTIONS: &str = "`run`, `mailrig`, `fault`, `start`, `restart`, `promote`, `failback`, `wait_until`, `expect`, `survey`, \
    `salvage`, `restore_check`, `manual`, `parallel`";

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a command.
    Run(Run),
    /// Runs mailrig with these arguments, on this machine.
    Mailrig(Vec<String>),
    /// Breaks something.
    Fault(Fault),
    /// Starts a process of the lab, or starts it again.
    Start(String),
    /// Ends a process of the lab as its administrator would, and starts it again.
    Restart(String),
    /// Lets another role serve.
    Promote(Promote),
    /// Lets the first role serve again.
    Failback(Promote),
    /// Waits until something is true.
    WaitUntil(WaitUntil),
    /// Insists that something is true.
    Expect(Probe),
    /// Looks at all places.
    Survey(Moment),
    /// Brings what a dead role has to another one.
    Salvage(Salvage),
    /// Restores some mailboxes to a scratch place, and compares them with their snapshot.
    RestoreCheck(RestoreCheck),
    /// Lets a person do something.
    Manual(Manual),
    /// Does several steps at one time.
    Parallel(Vec<Step>),
}

impl std::fmt::Display for Action {
    /// For people, without what stands in variables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Run(run) => write!(f, "run {}", line(&run.argv)),
            Action::Mailrig(args) => write!(f, "mailrig {}", line(args)),
            Action::Fault(fault) => fault.fmt(f),
            Action::Start(name) => write!(f, "start {name}"),
            Action::Restart(name) => write!(f, "restart {name}"),
            Action::Promote(promote) => write!(f, "let {} serve", promote.to),
            Action::Failback(promote) => write!(f, "let {} serve again", promote.to),
            Action::WaitUntil(wait) => write!(f, "wait until {}", wait.probe),
            Action::Expect(probe) => write!(f, "expect that {probe}"),
            Action::Survey(_) => f.write_str("look at all places"),
            Action::Salvage(salvage) => {
                write!(f, "bring the queue of {} to {}", salvage.from, salvage.to)
            }
            Action::RestoreCheck(check) => {
                write!(f, "restore some of {} to a scratch place, and compare", check.repository)
            }
            Action::Manual(manual) => f.write_str(&manual.prompt),
            Action::Parallel(steps) => write!(f, "{} steps at one time", steps.len()),
        }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Probe::Tcp(address) => write!(f, "{address} listens"),
            Probe::Smtp(address) => write!(f, "{address} takes mail"),
            Probe::Submission(role) => write!(f, "{role} takes mail for submission"),
            Probe::Imap(role) => write!(f, "{role} lets readers in"),
            Probe::Dns { name, is: None } => write!(f, "{name} has an address"),
            Probe::Dns { name, is: Some(is) } => write!(f, "{name} is {is}"),
            Probe::Certificate { address, days, .. } => {
                write!(f, "the certificate of {address} is good for {days} days")
            }
            Probe::Disk { folder, free } => write!(f, "the disk of {folder} has {free} free"),
            Probe::Snapshot { repository, younger_than, verified } => {
                let word = if *verified { "verified snapshot" } else { "snapshot" };
                write!(f, "{repository} has a {word} of the last {}", crate::human(younger_than.0))
            }
            Probe::Command(run) => write!(f, "`{}` ends with {}", line(&run.argv), run.exit),
            Probe::File(path) => write!(f, "{path} is there"),
            Probe::Queue { of, at_most } => write!(f, "{at_most} messages or fewer wait at {of}"),
            Probe::Lag { of, behind, at_most } => {
                write!(f, "{of} is {at_most} messages or fewer behind {behind}")
            }
        }
    }
}

impl Action {
    fn usual_timeout(&self) -> Span {
        let seconds = match self {
            Action::WaitUntil(wait) => return wait.within,
            Action::Manual(_) => 3600,
            Action::Mailrig(_)
            | Action::Survey(_)
            | Action::Salvage(_)
            | Action::RestoreCheck(_) => 600,
            _ => 60,
        };
        Span(std::time::Duration::from_secs(seconds))
    }
}

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The role on whose machine; without it: on this one.
    pub on: Option<String>,
    /// Its environment besides, in which secrets may stand.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The exit code that it must have.
    #[serde(default)]
    pub exit: i32,
    /// What undoes it, on the same machine.
    pub undo: Option<Vec<String>>,
    /// What shows, with the exit code 0, that the undo worked.
    pub undone: Option<Vec<String>>,
}

/// A wait with an end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitUntil {
    /// What must be true.
    pub probe: Probe,
    /// By then.
    pub within: Span,
    /// Between two looks.
    #[serde(default = "a_hundred_ms")]
    pub every: Span,
    /// So often after each other.
    #[serde(default = "one")]
    pub times: u32,
}

/// One question about something that lives. One of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// Somebody listens at `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT` greets as a mail server and takes a sender.
    Smtp(String),
    /// A role takes the password of its `submission`.
    Submission(String),
    /// A role lets its `imap` user in, who can open his mailbox.
    Imap(String),
    /// A name has an address, as this machine's resolver has it.
    Dns {
        /// The name.
        name: String,
        /// It must be among its addresses.
        is: Option<String>,
    },
    /// The certificate at `HOST:PORT` is good, and will be.
    Certificate {
        /// `HOST:PORT`.
        address: String,
        /// For so many days at least.
        days: u32,
        /// How TLS is begun: SMTP's STARTTLS, unless it says otherwise.
        #[serde(default)]
        tls: super::Tls,
    },
    /// The disk of a folder has room.
    Disk {
        /// The folder.
        folder: String,
        /// Bytes, as `64M`.
        free: String,
    },
    /// A repository has a young snapshot.
    Snapshot {
        /// As a command of mailrig takes it.
        repository: String,
        /// It is no older.
        younger_than: Span,
        /// Whether it is verified, too, which reads all of it.
        #[serde(default)]
        verified: bool,
    },
    /// A command ends with this code.
    Command(Run),
    /// A file is there.
    File(String),
    /// The queue of a role has no more messages.
    Queue {
        /// The role.
        of: String,
        /// So many, or fewer.
        at_most: u64,
    },
    /// A standby has what another role has: by mailbox, in their stores where both have one, else over IMAP.
    Lag {
        /// The standby.
        of: String,
        /// Whose mail it is to have.
        behind: String,
        /// Of so many messages, or fewer, it has none yet.
        at_most: u64,
    },
}

/// What a dead role has, and who gets it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Salvage {
    /// Whose queue.
    pub from: String,
    /// Who gets it.
    pub to: String,
}

/// A restore drill within this one: `mailrig drill restore`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RestoreCheck {
    /// The repository, as a command of mailrig takes it.
    pub repository: String,
    /// How many mailboxes, chosen at random.
    #[serde(default = "three")]
    pub mailboxes: u32,
    /// More arguments of that command.
    #[serde(default)]
    pub args: Vec<String>,
}

/// What a person does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manual {
    /// What to do.
    pub prompt: String,
    /// Who.
    #[serde(default)]
    pub who: String,
}

fn a_hundred_ms() -> Span {
    super::a_hundred_ms()
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}
