//! `find`: look for messages by their header fields.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use snapshot::backup::RequestCounts;
use snapshot::choose::LATEST;
use snapshot::find::{self, Found, Options, Query, Scope, Text};
use snapshot::progress::Progress;

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{identity, open, split_repo};
use crate::time;
use crate::ui::{Ui, cell, duration, plural, terminal_width};

/// Find messages by their header fields
///
/// Fields are compared decoded and in any case, by part; all conditions must hold. The indexes are
/// read, not the mail. The first column is the id that `ls --message` and `restore --messages`
/// take. To a terminal a table is printed; to a pipe, fields with tabs between. That nothing is
/// found is no failure.
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig find [OPTIONS] [REPO]")]
#[command(after_help = "Examples:
  mailrig find s3://backups/mail --from billing@ --subject invoice --since 2026-11-01
  mailrig find s3://backups/mail --mailbox alice@example.org --deleted --since 7d
  mailrig find s3://backups/mail --message-id '<20261121.1@example.org>' --all
  mailrig find s3://backups/mail --mailbox alice@example.org --deleted |
    mailrig restore s3://backups/mail --messages - --in-place /var/vmail")]
pub(crate) struct FindArgs {
    /// REPO: path, file:///path or s3://bucket/prefix
    #[arg(value_name = "REPO", num_args = 0..=1)]
    positional: Vec<String>,
    /// Only this mailbox: its name, its path in the store, or its id
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Part of the From field
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// Part of the To field
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// Part of the Subject field
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// The whole Message-ID, with or without angle brackets
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Received then or later (INTERNALDATE, not the Date field): 2026-11-21, '2026-11-21 03:00',
    /// 2026-11-21T03:00:00Z, or so long ago: 36h, 7d, 2w
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Received before then
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    before: Option<Timestamp>,
    /// Only what older snapshots have and the newest has in no folder any more
    #[arg(long)]
    deleted: bool,
    /// Look into this snapshot [default: latest; with --deleted all]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "all")]
    snapshot: Option<String>,
    /// Look into all snapshots; each content is shown once, as the last one has it
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Serialize)]
struct FindReport {
    #[serde(flatten)]
    report: find::Report,
    requests: RequestCounts,
}

pub(crate) fn run(args: &FindArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, _) = split_repo(&args.positional, &[])?;
    if let (Some(since), Some(before)) = (args.since, args.before)
        && since >= before
    {
        return Err(UsageError("--since must lie before --before".into()).into());
    }
    let repository = open(&location, &args.s3)?;
    let identity = identity(&args.identity, &repository)?;
    let options = options(args);
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = find::run(&repository, identity.as_ref(), &options, &progress);
    drop(display);
    let report = report?;
    report.notices.iter().for_each(|notice| ui.warning(notice));
    for problem in &report.problems {
        ui.warning(format!("{}: {}", problem.what, problem.reason));
    }
    let summary = summary(&report, &options, started);
    let requests = repository.store().requests().into();
    let report = FindReport { report, requests };
    let messages = &report.report.messages;
    match terminal_width() {
        Some(width) => ui.result("find", &report, || table(messages, width) + &summary + "\n")?,
        None => {
            ui.result("find", &report, || lines(messages))?;
            ui.status(&summary);
        }
    }
    Ok(if report.report.is_incomplete { Exit::Incomplete } else { Exit::Done })
}

fn options(args: &FindArgs) -> Options {
    let text = |text: &Option<String>| text.as_deref().map(Text::new);
    // What does not fit lies centuries after any mail.
    let ns = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
    let mut query = Query {
        from: text(&args.from),
        to: text(&args.to),
        subject: text(&args.subject),
        message_id: None,
        since_ns: args.since.map(ns),
        before_ns: args.before.map(ns),
    };
    if let Some(id) = &args.message_id {
        query.set_message_id(id);
    }
    let scope = match &args.snapshot {
        Some(snapshot) => Scope::One(snapshot.clone()),
        None if args.all || args.deleted => Scope::All,
        None => Scope::One(LATEST.into()),
    };
    // Some wait for the store while others decode.
    let threads = threads().max(4);
    Options { mailbox: args.mailbox.clone(), scope, deleted: args.deleted, query, threads }
}

fn cells(found: &Found) -> [String; 6] {
    let text = |text: &str| cell(text).into_owned();
    let field = |field: &Option<String>| text(field.as_deref().unwrap_or_default());
    [
        found.id.clone(),
        time::local_minute(found.time_ns),
        text(&found.mailbox),
        text(&found.folder),
        field(&found.headers.from),
        field(&found.headers.subject),
    ]
}

fn lines(messages: &[Found]) -> String {
    messages.iter().map(|found| cells(found).join("\t") + "\n").collect()
}

/// Aligned, each line cut where the terminal ends; in a narrow one a message has two lines, and an id
/// is whole in any.
fn table(messages: &[Found], width: usize) -> String {
    if messages.is_empty() {
        return String::new();
    }
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 6]> =
        std::iter::once(header).chain(messages.iter().map(cells)).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).min(COLUMNS[column])
        })
        .collect();
    let line = |row: &[String; 6], columns: &[usize], width: usize| {
        let cells = columns.iter().map(|column| {
            let cut: String = row[*column].chars().take(widths[*column]).collect();
            format!("{cut:<width$}", width = widths[*column])
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.chars().take(width).collect::<String>().trim_end().to_owned() + "\n"
    };
    let lines = |row: &[String; 6]| match width {
        WIDE.. => line(row, &[0, 1, 2, 3, 4, 5], width),
        width => {
            let first = line(row, &[0, 3, 2], width.max(widths[0]));
            format!("{first}    {}", line(row, &[1, 4, 5], width.saturating_sub(4)))
        }
    };
    rows.iter().map(lines).collect()
}

fn summary(report: &find::Report, options: &Options, started: Instant) -> String {
    let found = match report.messages.len() as u64 {
        0 => "No message".to_owned(),
        messages => plural(messages, "message"),
    };
    let deleted = if options.deleted { " that the newest snapshot lacks" } else { "" };
    let ending = if report.is_incomplete { "; not all could be read, see above" } else { "" };
    format!(
        "{found} found{deleted} in {} of {} in {}{ending}.",
        plural(report.mailboxes, "mailbox"),
        plural(report.snapshots, "snapshot"),
        duration(started.elapsed())
    )
}

/// The columns of a table.
pub(crate) const HEADER: [&str; 6] =
    ["MESSAGE", "RECEIVED", "MAILBOX", "FOLDER", "FROM", "SUBJECT"];

/// A terminal that has room for an id and what it is of.
const WIDE: usize = 180;

/// The most that a column takes in a table.
const COLUMNS: [usize; 6] = [64, 16, 32, 24, 30, 200];

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::headers::Headers;

    #[test]
    fn ids_are_whole_in_every_terminal() {
        let id = "20261121T205946650Z-b3de5f7cd1a8/17b6bcab/0e3b1c62f09a4d5e".to_owned();
        let headers = Headers { subject: Some("invoice".into()), ..Headers::default() };
        let messages = [Found { id: id.clone(), headers, ..Found::default() }];
        for (width, lines) in [(200, 2), (180, 2), (100, 4), (80, 4), (40, 4)] {
            let table = table(&messages, width);
            assert_eq!(table.lines().count(), lines, "{table}");
            assert!(table.lines().any(|line| line.starts_with(&id)), "{table}");
            let cut = table.lines().filter(|line| !line.starts_with(&id));
            assert!(cut.into_iter().all(|line| line.chars().count() <= width), "{table}");
            assert!(width < 80 || table.contains("invoice"), "{table}");
        }
    }
}
