//! Who takes part: where commands run, where mail goes in and is read, and where what a server keeps can be seen.

use serde::Deserialize;

use crate::reach::INBOX;

/// Somebody who takes part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Where its commands run.
    #[serde(default)]
    pub on: Where,
    /// Where it takes mail: `HOST:PORT`.
    pub smtp: Option<String>,
    /// TLS for that; without it mail is sent in plain text.
    pub tls: Option<Tls>,
    /// Where it takes mail of those who say who they are.
    pub submission: Option<Submission>,
    /// Where mail is read.
    pub imap: Option<Imap>,
    /// The store of its mailboxes, in the file system of the drill.
    pub store: Option<Store>,
    /// Its queue.
    pub queue: Option<Queue>,
    /// What a snapshot of its store was restored to. It is read by `survey = "snapshot"` alone, and says what would be lost
    /// if it were all there is.
    pub snapshot: Option<Store>,
    /// Where mail is put aside: a folder of files.
    pub quarantine: Option<String>,
    /// Whether users see its mailboxes when the drill begins.
    #[serde(default)]
    pub serves: bool,
}

impl Role {
    /// Where it is reached, by whatever protocol.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &String> {
        let submission = self.submission.as_ref().map(|submission| &submission.address);
        let imap = self.imap.as_ref().map(|imap| &imap.address);
        [self.smtp.as_ref(), submission, imap].into_iter().flatten()
    }

    /// Whether what stands in it makes sense by itself.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if matches!(&self.queue, Some(Queue::Command(argv)) if argv.is_empty()) {
            return Err(format!("role `{name}`: queue.command is empty"));
        }
        for folder in self.imap.iter().flat_map(|imap| &imap.folders) {
            // In a question to a server some stand for any.
            let is_odd = |c: char| c.is_control() || "*%".contains(c);
            if folder.is_empty() || folder.contains(is_odd) {
                let folder = folder.escape_debug();
                return Err(format!(
                    "role `{name}`: imap.folders: `{folder}` is no name of a folder"
                ));
            }
            if folder.eq_ignore_ascii_case(INBOX) {
                return Err(format!(
                    "role `{name}`: imap.folders: INBOX is read anyhow; name others"
                ));
            }
        }
        Ok(())
    }
}

/// Where commands run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Where {
    /// On this machine.
    #[default]
    Local,
    /// On another one: what ssh calls it. ssh must not have to ask for anything.
    Ssh(String),
    /// In a network namespace of this one.
    Namespace(String),
    /// In a node of the lab.
    Node(String),
    /// Behind a command that takes a command: `["podman", "exec", "mx1"]`.
    Container(Vec<String>),
}

impl Where {
    /// Whether its processes are of this machine: what they are started with, and who may end them.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Where::Local | Where::Namespace(_) | Where::Node(_))
    }
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Where::Local => f.write_str("here"),
            Where::Ssh(target) => write!(f, "ssh {target}"),
            Where::Namespace(name) => write!(f, "network namespace {name}"),
            Where::Node(name) => write!(f, "node {name}"),
            Where::Container(prefix) => f.write_str(&prefix.join(" ")),
        }
    }
}

/// Where mail is submitted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// `HOST:PORT`.
    pub address: String,
    /// Who says so.
    pub user: String,
    /// The name of a secret.
    pub password: String,
    /// TLS; without it the password goes to this machine and the lab only.
    pub tls: Option<Tls>,
}

/// Where mail is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Imap {
    /// `HOST:PORT`.
    pub address: String,
    /// The user's name there, with `%u` for the address, `%n` and `%d` for its parts.
    #[serde(default = "percent_u")]
    pub user: String,
    /// The name of the secret that lets all of them in.
    pub password: String,
    /// Folders beside INBOX in which mail may lie, such as `Junk`, by the names that people see. One that nobody has yet is
    /// empty.
    #[serde(default)]
    pub folders: Vec<String>,
    /// TLS; without it the password goes to this machine only.
    pub tls: Option<Tls>,
}

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// From its first byte on, not by STARTTLS.
    #[serde(default)]
    pub implicit: bool,
    /// A file of the authorities to trust, and no others; without it: the system's.
    pub ca: Option<String>,
    /// The name that the certificate must have; without it: that of the address.
    pub name: Option<String>,
    /// Whether any certificate will do, as for most senders of mail.
    #[serde(default)]
    pub any: bool,
}

/// A store of mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Its folder.
    pub maildirs: String,
    /// Where in it a mailbox lies, in Dovecot's words.
    #[serde(default = "domain_user")]
    pub layout: String,
}

/// A queue; one of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Queue {
    /// The folder that `mailrig serve --queue` has.
    Mailrig(String),
    /// The queue folder of a Postfix (`queue_directory`), in the file system of the drill.
    Postfix(String),
    /// The spool folder of an Exim (`spool_directory`), likewise.
    Exim(String),
    /// Of a machine whose file system is not here: a command that runs there, and prints the header of each message that
    /// waits.
    Command(Vec<String>),
}

fn percent_u() -> String {
    "%u".into()
}

fn domain_user() -> String {
    "%d/%n".into()
}
