//! `ls`: look into a snapshot.

use anyhow::Result;
use serde::Serialize;
use snapshot::contents::{self, FolderRow, MailboxRow, MessageRow, Unreadable};
use snapshot::manifest;

use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{identity, open, split_repo};
use crate::ui::{Ui, count, plural, size, table};

/// List the mailboxes, folders or messages of a snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig ls s3://backups/mail latest
  mailrig ls s3://backups/mail latest --mailbox alice@example.org
  mailrig ls s3://backups/mail latest --mailbox alice@example.org --folder Sent")]
pub(crate) struct LsArgs {
    /// REPO, and the snapshot
    #[arg(value_names = ["REPO", "SNAPSHOT"], num_args = 1..=2)]
    positional: Vec<String>,
    /// Only this mailbox: its folders
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Only this folder of it: its messages
    #[arg(long, value_name = "NAME", requires = "mailbox")]
    folder: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Serialize)]
struct LsReport {
    snapshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailboxes: Option<Vec<MailboxRow>>,
    /// Mailboxes that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folders: Option<Vec<FolderRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageRow>>,
}

pub(crate) fn run(args: &LsArgs, ui: &Ui) -> Result<Exit> {
    let (location, rest) = split_repo(&args.positional, &["SNAPSHOT"])?;
    let repository = open(&location, &args.s3)?;
    let manifest = manifest::select(repository.store(), &rest[0], None)?;
    let identity = identity(&args.identity, &repository)?;
    let identity = identity.as_ref();
    let mut report = LsReport {
        snapshot: manifest.id.clone(),
        mailboxes: None,
        unreadable: Vec::new(),
        folders: None,
        messages: None,
    };
    let text = match (&args.mailbox, &args.folder) {
        (None, None) => {
            let (rows, unreadable) = contents::mailboxes(&repository, &manifest, identity)?;
            let mut text = String::new();
            for mailbox in &unreadable {
                text.push_str(&format!("unreadable {}: {}\n", mailbox.id, mailbox.reason));
            }
            text.push_str(&mailboxes(&rows));
            report.mailboxes = Some(rows);
            report.unreadable = unreadable;
            text
        }
        (Some(name), None) => {
            let contents = contents::mailbox(&repository, &manifest, identity, name)?;
            let rows = contents::folders(&contents);
            let text = folders(&rows);
            report.folders = Some(rows);
            text
        }
        (Some(name), Some(folder)) => {
            let contents = contents::mailbox(&repository, &manifest, identity, name)?;
            let rows = contents::messages(&contents, folder)?;
            let text = messages(&rows);
            report.messages = Some(rows);
            text
        }
        (None, Some(_)) => return Err(UsageError("--folder needs --mailbox".into()).into()),
    };
    ui.result("ls", &report, || text)?;
    Ok(if report.unreadable.is_empty() { Exit::Done } else { Exit::Incomplete })
}

fn mailboxes(rows: &[MailboxRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let name = row.name.escape_debug().to_string();
            vec![name, count(row.folders), count(row.messages), size(row.bytes)]
        })
        .collect();
    let mut text = table(&["MAILBOX", "FOLDERS", "MESSAGES", "SIZE"], &cells);
    let messages = rows.iter().map(|row| row.messages).sum();
    let mailboxes = plural(rows.len() as u64, "mailbox");
    text.push_str(&format!("{mailboxes} with {}.\n", plural(messages, "message")));
    text
}

fn folders(rows: &[FolderRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let name = row.folder.escape_debug().to_string();
            vec![name, count(row.messages), count(row.new), size(row.bytes)]
        })
        .collect();
    let mut text = table(&["FOLDER", "MESSAGES", "NEW", "SIZE"], &cells);
    let messages = rows.iter().map(|row| row.messages).sum();
    let folders = plural(rows.len() as u64, "folder");
    text.push_str(&format!("{folders} with {}.\n", plural(messages, "message")));
    text
}

fn messages(rows: &[MessageRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let time = row
                .mtime
                .split('.')
                .next()
                .and_then(|seconds| seconds.parse().ok())
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
                .map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M").to_string());
            let flags = row.flags.escape_debug().to_string();
            vec![row.name.escape_debug().to_string(), flags, time, size(row.bytes)]
        })
        .collect();
    let mut text = table(&["MESSAGE", "FLAGS", "TIME (UTC)", "SIZE"], &cells);
    text.push_str(&format!("{}.\n", plural(rows.len() as u64, "message")));
    text
}
