//! `snapshots`: what is in a repository. Needs no key.

use anyhow::Result;
use jiff::tz::TimeZone;
use serde::Serialize;
use snapshot::manifest::{self, LedgerCounts, Manifest, Totals};

use crate::cli::S3Args;
use crate::exit::Exit;
use crate::repository::{open, split_repo};
use crate::ui::{Ui, count, plural, size, table};

/// List the snapshots of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mailrig snapshots s3://backups/mail
  mailrig snapshots s3://backups/mail --show latest")]
pub(crate) struct SnapshotsArgs {
    /// REPO: path, file:///path or s3://bucket/prefix
    #[arg(value_name = "REPO")]
    positional: Vec<String>,
    /// Show one snapshot: totals and ledger
    #[arg(long, value_name = "ID")]
    show: Option<String>,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Serialize)]
struct SnapshotsReport {
    snapshots: Vec<Row>,
    /// Manifests that could not be read.
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    time: String,
    host: String,
    store: String,
    tool: String,
    #[serde(flatten)]
    totals: Totals,
    ledger: LedgerCounts,
    is_incomplete: bool,
}

#[derive(Serialize)]
struct Damaged {
    id: String,
    reason: String,
}

pub(crate) fn run(args: &SnapshotsArgs, ui: &Ui) -> Result<Exit> {
    let (location, _) = split_repo(&args.positional, &[])?;
    let repository = open(&location, &args.s3)?;
    if let Some(wanted) = &args.show {
        let row = row(manifest::select(repository.store(), wanted, None)?);
        ui.result("snapshot", &row, || show(&row))?;
        return Ok(Exit::Done);
    }
    let mut report = SnapshotsReport { snapshots: Vec::new(), damaged: Vec::new() };
    for id in manifest::ids(repository.store())? {
        match Manifest::read(repository.store(), &id) {
            Ok(manifest) => report.snapshots.push(row(manifest)),
            Err(e) if e.is_local_to_object() || matches!(e, snapshot::Error::TooNew { .. }) => {
                ui.warning(format!("{e}"));
                report.damaged.push(Damaged { id, reason: e.to_string() });
            }
            Err(e) => return Err(e.into()),
        }
    }
    ui.result("snapshots", &report, || list(&report))?;
    Ok(if report.damaged.is_empty() { Exit::Done } else { Exit::Incomplete })
}

fn row(manifest: Manifest) -> Row {
    Row {
        is_incomplete: manifest.ledger.is_incomplete(),
        id: manifest.id,
        time: manifest.time.to_string(),
        host: manifest.host,
        store: manifest.store,
        tool: manifest.tool,
        totals: manifest.totals,
        ledger: manifest.ledger,
    }
}

fn list(report: &SnapshotsReport) -> String {
    let rows: Vec<Vec<String>> = report
        .snapshots
        .iter()
        .map(|row| {
            vec![
                row.id.clone(),
                local_time(&row.time),
                count(row.totals.mailboxes),
                count(row.totals.messages),
                size(row.totals.bytes),
                if row.is_incomplete { "incomplete".into() } else { "whole".into() },
                format!("{}:{}", row.host, row.store),
            ]
        })
        .collect();
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        table(&["ID", "TIME", "MAILBOXES", "MESSAGES", "SIZE", "STATE", "STORE"], &rows)
    };
    text.push_str(&format!("{}.\n", plural(report.snapshots.len() as u64, "snapshot")));
    text
}

fn show(row: &Row) -> String {
    let ledger = &row.ledger;
    let lines = [
        ("snapshot", row.id.clone()),
        ("time", local_time(&row.time)),
        ("store", format!("{}:{}", row.host, row.store)),
        ("tool", row.tool.clone()),
        ("mailboxes", count(row.totals.mailboxes)),
        ("trees", count(row.totals.trees)),
        ("messages", format!("{}, {}", count(row.totals.messages), size(row.totals.bytes))),
        ("unreadable", count(ledger.unreadable)),
        ("not messages", count(ledger.not_messages)),
        ("unstable folders", count(ledger.unstable_folders)),
        ("expunged during run", count(ledger.expunged_during_run)),
        ("duplicate names", count(ledger.duplicate_names)),
        ("links not followed", count(ledger.not_followed)),
        ("not Maildirs", count(ledger.foreign_formats)),
        ("mailboxes missing", count(ledger.mailboxes_missing)),
    ];
    let mut text: String =
        lines.iter().map(|(label, value)| format!("{label:<20} {value}\n")).collect();
    let state = if row.is_incomplete { "incomplete" } else { "whole" };
    text.push_str(&format!("The snapshot is {state}.\n"));
    text
}

fn local_time(time: &str) -> String {
    time.parse::<jiff::Timestamp>().map_or_else(
        |_| time.to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
