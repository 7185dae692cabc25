//! The lines of a ledger for people: the same words after a backup and for a stored snapshot.

use snapshot::incidents::is_problem;
use snapshot::manifest::LedgerCounts;

use crate::ui::{cell, count, plural};

/// What happened, in words.
fn what(incident: &str) -> &str {
    match incident {
        "delivered_during_run" => "delivered during the run",
        "duplicate_name" => "two messages with this name, both kept",
        "expunged_during_run" => "expunged during the run",
        "foreign_format" => "no Maildir, not backed up",
        "mailbox_missing" => "taken over from the last snapshot",
        "many_expunged" => "lost more messages than a normal night takes",
        "moved_during_run" => "moved during the run",
        "not_a_message" => "not a message, left out",
        "not_followed" => "may be mail, and is not followed",
        "unreadable" => "unreadable",
        "unresolved" => "listed, and then not to be found",
        "unstable_folder" => "changed faster than it could be listed",
        other => other,
    }
}

/// One line of a ledger.
pub(super) fn line(incident: &str, path: &str, reason: Option<&str>) -> String {
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", cell(reason)));
    let path = if path.is_empty() { "." } else { path };
    let label = if is_problem(incident) { "problem" } else { "ledger" };
    format!("{label:<10} {}: {}{reason}\n", path.escape_debug(), what(incident))
}

/// A line for incidents that are not shown.
pub(super) fn more(left: u64) -> String {
    match left {
        0 => String::new(),
        left => format!("ledger     and {}, see --json\n", plural(left, "more line")),
    }
}

/// Labels and counts.
pub(super) fn counts(ledger: &LedgerCounts) -> Vec<(&'static str, String)> {
    vec![
        ("delivered during run", count(ledger.delivered_during_run)),
        ("expunged during run", count(ledger.expunged_during_run)),
        ("moved during run", count(ledger.moved_during_run)),
        ("unresolved", count(ledger.unresolved)),
        ("unreadable", count(ledger.unreadable)),
        ("not messages", count(ledger.not_messages)),
        ("unstable folders", count(ledger.unstable_folders)),
        ("duplicate names", count(ledger.duplicate_names)),
        ("links not followed", count(ledger.not_followed)),
        ("not Maildirs", count(ledger.foreign_formats)),
        ("mailboxes missing", count(ledger.mailboxes_missing)),
        ("expunge alarms", count(ledger.expunge_alarms)),
    ]
}
