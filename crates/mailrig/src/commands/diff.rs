//! `diff`: what changed between two snapshots.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use snapshot::backup::RequestCounts;
use snapshot::compare::{self, Change, FolderChanges, MessageChange, Options, State};
use snapshot::progress::Progress;

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::Exit;
use crate::repository::{choose, identity, open, split_repo};
use crate::ui::{Ui, cell, count, duration, plural, table};

/// Show what changed between two snapshots
///
/// Messages are known again by folder and base name, then by their contents: one that was put into
/// another folder moved. A copy in another folder is a delivery there.
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig diff [OPTIONS] [REPO] A B")]
#[command(after_help = "Examples:
  mailrig diff s3://backups/mail 20261120 latest
  mailrig diff s3://backups/mail b3de5f7c latest --mailbox alice@example.org --names")]
pub(crate) struct DiffArgs {
    /// REPO, the older and the newer snapshot
    #[arg(value_names = ["REPO", "A", "B"], num_args = 2..=3)]
    positional: Vec<String>,
    /// Only this mailbox: its name, its path in the store, or its id
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Name each message: id and subject, from the indexes
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Serialize)]
struct DiffReport {
    #[serde(flatten)]
    report: compare::Report,
    /// What a person should know of the choice of the snapshot.
    notices: Vec<String>,
    requests: RequestCounts,
}

pub(crate) fn run(args: &DiffArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, rest) = split_repo(&args.positional, &["A", "B"])?;
    let repository = open(&location, &args.s3)?;
    let mut notices = Vec::new();
    let from = choose(&repository, &rest[0], None, ui, &mut notices)?;
    let to = choose(&repository, &rest[1], None, ui, &mut notices)?;
    let identity = identity(&args.identity, &repository)?;
    let options =
        Options { mailbox: args.mailbox.clone(), names: args.names, threads: threads().max(4) };
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = compare::run(&repository, &from, &to, identity.as_ref(), &options, &progress);
    drop(display);
    let report = report?;
    for problem in &report.problems {
        ui.warning(format!("{}: {}", problem.mailbox, problem.reason));
    }
    let report = DiffReport { report, notices, requests: repository.store().requests().into() };
    ui.result("diff", &report, || text(&report.report, started))?;
    Ok(if report.report.is_incomplete { Exit::Incomplete } else { Exit::Done })
}

fn text(report: &compare::Report, started: Instant) -> String {
    let mut text = String::new();
    let rows: Vec<Vec<String>> = report.mailboxes.iter().flat_map(rows).collect();
    if !rows.is_empty() {
        let header =
            ["MAILBOX", "FOLDER", "DELIVERED", "EXPUNGED", "MOVED IN", "OUT", "RE-FLAGGED"];
        text.push_str(&table(&header, &rows));
    }
    for message in report.messages.iter().flatten() {
        text.push_str(&line(message));
    }
    let totals = report.totals;
    let ending = if report.is_incomplete { "; not all could be read, see above" } else { "" };
    text.push_str(&format!(
        "{} delivered, {} expunged, {} moved, {} re-flagged in {}, {} unchanged, from snapshot {} to {} in {}{ending}.\n",
        plural(totals.delivered, "message"),
        count(totals.expunged),
        count(totals.moved),
        count(totals.reflagged),
        plural(report.mailboxes.len() as u64, "mailbox"),
        count(report.unchanged),
        report.from,
        report.to,
        duration(started.elapsed())
    ));
    text
}

fn rows(mailbox: &compare::MailboxChanges) -> Vec<Vec<String>> {
    let name = named(&mailbox.name, mailbox.state, mailbox.renamed_from.as_deref());
    let none = [FolderChanges::default()];
    let folders = if mailbox.folders.is_empty() { &none[..] } else { &mailbox.folders };
    let row = |folder: &FolderChanges| {
        let FolderChanges { delivered, expunged, moved_in, moved_out, reflagged, .. } = *folder;
        let folder = named(&folder.folder, folder.state, folder.renamed_from.as_deref());
        let counts = [delivered, expunged, moved_in, moved_out, reflagged];
        [name.clone(), folder].into_iter().chain(counts.map(count)).collect()
    };
    folders.iter().map(row).collect()
}

fn named(name: &str, state: State, renamed_from: Option<&str>) -> String {
    let note = match (state, renamed_from) {
        (State::Gone, _) => " (gone)".to_owned(),
        (State::Kept, _) => String::new(),
        (State::New, _) => " (new)".to_owned(),
        (State::Renamed, from) => format!(" (was {})", cell(from.unwrap_or_default())),
    };
    format!("{}{note}", cell(name))
}

fn line(message: &MessageChange) -> String {
    let change = match message.change {
        Change::Delivered => "delivered",
        Change::Expunged => "expunged",
        Change::Moved => "moved",
        Change::Reflagged => "re-flagged",
    };
    let folders: Vec<&str> = [&message.from_folder, &message.to_folder]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let folders = if folders.first() == folders.get(1) { &folders[..1] } else { &folders };
    let folders: Vec<String> = folders.iter().map(|folder| cell(folder).into_owned()).collect();
    let field = |field: &Option<String>| cell(field.as_deref().unwrap_or_default()).into_owned();
    let (from, subject) = (field(&message.from), field(&message.subject));
    let (mailbox, folders) = (cell(&message.mailbox), folders.join(" > "));
    format!("{}  {change:<10}  {mailbox}  {folders}  {from}  {subject}\n", message.id)
}
