//! `restore`: put mail of snapshots into an empty place, or into live mailboxes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use jiff::Timestamp;
use maildir::Pattern;
use snapshot::backup::Outside;
use snapshot::choose::is_latest;
use snapshot::message_id::MessageId;
use snapshot::progress::Progress;
use snapshot::restore::{self, Flags, LOCK_WAIT, Missing, Options, Place, Problem, Report, Uids};

use super::threads;
use crate::cli::{IdentityArgs, S3Args};
use crate::exit::{Exit, UsageError};
use crate::repository::{identity, open, repo_of_environment, split_repo};
use crate::time;
use crate::ui::{Ui, cell, count, duration, plural, size, table};

mod from;
mod messages;
mod owner;

/// Restore mail from a snapshot
///
/// With --to, each mailbox is written to its path below DIR, into a folder that gets its name when
/// it is whole; nothing that exists is touched. With --in-place, what is missing is added to the
/// live mailboxes below STORE, newest first, while their server goes on: messages are compared by
/// base name, nothing is overwritten, doubled or deleted, and running it again adds nothing more.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mailrig restore [OPTIONS] [REPO] SNAPSHOT <--to DIR|--in-place STORE>\n       mailrig restore [OPTIONS] [REPO] <--at TIME|--messages FILE> <--to DIR|--in-place STORE>"
)]
#[command(after_help = "Examples:
  mailrig restore s3://backups/mail latest --to /srv/restored
  mailrig restore s3://backups/mail latest --to /srv/one --mailbox alice@example.org --folder Sent
  mailrig restore s3://backups/mail --at '2026-11-20 12:00' --to /srv/restored --dry-run
  mailrig restore s3://backups/mail latest --in-place /var/vmail --mailbox alice@example.org
  mailrig restore s3://backups/mail --at 2d --in-place /var/vmail --mailbox alice@example.org \\
    --as-folder Restored
  mailrig find s3://backups/mail --mailbox alice@example.org --deleted |
    mailrig restore s3://backups/mail --messages - --in-place /var/vmail")]
#[command(group(clap::ArgGroup::new("place").required(true).args(["to", "in_place"])))]
pub(crate) struct RestoreArgs {
    /// REPO, and the snapshot (which --at and --messages name themselves)
    #[arg(value_names = ["REPO", "SNAPSHOT"], num_args = 0..=2)]
    positional: Vec<String>,
    /// Folder to restore into
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Store whose live mailboxes get what they lack
    #[arg(long, value_name = "STORE")]
    in_place: Option<PathBuf>,
    /// Put everything into this folder of the live mailbox, which is made if need be, and into folders
    /// below it; `/` parts levels
    #[arg(long, value_name = "NAME", requires = "in_place")]
    as_folder: Option<String>,
    /// Only this mailbox: its name, its path in the store, or its id
    #[arg(long, value_name = "NAME")]
    mailbox: Option<String>,
    /// Only this folder of it
    #[arg(long, value_name = "NAME", requires = "mailbox")]
    folder: Option<String>,
    /// Only the messages whose ids begin the lines of FILE (`-` is standard input), as `find` prints
    /// them, with or without --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mailbox", "folder", "at"])]
    messages: Option<PathBuf>,
    /// The newest snapshot that is not younger: 2026-11-20 (its end), '2026-11-20 12:00',
    /// 2026-11-20T12:00:00Z, or so long ago: 36h, 7d, 2w
    #[arg(long, value_name = "TIME", value_parser = time::parse_end)]
    at: Option<Timestamp>,
    /// What becomes of UIDs [default: keep where no mail is yet, else the server gives new ones]
    #[arg(long, value_name = "HOW")]
    uids: Option<UidsArg>,
    /// What becomes of flags. A message that has the flag T (deleted) in the snapshot gets it in any case:
    /// the next expunge of a client removes it
    #[arg(long, value_name = "HOW", default_value = "keep")]
    flags: FlagsArg,
    /// Owner of everything, by names or numbers, instead of the recorded ones
    #[arg(long, value_name = "USER:GROUP", value_parser = owner::parse)]
    owner: Option<(u32, u32)>,
    /// Where Dovecot keeps control files if not in the mailbox; with the same variables as for `backup`
    #[arg(long, value_name = "PATTERN", help_heading = OUTSIDE)]
    control: Option<Pattern>,
    /// Where it keeps index files; stale ones are removed there
    #[arg(long, value_name = "PATTERN", help_heading = OUTSIDE)]
    index: Option<Pattern>,
    /// Where Sieve scripts, or the link to the active one, go; in the order that `backup` had
    #[arg(long, value_name = "PATTERN", help_heading = OUTSIDE)]
    sieve: Vec<Pattern>,
    /// Where the file with the mailbox's attributes goes
    #[arg(long, value_name = "PATTERN", help_heading = OUTSIDE)]
    attributes: Option<Pattern>,
    /// Say what would be restored, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UidsArg {
    /// UIDVALIDITY and UIDs as they were; the next UID above what clients may have seen since
    Keep,
    /// A new UIDVALIDITY: clients download all mail again; folders in use get new UIDs as well, and
    /// Dovecot asks sessions that have them open to log in again
    New,
    /// The lists byte for byte; right only if no client was served since the backup
    Exact,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FlagsArg {
    /// Messages that are added have those of the snapshot, the others are not touched
    Keep,
    /// Messages that are there get those of the snapshot, too; nothing becomes unread
    Snapshot,
    /// Messages that are added are marked as read
    Seen,
}

pub(crate) fn run(args: RestoreArgs, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let (location, snapshot) = positional(&args)?;
    check(&args, snapshot.as_deref())?;
    let read = args.messages.as_deref().map(messages::read).transpose()?;
    let (messages, unread) =
        read.map_or((None, None), |mut read| (Some(std::mem::take(&mut read.ids)), Some(read)));
    let repository = open(&location, &args.s3)?;
    let mut notes = Vec::new();
    let manifests = from::manifests(
        &args,
        &repository,
        snapshot.as_deref(),
        messages.as_deref(),
        (ui, &mut notes),
    )?;
    let identity = identity(&args.identity, &repository)?;
    let options = options(args, messages)?;
    let progress = Arc::new(Progress::default());
    crate::interrupt::watch(&progress);
    let display = ui.progress(&progress, "mailboxes");
    let report = restore::run(&repository, &manifests, identity.as_ref(), &options, &progress);
    drop(display);
    let mut report = report?;
    if ui.is_json() {
        report.notes.extend(notes);
    }
    if let Some(unread) = unread {
        add_unread(&mut report, unread);
    }
    ui.result("restore", &report, || text(&report, &options, started))?;
    Ok(if report.is_incomplete { Exit::Incomplete } else { Exit::Done })
}

/// Lines that were to be ids are messages that somebody wanted.
fn add_unread(report: &mut Report, unread: messages::Ids) {
    let problem = |messages, reason| {
        let missing = Missing::messages(messages);
        Problem { mailbox: "--messages".into(), missing, reason }
    };
    report.is_incomplete |= !unread.problems.is_empty();
    report.problems.extend(unread.problems.into_iter().map(|reason| problem(1, reason)));
    if unread.problems_more > 0 {
        let reason = "more lines begin with no id".to_owned();
        report.problems.push(problem(unread.problems_more, reason));
    }
}

/// REPO, and the snapshot if one is named.
fn positional(args: &RestoreArgs) -> Result<(String, Option<String>)> {
    let given = &args.positional;
    let may_lack = args.at.is_some() || args.messages.is_some();
    // With a repository in the environment, one word alone may be the snapshot.
    let is_repo = |word: &String| {
        (word.contains(['/', ':']) && !is_latest(word)) || repo_of_environment().is_none()
    };
    if may_lack && (given.is_empty() || given.len() == 1 && is_repo(&given[0])) {
        return Ok((split_repo(given, &[])?.0, None));
    }
    let (location, mut rest) = split_repo(given, &["SNAPSHOT"])?;
    Ok((location, rest.pop()))
}

fn check(args: &RestoreArgs, snapshot: Option<&str>) -> Result<()> {
    let wrong = |text: &str| Err(UsageError(text.to_owned()).into());
    if args.at.is_some() && snapshot.is_some_and(|snapshot| !is_latest(snapshot)) {
        return wrong("--at goes with the snapshot `latest` or `latest:STORE` only");
    }
    if args.uids == Some(UidsArg::Exact) && args.in_place.is_some() {
        return wrong("--uids exact goes with --to only");
    }
    if args.as_folder.is_some() && args.mailbox.is_none() && args.messages.is_none() {
        return wrong("--as-folder needs --mailbox or --messages");
    }
    if args.as_folder.is_some() && args.uids.is_some() {
        return wrong("--as-folder makes new folders, to which --uids says nothing");
    }
    Ok(())
}

fn options(args: RestoreArgs, messages: Option<Vec<MessageId>>) -> Result<Options> {
    let place = match (args.to, args.in_place) {
        (_, Some(store)) => {
            Place::Live { store: std::path::absolute(store)?, as_folder: args.as_folder }
        }
        (to, None) => Place::Below(std::path::absolute(to.unwrap_or_default())?),
    };
    Ok(Options {
        place,
        mailbox: args.mailbox,
        folder: args.folder,
        messages,
        uids: args.uids.map(|uids| match uids {
            UidsArg::Keep => Uids::Keep,
            UidsArg::New => Uids::New,
            UidsArg::Exact => Uids::Exact,
        }),
        flags: match args.flags {
            FlagsArg::Keep => Flags::Keep,
            FlagsArg::Snapshot => Flags::Snapshot,
            FlagsArg::Seen => Flags::Seen,
        },
        owner: args.owner,
        outside: Outside {
            home: None,
            control: args.control,
            index: args.index,
            attributes: args.attributes,
            sieve: args.sieve,
        },
        lock_wait: LOCK_WAIT,
        dry_run: args.dry_run,
        threads: threads(),
    })
}

fn text(report: &Report, options: &Options, started: Instant) -> String {
    let is_live = matches!(options.place, Place::Live { .. });
    let path = |path: &str| {
        let path = options.place.root().join(path);
        cell(&path.display().to_string()).into_owned()
    };
    let rows: Vec<Vec<String>> = report
        .mailboxes
        .iter()
        .map(|row| {
            let name = row.name.escape_debug().to_string();
            let path = path(&row.path);
            let mut cells = vec![name, count(row.messages), size(row.bytes)];
            if is_live {
                cells.push(count(row.counts.there));
            }
            cells.push(path);
            cells
        })
        .collect();
    let header: &[&str] = if is_live {
        &["MAILBOX", "ADDED", "SIZE", "THERE", "IN"]
    } else {
        &["MAILBOX", "MESSAGES", "SIZE", "TO"]
    };
    let mut text =
        if rows.len() > SHOWN && !options.dry_run { String::new() } else { table(header, &rows) };
    let trees: Vec<Vec<String>> = report
        .trees
        .iter()
        .map(|tree| {
            let name = tree.name.escape_debug().to_string();
            vec![name, count(tree.files), size(tree.bytes), path(&tree.path)]
        })
        .collect();
    if !trees.is_empty() {
        text.push_str(&table(&["TREE", "FILES", "SIZE", "TO"], &trees));
    }
    for problem in report.problems.iter().take(SHOWN) {
        let missing = missing(&problem.missing);
        let (mailbox, reason) = (cell(&problem.mailbox), cell(&problem.reason));
        text.push_str(&format!("missing    {mailbox}: {reason}{missing}\n"));
    }
    if let Some(more) = report.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(
            "missing    and {}, see --json\n",
            plural(more as u64, "more line")
        ));
    }
    for note in report.notes.iter().take(SHOWN) {
        text.push_str(&format!("note       {}\n", cell(note)));
    }
    text.push_str(&sentence(report, options, started));
    text
}

fn missing(missing: &Missing) -> String {
    let parts = [(missing.messages, "message"), (missing.files, "file")];
    let parts: Vec<_> = parts.into_iter().filter(|(number, _)| *number > 0).collect();
    if parts.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = parts.into_iter().map(|(number, noun)| plural(number, noun)).collect();
    format!(" ({} missing)", parts.join(" and "))
}

fn sentence(report: &Report, options: &Options, started: Instant) -> String {
    let sum = |part: fn(&restore::Counts) -> u64| {
        report.mailboxes.iter().map(|mailbox| part(&mailbox.counts)).sum::<u64>()
    };
    let mut more = String::new();
    for (number, words) in [
        (report.there, "there already"),
        (sum(|counts| counts.renamed), "under new names"),
        (sum(|counts| counts.reflagged), "with flags changed"),
        (sum(|counts| counts.keywords_dropped), "keywords without room"),
        (sum(|counts| counts.uids_unusable), "UIDs unusable"),
    ] {
        if number > 0 {
            more.push_str(&format!(", {} {words}", count(number)));
        }
    }
    let trees = match report.trees.len() as u64 {
        0 => String::new(),
        trees => format!(" and {}", plural(trees, "tree")),
    };
    let verb = if options.dry_run { "Would restore" } else { "Restored" };
    let from = match report.snapshots.as_slice() {
        [one] => format!("snapshot {one}"),
        several => plural(several.len() as u64, "snapshot"),
    };
    let ending = if report.is_incomplete { "; not all of it, see above" } else { "" };
    format!(
        "{verb} {} with {} ({}){trees} from {from} in {}{more}{ending}.\n",
        plural(report.mailboxes.len() as u64, "mailbox"),
        plural(report.messages, "message"),
        size(report.bytes),
        duration(started.elapsed())
    )
}

const OUTSIDE: &str = "What lay outside mailboxes";

const SHOWN: usize = 20;
