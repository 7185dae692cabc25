//! What comes first: the verdict, which run it was, and what was tried.

use super::{Identity, Page, Word};
use crate::html::{self, Column, Table, text};
use crate::human;

/// The head of the page.
pub(super) fn banner(page: &Page) -> String {
    let word = page.verdict.word;
    let (shown, icon) = match word {
        Word::Pass => ("Pass", "M7 12.5l3.5 3.5L17 9"),
        Word::Fail => ("Fail", "M8 8l8 8M16 8l-8 8"),
        Word::Unknown => ("Unknown", "M12 6.5v7M12 17v.5"),
    };
    let remarks: String = [&page.identity.aborted]
        .into_iter()
        .filter(|why| !why.is_empty())
        .map(|why| format!("<li>Stopped before its time: {}</li>", text(why)))
        .chain(page.remarks.iter().map(|remark| format!("<li>{}</li>", text(remark))))
        .take(super::MOST_ROWS)
        .collect();
    let remarks = match remarks.as_str() {
        "" => remarks,
        items => format!("<ul class=remarks>{items}</ul>\n"),
    };
    format!(
        "<header class=\"verdict {tone}\"><p class=eyebrow>{title}</p><h1><svg class=icon \
         viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=12 cy=12 r=11 /><path d=\"{icon}\" \
         /></svg>{word}</h1><p class=sentence>{sentence}</p></header>\n{remarks}",
        tone = word.tone(),
        title = text(&page.title()),
        word = html::value("verdict", word.raw(), shown),
        sentence = text(&page.verdict.sentence),
    )
}

/// What tells this run from all others.
pub(super) fn identity(page: &Page) -> String {
    let mut table = Table::new("Identity", &[Column::Words("What"), Column::Words("Value")]);
    for (name, value) in named(&page.identity) {
        table.row(&[name.to_owned(), format!("<span class=said>{}</span>", text(value))]);
    }
    let duration_us = page.identity.duration_us;
    let duration = html::value("duration_us", duration_us, &human::us(duration_us));
    table.row(&["Duration".to_owned(), duration]);
    html::section("identity", "Identity", "", &format!("<div class=facts>{}</div>", table.html()))
}

/// The texts that there are, with their names.
pub(super) fn named(identity: &Identity) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("Drill", &identity.drill),
        ("Scenario", &identity.scenario),
        ("Scenario SHA-256", &identity.scenario_sha256),
        ("Tool version", &identity.tool_version),
        ("Host", &identity.host),
        ("Operator", &identity.operator),
        ("Approver", &identity.approver),
        ("Ticket", &identity.ticket),
        ("Reference", &identity.reference),
        ("Started", &identity.started),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.as_str()))
    .filter(|(_, value)| !value.is_empty())
}

/// What was tried and why.
pub(super) fn description(page: &Page) -> String {
    if page.description.is_empty() {
        return String::new();
    }
    let paragraphs = page.description.lines().filter(|line| !line.trim().is_empty());
    let inner: String =
        paragraphs.take(MOST_LINES).map(|line| format!("<p>{}</p>", text(line))).collect();
    html::section("description", "Description", "", &inner)
}

/// A scenario's description is some sentences, not a manual.
const MOST_LINES: usize = 100;
