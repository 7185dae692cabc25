//! `ls`: look into a snapshot, down to the source of a message.

use std::io;

use anyhow::Result;
use serde::Serialize;
use snapshot::contents::{self, FolderRow, MailboxRow, MessageRow, Unreadable};
use snapshot::manifest;
use snapshot::message_id::MessageId;

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{identity, open, split_repo};
use crate::ui::{Ui, count, plural, size, table};

/// List the mailboxes, folders or messages of a snapshot, or print a message
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig ls s3://backups/mail latest
  mailrig ls s3://backups/mail latest --mailbox alice@example.org
  mailrig ls s3://backups/mail latest --mailbox alice@example.org --folder Sent
  mailrig ls s3://backups/mail --message 20261121T205946650Z-b3de5f7c/17b6bcab/0e3b1c62f09a4d5e >one.eml")]
pub(crate) struct LsArgs {
    /// REPO, and (without --message) the snapshot
    #[arg(value_names = ["REPO", "SNAPSHOT"], num_args = 0..=2)]
    positional: Vec<String>,
    /// Print the source of this message, byte for byte: an id as `find` prints it
    #[arg(long, value_name = "ID", conflicts_with_all = ["mailbox", "folder", "json"])]
    message: Option<MessageId>,
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
    if let Some(message) = &args.message {
        return print_message(args, message);
    }
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
            let (rows, unreadable) =
                contents::mailboxes(&repository, &manifest, identity, threads())?;
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

/// The bytes of a message are the result; there is no document and no sentence around them.
fn print_message(args: &LsArgs, message: &MessageId) -> Result<Exit> {
    let (location, _) = split_repo(&args.positional, &[])?;
    let repository = open(&location, &args.s3)?;
    let identity = identity(&args.identity, &repository)?;
    let mut out = io::stdout().lock();
    match contents::message(&repository, identity.as_ref(), message, &mut out)? {
        // `mailrig ls --message ID | head` is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        printed => Ok(printed.map(|()| Exit::Done)?),
    }
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
