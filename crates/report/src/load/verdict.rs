//! What comes first: the verdict, which run it was, the objectives, and what must be known to read
//! the rest.

use super::{Objective, Page, VerdictKind};
use crate::html::{self, Column, Table, text};
use crate::human;

/// The head of the page.
pub(super) fn banner(page: &Page) -> String {
    let look = look(page.verdict.kind);
    format!(
        "<header class=\"verdict {tone}\"><p class=eyebrow>{title}</p><h1><svg class=icon \
         viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=12 cy=12 r=11 /><path d=\"{icon}\" \
         /></svg>{word}</h1><p class=sentence>{sentence}</p>{run}</header>\n{objectives}{remarks}",
        tone = look.tone,
        icon = look.icon,
        title = text(page.name()),
        word = html::value(look.key, look.raw, look.word),
        sentence = text(&page.verdict.sentence),
        run = run(page),
        objectives = objectives(&page.objectives),
        remarks = remarks(page),
    )
}

/// How a verdict is said and shown.
struct Look {
    /// As in the JSON, where an interrupted run has a verdict, too.
    key: &'static str,
    raw: &'static str,
    word: &'static str,
    tone: &'static str,
    icon: &'static str,
}

fn look(kind: VerdictKind) -> Look {
    let (raw, word, tone, icon) = match kind {
        VerdictKind::Met => ("met", "Met", "good", CHECK),
        VerdictKind::Missed => ("missed", "Missed", "bad", CROSS),
        VerdictKind::Invalid => ("invalid", "Invalid", "warn", POINT),
        VerdictKind::NothingAccepted => ("nothing_accepted", "Nothing accepted", "bad", CROSS),
        VerdictKind::Interrupted => ("true", "Interrupted", "calm", POINT),
        VerdictKind::LimitFound => ("met", "Limit found", "good", CHECK),
    };
    let key = if kind == VerdictKind::Interrupted { "is_interrupted" } else { "verdict" };
    Look { key, raw, word, tone, icon }
}

fn run(page: &Page) -> String {
    let run = &page.run;
    let duration = html::value("duration_us", run.duration_us, &human::us(run.duration_us));
    let items = [
        ("Target", text(&run.target)),
        ("Run", text(&run.id)),
        ("Started", text(&run.started)),
        ("Duration", if run.duration_us > 0 { duration } else { String::new() }),
    ];
    let items = items.iter().filter(|(_, value)| !value.is_empty());
    let items: String =
        items.map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect();
    if items.is_empty() { items } else { format!("<dl class=run>{items}</dl>") }
}

fn objectives(objectives: &[Objective]) -> String {
    if objectives.is_empty() {
        return String::new();
    }
    let columns = ["", "Objective", "Asked", "Actual"].map(Column::Words);
    let mut table = Table::new("Objectives", &columns);
    for (index, objective) in objectives.iter().enumerate() {
        let (tone, word) = match objective.is_met {
            Some(true) => ("good", "✓ met"),
            Some(false) => ("bad", "✗ missed"),
            None => ("calm", "– unknown"),
        };
        let raw = objective.is_met.map_or("null".to_owned(), |is_met| is_met.to_string());
        let met = html::value(&format!("objectives.{index}.is_met"), raw, word);
        table.row(&[
            format!("<b class={tone}>{met}</b>"),
            text(&objective.name),
            text(&objective.asked),
            format!("<b>{}</b>", text(&objective.actual)),
        ]);
    }
    let inner = format!("<div class=objectives>{}</div>", table.html());
    html::section("objectives", "Objectives", "", &inner)
}

fn remarks(page: &Page) -> String {
    let advice = page.generator.advice.iter().filter(|_| page.verdict.kind == VerdictKind::Invalid);
    let all: String =
        advice.chain(&page.remarks).map(|remark| format!("<li>{}</li>", text(remark))).collect();
    if all.is_empty() { all } else { format!("<ul class=remarks>{all}</ul>\n") }
}

const CHECK: &str = "M7 12.5l3.5 3.5L17 9";
const CROSS: &str = "M8 8l8 8M16 8l-8 8";
const POINT: &str = "M12 6.5v7M12 17v.5";
