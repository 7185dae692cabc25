//! `restore`: put a snapshot's mailboxes into a folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use snapshot::manifest;
use snapshot::progress::Progress;
use snapshot::restore::{self, Options, Report};

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{identity, open, split_repo};
use crate::ui::{Ui, count, duration, plural, size, table};

/// Restore mailboxes from a snapshot
///
/// Each mailbox is written to its path below DIR, into a folder that gets its name when it is
/// whole; nothing that exists is overwritten. UIDs, flags and dates are as in the snapshot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig restore s3://backups/mail latest --to /srv/restored
  mailrig restore s3://backups/mail latest --to /srv/restored --mailbox alice@example.org --folder Sent
  mailrig restore s3://backups/mail latest --at '2026-11-20 12:00' --to /srv/restored --dry-run")]
pub(crate) struct RestoreArgs {
    /// REPO, and the snapshot
    #[arg(value_names = ["REPO", "SNAPSHOT"], num_args = 1..=2)]
    positional: Vec<String>,
    /// Folder to restore into
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only this mailbox
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Only this folder of it
    #[arg(long, value_name = "NAME", requires = "mailbox")]
    folder: Option<String>,
    /// With `latest`: the newest snapshot that is not younger (2026-11-20, '2026-11-20 12:00',
    /// 2026-11-20T12:00:00Z; local time unless it says otherwise)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// Say what would be restored, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub(crate) fn run(args: RestoreArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, rest) = split_repo(&args.positional, &["SNAPSHOT"])?;
    if args.at.is_some() && rest[0] != manifest::LATEST {
        return Err(UsageError("--at goes with the snapshot `latest` only".into()).into());
    }
    let repository = open(&location, &args.s3)?;
    let manifest = manifest::select(repository.store(), &rest[0], args.at)?;
    let identity = identity(&args.identity, &repository)?;
    let options = Options {
        to: std::path::absolute(&args.to)?,
        mailbox: args.mailbox,
        folder: args.folder,
        dry_run: args.dry_run,
        threads: threads(),
    };
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = restore::run(&repository, &manifest, identity.as_ref(), &options, &progress);
    drop(display);
    let report = report?;
    ui.result("restore", &report, || text(&report, &options, started))?;
    Ok(if report.is_incomplete { Exit::Incomplete } else { Exit::Done })
}

fn text(report: &Report, options: &Options, started: Instant) -> String {
    let rows: Vec<Vec<String>> = report
        .mailboxes
        .iter()
        .map(|row| {
            let name = row.name.escape_debug().to_string();
            let path = options.to.join(&row.path).display().to_string();
            vec![name, count(row.messages), size(row.bytes), path]
        })
        .collect();
    let mut text = if rows.len() > SHOWN && !options.dry_run {
        String::new()
    } else {
        table(&["MAILBOX", "MESSAGES", "SIZE", "TO"], &rows)
    };
    for problem in report.problems.iter().take(SHOWN) {
        let missing = match problem.messages {
            0 => String::new(),
            messages => format!(" ({} missing)", plural(messages, "message")),
        };
        text.push_str(&format!("missing    {}: {}{missing}\n", problem.mailbox, problem.reason));
    }
    if let Some(more) = report.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(
            "missing    and {}, see --json\n",
            plural(more as u64, "more line")
        ));
    }
    let verb = if options.dry_run { "Would restore" } else { "Restored" };
    let ending = if report.is_incomplete { "; not all of it, see above" } else { "" };
    text.push_str(&format!(
        "{verb} {} with {} ({}) from snapshot {} in {}{ending}.\n",
        plural(report.mailboxes.len() as u64, "mailbox"),
        plural(report.messages, "message"),
        size(report.bytes),
        report.snapshot,
        duration(started.elapsed())
    ));
    text
}

/// A time with zone, or a local date with or without a time. A date alone means its end.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let civil = match text.parse::<jiff::civil::Date>() {
        Ok(date) if text.len() <= 10 => date.at(23, 59, 59, 0),
        _ => text.parse::<DateTime>().map_err(|e| e.to_string())?,
    };
    let zoned = civil.to_zoned(TimeZone::system()).map_err(|e| e.to_string())?;
    Ok(zoned.timestamp())
}

const SHOWN: usize = 20;
