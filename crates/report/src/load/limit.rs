//! The knee: latency against rate, with what held and what broke.

use super::{Limit, Page, Step, latency};
use crate::html::{self, Column, Table, text};
use crate::human;
use crate::plot::{self, At, Axis, Line, Mark, Plot, Rule, Scale};

/// The curve, and the rates in the order they were tried.
pub(super) fn section(page: &Page) -> String {
    let Some(limit) = &page.limit else { return String::new() };
    if limit.steps.is_empty() && limit.holds_per_s.is_none() {
        return String::new();
    }
    let inner = [said(limit), knee(page, limit), table(limit)].concat();
    html::section("limit", "Latency against rate", "", &inner)
}

fn said(limit: &Limit) -> String {
    let rate = |key: &str, rate: f64| html::float(key, rate, &human::per_s(rate));
    let holds = limit.holds_per_s.map_or("No rate held.".to_owned(), |holds| {
        format!("Highest rate that holds: <b>{}</b>.", rate("limit.highest_held_per_s", holds))
    });
    let breaks = limit.breaks_per_s.map_or(String::new(), |breaks| {
        format!(" Lowest that breaks: <b>{}</b>.", rate("limit.first_broken.per_s", breaks))
    });
    format!("<p class=lead>{holds}{breaks}</p>")
}

fn knee(page: &Page, limit: &Limit) -> String {
    let mut steps: Vec<(f64, f64, &Step)> = limit
        .steps
        .iter()
        .filter_map(|step| Some((step.asked_per_s, step.p99_us? as f64, step)))
        .filter(|(rate, _, _)| rate.is_finite())
        .collect();
    if steps.is_empty() {
        return String::new();
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let asked = page.response_limit_us.map(latency::limit);
    let holds = limit
        .holds_per_s
        .map(|rate| Rule { at: At::X(rate), label: format!("holds {}", human::per_s(rate)) });
    let ys = steps.iter().map(|(_, us, _)| *us);
    let limit_us = page.response_limit_us.map(|us| us as f64);
    let words = steps.iter().map(|(_, _, step)| hint(step));
    let points = steps.iter().map(|(rate, us, _)| Some((*rate, *us))).collect();
    // What could not be judged is on the line, and neither good nor bad.
    let marks = steps.iter().filter_map(|(rate, us, step)| {
        Some(Mark { x: *rate, y: *us, is_good: step.held?, hint: hint(step) })
    });
    let plot = plot::html(&Plot {
        id: "knee",
        title: "p99 of response against rate",
        desc: &words.collect::<Vec<_>>().join("; "),
        x: Axis {
            scale: Scale::linear(steps.iter().map(|(rate, _, _)| *rate)),
            label: human::tick_per_s,
        },
        y: Axis { scale: Scale::log(ys.chain(limit_us)), label: human::tick_us },
        bands: Vec::new(),
        lines: vec![Line { name: "", ink: "s0", points }],
        rules: asked.into_iter().chain(holds).collect(),
        marks: marks.collect(),
    });
    format!("{KEY}{plot}")
}

fn hint(step: &Step) -> String {
    let word = match step.held {
        Some(true) => "held",
        Some(false) => "broke",
        None => "not judged",
    };
    let p99 = step.p99_us.map_or(human::NONE.to_owned(), human::us);
    let reason = if step.reason.is_empty() { "" } else { ": " };
    format!("{}: p99 {p99}, {word}{reason}{}", human::per_s(step.asked_per_s), step.reason)
}

fn table(limit: &Limit) -> String {
    let columns = [
        Column::Number("Asked"),
        Column::Words("Result"),
        Column::Number("Achieved"),
        Column::Number("p50"),
        Column::Number("p99"),
        Column::Words("Reason"),
    ];
    let mut table = Table::new("Rates in the order they were tried", &columns);
    for step in limit.steps.iter().take(MOST_ROWS) {
        let us = |us: Option<u64>| us.map_or(human::NONE.to_owned(), human::us);
        let result = match step.held {
            Some(true) => "<b class=good>✓ held</b>",
            Some(false) => "<b class=bad>✗ broke</b>",
            None => "<b class=calm>– not judged</b>",
        };
        table.row(&[
            human::per_s(step.asked_per_s),
            result.to_owned(),
            human::per_s(step.achieved_per_s),
            us(step.p50_us),
            us(step.p99_us),
            format!("<span class=said>{}</span>", text(&step.reason)),
        ]);
    }
    table.html()
}

const KEY: &str = "<p class=legend><span><b class=good>●</b> held</span><span><b class=bad>✕</b> \
                   broke</span></p>";

const MOST_ROWS: usize = 120;
