//! The record in short as GitHub reads it. What others wrote stands in code spans, where nobody is
//! mentioned, nothing is linked and no HTML is read.

use std::fmt::Write as _;

use super::results::moment;
use super::{MOST_ROWS, Page, Word};
use crate::html;
use crate::human;

pub(super) fn write(page: &Page) -> String {
    let mut all = format!("# Drill {}\n\n", code(&page.identity.scenario));
    let word = match page.verdict.word {
        Word::Pass => "✓ **pass**",
        Word::Fail => "✗ **fail**",
        Word::Unknown => "– **unknown**",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(all, "{word}: {}\n", code(&page.verdict.sentence));
    all.push_str(&identity(page));
    for remark in page.remarks.iter().take(MOST_ROWS) {
        let _ = writeln!(all, "- {}", code(remark));
    }
    if !page.remarks.is_empty() {
        all.push('\n');
    }
    all.push_str(&results(page));
    all.push_str(&recovery(page));
    all.push_str(&record(page));
    all
}

fn identity(page: &Page) -> String {
    let rows =
        super::head::named(&page.identity).map(|(name, value)| vec![name.into(), code(value)]);
    let duration = vec!["Duration".into(), human::us(page.identity.duration_us)];
    let aborted = match page.identity.aborted.as_str() {
        "" => None,
        why => Some(vec!["Stopped before its time".into(), code(why)]),
    };
    table("", &["What", "Value"], rows.chain([duration]).chain(aborted))
}

/// What was asked and what became of the messages.
fn results(page: &Page) -> String {
    let criteria = page.criteria.iter().map(|criterion| {
        let word = criterion.word.shown().to_owned();
        vec![word, code(&criterion.name), code(&criterion.asked), code(&criterion.measured)]
    });
    let seen = page.messages.by_class.iter().filter(|(_, count)| *count > 0);
    let classes = seen.map(|(class, count)| {
        let meaning = super::results::meaning(class).0.to_owned();
        vec![code(class), human::count(*count), meaning]
    });
    let examples = page.examples.iter().map(|example| {
        let (class, recipient) = (code(&example.class), code(&example.recipient));
        vec![example.message.to_string(), class, recipient, code(&example.found)]
    });
    [
        table("Objectives and results", &["", "Criterion", "Asked", "Measured"], criteria),
        table("Messages by class", &["Class", "Messages", "Meaning"], classes),
        table("Messages that went wrong", &["Message", "Class", "Recipient", "Found"], examples),
    ]
    .concat()
}

/// RTO, RPO and IMAP.
fn recovery(page: &Page) -> String {
    let or_none = |us: Option<u64>| us.map_or(human::NONE.to_owned(), human::us);
    let outages = page.outages.iter().map(|outage| {
        let rto = outage.rto_us.map_or("not seen".to_owned(), human::us);
        vec![code(&outage.service), code(&outage.incident), rto, or_none(outage.objective_us)]
    });
    let losses = page.losses.iter().map(|loss| {
        let name = moment(&loss.moment);
        // Only the four words that are known are ours.
        let name = if name == loss.moment { code(name) } else { name.to_owned() };
        let unread = loss.unread.iter().take(MOST_UNREAD).map(|place| code(place));
        vec![
            name,
            human::count(loss.messages),
            human::count(loss.accepted),
            human::bytes(loss.bytes),
            or_none(loss.age_us),
            unread.collect::<Vec<_>>().join(", "),
        ]
    });
    let columns =
        ["Moment", "Out of sight", "Of accepted", "Size", "Age of the oldest", "Could not be read"];
    let continuity = page.continuity.as_ref().map(|continuity| {
        let (looks, breaches) = (human::count(continuity.looks), human::count(continuity.breaches));
        let first = continuity.examples.first().map_or(String::new(), |first| code(first));
        vec![looks, breaches, first]
    });
    [
        table("Recovery time (RTO)", &["Service", "Incident", "RTO", "Asked"], outages),
        table("Lost data (RPO)", &columns, losses),
        table("IMAP continuity", &["Looks", "Promises broken", "First"], continuity),
    ]
    .concat()
}

/// Steps, what is not undone, and the files.
fn record(page: &Page) -> String {
    let steps = page.steps.iter().enumerate().map(|(index, step)| {
        let word = match (step.is_failed, step.duration_us) {
            (true, _) => "✗ failed",
            (false, None) => "– never ended",
            (false, Some(_)) => "✓ done",
        };
        let (at, who) = (format!("+{}", human::us(step.at_us)), code(&step.who));
        vec![(index + 1).to_string(), at, code(&step.name), word.into(), code(&step.result), who]
    });
    let left = page.undos.iter().filter(|undo| !undo.is_done);
    let left = left.map(|undo| vec![code(&undo.what), code(&undo.why), code(&undo.by_hand)]);
    let evidence = page.evidence.iter().map(|file| vec![code(&file.file), code(&file.sha256)]);
    [
        table("Steps", &["No.", "t", "Step", "Outcome", "Result", "Who"], steps),
        table("Not undone", &["Undo of", "Why not", "By hand"], left),
        table("Evidence", &["File", "SHA-256"], evidence),
    ]
    .concat()
}

/// A table under its heading; nothing without a row, and the rest is counted.
fn table(heading: &str, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut written = String::new();
    let mut len = 0;
    for row in rows {
        len += 1;
        if len <= MOST_ROWS {
            let _ = writeln!(written, "| {} |", row.join(" | "));
        }
    }
    if len == 0 {
        return written;
    }
    let heading = if heading.is_empty() { String::new() } else { format!("## {heading}\n\n") };
    let rule = vec!["---"; columns.len()].join(" | ");
    let more = match len.saturating_sub(MOST_ROWS) {
        0 => String::new(),
        n => format!("\nAnd {} more.\n", human::count(n as u64)),
    };
    format!("{heading}| {} |\n| {rule} |\n{written}{more}\n", columns.join(" | "))
}

/// A code span that nothing ends but its end: a backquote becomes a quote, and a bar, which would
/// end a cell, is escaped as tables want it.
fn code(raw: &str) -> String {
    let plain = html::plain(raw);
    let plain = plain.trim();
    if plain.is_empty() {
        return String::new();
    }
    // A backslash right before the bar would take the bar's own with it.
    let safe = plain.replace('`', "'").replace("\\|", "\\ |").replace('|', "\\|");
    format!("`{safe}`")
}

const MOST_UNREAD: usize = 20;
