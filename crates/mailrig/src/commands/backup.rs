//! `backup`: one run over a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;
use snapshot::backup::{self, Alarm, LedgerEntry, MessageCounts, Options, Proof, Report, Trust};
use snapshot::progress::Progress;
use snapshot::state::State;

use super::ledger::{line, more};
use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::Exit;
use crate::kept::KeptArgs;
use crate::repository::{default_state_dir, host_name, identity, open, split_repo};
use crate::ui::{Ui, count, duration, plural, size};

/// Back up a store of Maildirs
///
/// Finds the mailboxes below STORE, reads what is new since the last run, and writes a snapshot.
/// Flag changes and moves cost a line in a catalog. A run that is killed loses nothing that an
/// older snapshot has, and the next one does not upload again what is there.
#[derive(Debug, clap::Args)]
#[command(override_usage = "mailrig backup [OPTIONS] [REPO] STORE")]
#[command(after_help = "Examples:
  mailrig backup s3://backups/mail /var/vmail
  mailrig backup s3://backups/mail /var/vmail --from-doveconf --with /etc/postfix --with /etc/dovecot
  mailrig backup /srv/backup/mail /home --mailbox 'alice*' --dry-run")]
pub(crate) struct BackupArgs {
    /// REPO, and the folder with the mailboxes
    #[arg(value_names = ["REPO", "STORE"], num_args = 1..=2)]
    positional: Vec<String>,
    /// Where this host remembers what it has seen [env: MAILRIG_STATE] [default: /var/lib/mailrig or ~/.local/state/mailrig]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Only mailboxes whose names match (`*`, `?`); the others are taken over from the last snapshot
    #[arg(long = "mailbox", value_name = "GLOB")]
    mailboxes: Vec<String>,
    /// List every folder, compare inode, size and time of every message, write full catalogs
    #[arg(long)]
    full: bool,
    /// Read every message again
    #[arg(long)]
    rehash: bool,
    /// Do not believe folder times: list every folder until two listings agree. For NFS, whose times may tell late; costs two listings or more of every folder every night
    #[arg(long)]
    nfs: bool,
    /// Hold Dovecot's `dovecot-uidlist.lock` while a folder is listed (never while mail is copied): Dovecot renames nothing meanwhile
    #[arg(long)]
    dovecot_lock: bool,
    /// Exit with code 3 when a mailbox lost more than this part of its messages since the last snapshot; 100 never does
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0, value_parser = percent)]
    alarm_expunged: f64,
    /// Sound that alarm only for mailboxes that held as many messages
    #[arg(long, value_name = "N", default_value_t = 1)]
    alarm_min_messages: u64,
    /// Say what would be done, and store nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    kept: KeptArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

pub(crate) fn run(args: BackupArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, rest) = split_repo(&args.positional, &["STORE"])?;
    let root = PathBuf::from(&rest[0]);
    let root =
        root.canonicalize().with_context(|| format!("opening the store {}", root.display()))?;
    let repository = open(&location, &args.s3)?;
    let state_dir = match args.state {
        Some(dir) => dir,
        None => default_state_dir()?,
    };
    let with = args.kept.trees(&root, &location, &state_dir)?;
    let asked = args.kept.outside(&with)?;
    let state = State::open(&state_dir, &repository.description().id, &root)?;
    // Only a lost state needs it: one that cannot be read must not stop a backup.
    let mut notices = asked.notices;
    if let Some(used) = asked.used {
        ui.status(&used);
        if ui.is_json() {
            notices.insert(0, used);
        }
    }
    let identity = identity(&args.identity, &repository).unwrap_or_else(|error| {
        notices.push(format!("{error:#}"));
        None
    });
    let options = Options {
        mailboxes: args.mailboxes,
        with,
        outside: asked.outside,
        trust: match (args.rehash, args.full) {
            (true, _) => Trust::Nothing,
            (false, true) => Trust::Stat,
            (false, false) => Trust::BaseName,
        },
        rebase: args.full || args.rehash,
        proof: if args.nfs { Proof::Agreement } else { Proof::Times },
        dovecot_lock: args.dovecot_lock,
        alarm: Alarm { percent: args.alarm_expunged, min_messages: args.alarm_min_messages },
        dry_run: args.dry_run,
        time: Timestamp::now(),
        host: host_name(),
        threads: threads(),
    };
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = backup::run(&repository, &state, &root, identity.as_ref(), &options, &progress);
    drop(display);
    let mut report = report?;
    report.notices.splice(0..0, notices);
    report.notices.iter().for_each(|notice| ui.warning(notice));
    ui.result("backup", &report, || text(&report, started))?;
    if !report.is_incomplete && report.expunge_alarms.is_empty() {
        return Ok(Exit::Done);
    }
    let see = if ui.is_json() { "" } else { ", see above" };
    ui.problem(&problems(&report), sentence(&report, started, see).trim_end());
    Ok(Exit::Incomplete)
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("not within 0 to 100".into()) }
}

fn text(report: &Report, started: Instant) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| text.push_str(&format!("{label:<10} {value}\n"));
    if let Some(id) = &report.snapshot {
        line("snapshot", id.clone());
    }
    let (mailboxes, messages) = (&report.mailboxes, &report.messages);
    let is_dry = report.snapshot.is_none();
    line(
        "mailboxes",
        format!(
            "{} ({} new, {} changed, {} gone{})",
            count(if is_dry { mailboxes.found } else { report.totals.mailboxes }),
            count(mailboxes.new),
            count(mailboxes.changed),
            count(mailboxes.gone),
            match mailboxes.carried {
                0 => String::new(),
                carried => format!(", {} taken over", count(carried)),
            }
        ),
    );
    line(
        "messages",
        match is_dry {
            // Nothing was read: what the snapshot would hold is not known.
            true => changed(messages),
            false => format!(
                "{} ({}), {}",
                count(report.totals.messages),
                changed(messages),
                size(report.totals.bytes)
            ),
        },
    );
    if report.ledger.not_messages > 0 {
        let left_out = count(report.ledger.not_messages);
        line("left out", format!("{left_out} among the messages that no mail server shows"));
    }
    if report.totals.trees > 0 {
        line("trees", count(report.totals.trees));
    }
    line(
        "folders",
        format!("{} ({} listed)", count(messages.folders), count(messages.folders_listed)),
    );
    line(
        "stored",
        format!(
            "{} for {} read, {}",
            size(report.stored_bytes),
            size(messages.read_bytes),
            plural(report.requests.total, "request")
        ),
    );
    ledger(&mut text, report);
    text.push_str(&sentence(report, started, ", see above"));
    text
}

fn changed(messages: &MessageCounts) -> String {
    let [new, gone, moved] = [messages.new, messages.gone, messages.moved].map(count);
    format!("{new} new, {gone} gone, {moved} moved")
}

/// The last line. `see` tells where more is said about what is wrong.
fn sentence(report: &Report, started: Instant, see: &str) -> String {
    let is_dry = report.snapshot.is_none();
    let incomplete = report.is_incomplete.then(|| match is_dry {
        true => "the snapshot would be incomplete".to_owned(),
        false => "the snapshot is incomplete".to_owned(),
    });
    let alarms = report.expunge_alarms.len() as u64;
    let alarm = (alarms > 0).then(|| format!("{} lost much mail", plural(alarms, "mailbox")));
    let problems: Vec<_> = incomplete.into_iter().chain(alarm).collect();
    let ending = match problems.is_empty() {
        true => String::new(),
        false => format!("; {}{see}", problems.join(" and ")),
    };
    if is_dry {
        let messages = plural(report.messages.new, "new message");
        let mailboxes = plural(report.mailboxes.found, "mailbox");
        return format!("Would back up {messages} of {mailboxes}{ending}.\n");
    }
    format!(
        "Backed up {} with {} in {}{ending}.\n",
        plural(report.totals.mailboxes, "mailbox"),
        plural(report.totals.messages, "message"),
        duration(started.elapsed())
    )
}

/// The first lines of the ledger, what a person must look at before all else; all of it is in --json.
fn ledger(text: &mut String, report: &Report) {
    const SHOWN: usize = 20;
    let mut entries: Vec<&LedgerEntry> = report.incidents.iter().collect();
    entries.sort_by_key(|entry| (!entry.incident.is_problem(), entry.incident.is_news()));
    for entry in entries.into_iter().take(SHOWN) {
        text.push_str(&line(entry.incident.name(), &entry.path, entry.reason.as_deref()));
    }
    text.push_str(&more((report.incidents.len().saturating_sub(SHOWN)) as u64));
}

/// The first lines of what makes the exit code 3, short enough for a mail.
fn problems(report: &Report) -> String {
    const SHOWN: usize = 10;
    let problems: Vec<_> =
        report.incidents.iter().filter(|entry| entry.incident.is_problem()).collect();
    let shown = problems.iter().take(SHOWN);
    let mut text: String = shown
        .map(|entry| line(entry.incident.name(), &entry.path, entry.reason.as_deref()))
        .collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("problem    and {} more\n", count((problems.len() - SHOWN) as u64)));
    }
    text
}
