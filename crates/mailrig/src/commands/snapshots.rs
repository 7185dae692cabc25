//! `snapshots`: what is in a repository. Needs no key, but for the names in a ledger.

use anyhow::Result;
use jiff::tz::TimeZone;
use serde::Serialize;
use snapshot::crypt::Unseal;
use snapshot::incidents::{self, NamedIncident, StoredLedger};
use snapshot::manifest::{self, LedgerCounts, Manifest, Totals};
use snapshot::repository::Repository;

use super::ledger;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::Exit;
use crate::repository::{choose, identity, open, split_repo};
use crate::ui::{Ui, cell, count, plural, size, table};

/// List the snapshots of a repository
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig snapshots [OPTIONS] [REPO]")]
#[command(after_help = "Examples:
  mailrig snapshots s3://backups/mail
  mailrig snapshots s3://backups/mail --show latest --identity recovery.identity")]
pub(crate) struct SnapshotsArgs {
    /// REPO: path, file:///path or s3://bucket/prefix
    #[arg(value_name = "REPO", num_args = 0..=1)]
    positional: Vec<String>,
    /// Show one snapshot: totals and ledger; with an identity also the names in the ledger
    #[arg(long, value_name = "ID")]
    show: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
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
struct ShowReport {
    #[serde(flatten)]
    row: Row,
    /// What a person should know of the choice of the snapshot.
    notices: Vec<String>,
    /// The ledger's lines; `None` without an identity.
    incidents: Option<Vec<NamedIncident>>,
    /// What of them could not be read.
    problems: Vec<String>,
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
        let mut notices = Vec::new();
        let manifest = choose(&repository, wanted, None, ui, &mut notices)?;
        let ledger = stored_ledger(args, &repository, &manifest)?;
        let (entries, problems) = match ledger {
            Some(ledger) => (Some(ledger.entries), ledger.problems),
            None => (None, Vec::new()),
        };
        let report = ShowReport { row: row(manifest), notices, incidents: entries, problems };
        report.problems.iter().for_each(|problem| ui.warning(problem));
        ui.result("snapshot", &report, || show(&report))?;
        return Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Incomplete });
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

/// The names in the ledger, where they can be read.
fn stored_ledger(
    args: &SnapshotsArgs,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Option<StoredLedger>> {
    let identity = identity(&args.identity, repository)?;
    let plain = Unseal::Plain;
    let identity = if repository.is_encrypted() { identity.as_ref() } else { Some(&plain) };
    Ok(identity.map(|identity| incidents::read(repository, manifest, identity)).transpose()?)
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
                state(row).into(),
                store(row),
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

fn show(report: &ShowReport) -> String {
    let row = &report.row;
    let mut lines = vec![
        ("snapshot", row.id.clone()),
        ("time", local_time(&row.time)),
        ("store", store(row)),
        ("tool", cell(&row.tool).into_owned()),
        ("mailboxes", count(row.totals.mailboxes)),
        ("trees", count(row.totals.trees)),
        ("messages", format!("{}, {}", count(row.totals.messages), size(row.totals.bytes))),
    ];
    lines.extend(ledger::counts(&row.ledger).into_iter().filter(|(_, count)| count != "0"));
    let mut text: String =
        lines.iter().map(|(label, value)| format!("{label:<20} {value}\n")).collect();
    match &report.incidents {
        Some(entries) => {
            for entry in entries {
                text.push_str(&ledger::line(&entry.incident, &entry.path, entry.reason.as_deref()));
            }
        }
        None if row.ledger != LedgerCounts::default() => {
            text.push_str("ledger     its names are sealed: give --identity to see them\n");
        }
        None => {}
    }
    let lost = match row.ledger.expunge_alarms {
        0 => String::new(),
        alarms => format!("; {} lost much mail", plural(alarms, "mailbox")),
    };
    let whole = if row.is_incomplete { "incomplete" } else { "whole" };
    text.push_str(&format!("The snapshot is {whole}{lost}.\n"));
    text
}

fn store(row: &Row) -> String {
    cell(&format!("{}:{}", row.host, row.store)).into_owned()
}

/// For a column.
fn state(row: &Row) -> &'static str {
    match (row.is_incomplete, row.ledger.expunge_alarms) {
        (true, 0) => "incomplete",
        (true, _) => "incomplete, alarm",
        (false, 0) => "whole",
        (false, _) => "alarm",
    }
}

fn local_time(time: &str) -> String {
    time.parse::<jiff::Timestamp>().map_or_else(
        |_| time.to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
