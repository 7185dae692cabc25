//! A restore drill's result for people: what was asked, what differs, how long a restore takes, and a sentence.

use std::time::Duration;

use super::result::{Document, Word, long};
use crate::ui::{cell, count, duration, plural, size, table};

pub(super) fn text(document: &Document) -> String {
    let row = |mailbox: &super::result::Mailbox| {
        vec![cell(&mailbox.name).into_owned(), count(mailbox.messages), size(mailbox.bytes)]
    };
    let rows: Vec<_> = document.mailboxes.iter().take(SHOWN).map(row).collect();
    let mut text = table(&["Mailbox", "Messages", "Size"], &rows);
    if let Some(seed) = document.seed {
        text.push_str(&format!("Chosen at random; --seed {seed} chooses the same again.\n"));
    }
    let row = |criterion: &super::result::Criterion| {
        let actual = cell(&criterion.actual).into_owned();
        vec![criterion.name.into(), criterion.asked.clone(), actual, word(criterion.word).into()]
    };
    let rows: Vec<_> = document.criteria.iter().map(row).collect();
    text.push_str(&format!("\n{}\n", table(&["Criterion", "Asked", "Measured", ""], &rows)));
    text.push_str(&differences(document));
    text.push_str(&times(document));
    for note in &document.notes {
        text.push_str(&format!("note       {}\n", cell(note)));
    }
    let verdict = word(document.verdict).to_uppercase();
    text.push_str(&format!("\n{verdict}: {}.\n", cell(&document.sentence)));
    text
}

fn differences(document: &Document) -> String {
    let mut text = String::new();
    for one in document.differences.iter().take(SHOWN) {
        let place = match (one.folder.as_str(), one.message.as_str()) {
            ("", _) => one.mailbox.clone(),
            (folder, "") => format!("{folder} of {}", one.mailbox),
            (folder, message) => format!("{message} in {folder} of {}", one.mailbox),
        };
        let (expected, actual) = (cell(&one.expected), cell(&one.actual));
        text.push_str(&format!("differs    {}: {actual}, not {expected}\n", cell(&place)));
    }
    let more = document.differences.len().saturating_sub(SHOWN) as u64 + document.differences_more;
    if more > 0 {
        text.push_str(&format!("differs    and {}\n", plural(more, "more line")));
    }
    text
}

fn times(document: &Document) -> String {
    let mut text = String::new();
    if let Some(rto) = &document.rto {
        text.push_str(&format!(
            "RTO        {} for {} ({}): the sample took {}, {}/s and {:.0} messages/s\n",
            long(rto.whole()),
            plural(rto.store_messages, "message"),
            size(rto.store_bytes),
            duration(Duration::from_micros(rto.sample_us)),
            size(rto.bytes_per_s as u64),
            rto.messages_per_s,
        ));
        for assumption in &rto.assumptions {
            text.push_str(&format!("           assumes {assumption}\n"));
        }
    }
    let age = long(Duration::from_secs(document.rpo_s));
    text.push_str(&format!("RPO        {age}: what came since {} is not in it\n", document.taken));
    text
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Pass => "pass",
        Word::Fail => "fail",
        Word::Unknown => "unknown",
        Word::Skipped => "skipped",
    }
}

const SHOWN: usize = 20;
