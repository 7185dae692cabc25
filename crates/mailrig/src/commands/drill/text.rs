//! What a drill came to, for people: the verdict, what was asked, what became of the messages, and how long services were
//! away.

use drill::judge::{Class, Criterion, Example, Outage, Result, Word};

use super::document::Document;
use crate::ui::{cell, count, micros, table};

pub(super) fn text(document: &Document) -> String {
    let result = &document.result;
    let mut text = format!("{}: {}\n\n", word(result.verdict), cell(&result.sentence));
    text.push_str(&criteria(result));
    text.push_str(&messages(result));
    text.push_str(&examples(result));
    text.push_str(&outages(result));
    for by_hand in &result.left {
        text.push_str(&format!("not undone: {}\n", cell(by_hand)));
    }
    let is_seen =
        |criterion: &Criterion| criterion.name != "evidence" || criterion.word == Word::Pass;
    // Where nobody has looked, nobody can say that it is lost.
    let lost = if result.criteria.iter().all(is_seen) {
        "lost"
    } else {
        "not found where somebody looked"
    };
    text.push_str(&format!(
        "{} messages sent, {} accepted, {} {lost}.\n",
        count(result.messages.sent),
        count(result.messages.accepted),
        count(result.messages.by_class.get(&Class::Lost).copied().unwrap_or(0)),
    ));
    text
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Pass => "PASS",
        Word::Fail => "FAIL",
        Word::Unknown => "UNKNOWN",
    }
}

fn criteria(result: &Result) -> String {
    let row = |criterion: &Criterion| {
        let word = word(criterion.word).to_lowercase();
        vec![
            cell(&criterion.name).into_owned(),
            cell(&criterion.asked).into_owned(),
            cell(&criterion.actual).into_owned(),
            word,
        ]
    };
    let rows: Vec<_> = result.criteria.iter().map(row).collect();
    format!("{}\n", table(&["Criterion", "Asked", "Measured", ""], &rows))
}

fn messages(result: &Result) -> String {
    let by_class = result.messages.by_class.iter().filter(|(_, count)| **count > 0);
    let row =
        |(class, number): (&Class, &u64)| vec![class.name().replace('_', " "), count(*number)];
    let rows: Vec<_> = by_class.map(row).collect();
    let copies = match result.messages.explained_copies {
        0 => String::new(),
        copies => {
            format!("{} more copies came from attempts whose end nobody knew.\n", count(copies))
        }
    };
    format!("{}{copies}\n", table(&["Messages", ""], &rows))
}

fn examples(result: &Result) -> String {
    if result.examples.is_empty() {
        return String::new();
    }
    let row = |example: &Example| {
        let accepted = example.accepted_us.map(|us| format!("{:.3} s", us as f64 / 1e6));
        vec![
            example.class.name().replace('_', " "),
            example.message.to_string(),
            cell(&example.recipient).into_owned(),
            accepted.unwrap_or_default(),
            example.found.clone(),
        ]
    };
    let rows: Vec<_> = result.examples.iter().take(SHOWN).map(row).collect();
    format!("{}\n", table(&["Worst", "Message", "For", "Accepted at", "Found"], &rows))
}

fn outages(result: &Result) -> String {
    let row = |outage: &Outage| {
        let us = |us: Option<u64>| us.map(micros).unwrap_or_else(|| "-".into());
        let since = |at: Option<u64>| us(at.map(|at| at.saturating_sub(outage.marks.fault_us)));
        vec![
            cell(&outage.incident).into_owned(),
            cell(&outage.service).into_owned(),
            since(outage.marks.detected_us),
            since(outage.marks.promoted_us),
            since(outage.marks.first_ok_us),
            match outage.rto_us {
                Some(0) => "never away".to_owned(),
                rto_us => us(rto_us),
            },
        ]
    };
    let rows: Vec<_> = result.rto.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "{}\n",
        table(&["After", "Service", "Noticed", "Promoted", "First ok", "Stable"], &rows)
    )
}

const SHOWN: usize = 10;
