//! `ls`: look into a snapshot, down to the source of a message.

use std::io;

use anyhow::{Context, Result};
use serde::Serialize;
use snapshot::contents::{self, FileRow, FolderRow, MailboxRow, MessageRow, TreeRow, Unreadable};
use snapshot::message_id::MessageId;

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{choose, identity, open, split_repo};
use crate::ui::{Ui, WRITING, cell, count, plural, size, table};

/// List the mailboxes, folders or messages of a snapshot, print a message, or list a plain tree
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailrig ls [OPTIONS] [REPO] SNAPSHOT [TREE]\n       mailrig ls [OPTIONS] [REPO] --message ID"
)]
#[command(after_help = "Examples:
  mailrig ls s3://backups/mail latest
  mailrig ls s3://backups/mail latest --mailbox alice@example.org
  mailrig ls s3://backups/mail latest --mailbox alice@example.org --folder Sent
  mailrig ls s3://backups/mail latest /etc/postfix
  mailrig ls s3://backups/mail --message 20261121T205946650Z-b3de5f7cd1a8/17b6bcab/0e3b1c62f09a4d5e")]
pub(crate) struct LsArgs {
    /// REPO, (without --message) the snapshot, and perhaps a tree that went along (backup --with), by its path
    #[arg(value_names = ["REPO", "SNAPSHOT", "TREE"], num_args = 0..=3)]
    positional: Vec<String>,
    /// Print the source of this message, byte for byte: an id as `find` prints it
    #[arg(long, value_name = "ID", conflicts_with_all = ["mailbox", "folder", "json"])]
    message: Option<MessageId>,
    /// Only this mailbox, by its name, its path in the store, or its id: its folders
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
    /// What a person should know of the choice of the snapshot.
    notices: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailboxes: Option<Vec<MailboxRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trees: Option<Vec<TreeRow>>,
    /// Mailboxes and trees that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folders: Option<Vec<FolderRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<FileRow>>,
}

pub(crate) fn run(args: &LsArgs, ui: &Ui) -> Result<Exit> {
    if let Some(message) = &args.message {
        return print_message(args, message);
    }
    let (positional, tree) = split_tree(&args.positional);
    let (location, rest) = split_repo(positional, &["SNAPSHOT"])?;
    let repository = open(&location, &args.s3)?;
    let mut notices = Vec::new();
    let manifest = choose(&repository, &rest[0], None, ui, &mut notices)?;
    let identity = identity(&args.identity, &repository)?;
    let identity = identity.as_ref();
    let mut report = LsReport {
        snapshot: manifest.id.clone(),
        notices,
        mailboxes: None,
        trees: None,
        unreadable: Vec::new(),
        folders: None,
        messages: None,
        files: None,
    };
    if tree.is_some() && args.mailbox.is_some() {
        return Err(UsageError("name either a tree or a --mailbox".into()).into());
    }
    let text = match (args.mailbox.as_ref().or(tree), &args.folder) {
        (None, None) => {
            let list = contents::list(&repository, &manifest, identity, threads())?;
            let mut text = String::new();
            for mailbox in &list.unreadable {
                let reason = cell(&mailbox.reason);
                text.push_str(&format!("unreadable {}: {reason}\n", mailbox.id));
            }
            text.push_str(&trees(&list.trees));
            text.push_str(&mailboxes(&list.mailboxes));
            report.mailboxes = Some(list.mailboxes);
            report.trees = Some(list.trees);
            report.unreadable = list.unreadable;
            text
        }
        (Some(name), None) => {
            let contents = contents::mailbox(&repository, &manifest, identity, name)?;
            if contents.tree {
                let rows = contents::files(&contents);
                let text = files(&rows);
                report.files = Some(rows);
                ui.result("ls", &report, || text)?;
                return Ok(Exit::Done);
            }
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

/// What is given, without the tree at its end: no snapshot's id begins with a slash.
fn split_tree(positional: &[String]) -> (&[String], Option<&String>) {
    match positional.split_last() {
        Some((last, rest)) if last.starts_with('/') && !rest.is_empty() => (rest, Some(last)),
        _ => (positional, None),
    }
}

fn trees(rows: &[TreeRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cell = |row: &TreeRow| {
        let name = row.name.escape_debug().to_string();
        vec![name, count(row.folders), count(row.files), size(row.bytes)]
    };
    let cells: Vec<_> = rows.iter().map(cell).collect();
    table(&["TREE", "FOLDERS", "FILES", "SIZE"], &cells) + "\n"
}

/// The bytes of a message are the result; there is no document and no sentence around them.
fn print_message(args: &LsArgs, message: &MessageId) -> Result<Exit> {
    if let [_, _, ..] = args.positional.as_slice() {
        let reason = "--message names its snapshot itself: give REPO alone";
        return Err(UsageError(reason.into()).into());
    }
    let (location, _) = split_repo(&args.positional, &[])?;
    let repository = open(&location, &args.s3)?;
    let identity = identity(&args.identity, &repository)?;
    let mut out = io::stdout().lock();
    match contents::message(&repository, identity.as_ref(), message, &mut out)? {
        // `mailrig ls --message ID | head` is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        printed => printed.map(|()| Exit::Done).context(WRITING),
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
            let flags = row.flags.escape_debug().to_string();
            vec![row.name.escape_debug().to_string(), flags, time(&row.mtime), size(row.bytes)]
        })
        .collect();
    let mut text = table(&["MESSAGE", "FLAGS", "TIME (UTC)", "SIZE"], &cells);
    text.push_str(&format!("{}.\n", plural(rows.len() as u64, "message")));
    text
}

fn files(rows: &[FileRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let path = row.path.escape_debug();
            let path = match (&row.target, row.kind) {
                (Some(target), _) => format!("{path} -> {}", target.escape_debug()),
                (None, "folder") => format!("{path}/"),
                (None, _) => path.to_string(),
            };
            let owner = format!("{}:{}", row.uid, row.gid);
            let time = row.mtime.as_deref().map_or_else(String::new, time);
            vec![path, row.mode.clone(), owner, time, row.bytes.map_or_else(String::new, size)]
        })
        .collect();
    let mut text = table(&["FILE", "MODE", "OWNER", "TIME (UTC)", "SIZE"], &cells);
    let count = rows.iter().filter(|row| row.kind != "folder").count();
    text.push_str(&format!("{}.\n", plural(count as u64, "file")));
    text
}

/// Seconds since 1970 for people.
fn time(seconds: &str) -> String {
    seconds
        .split('.')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}
