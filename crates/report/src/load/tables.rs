//! Replies, delivery, the generator, and the foot of the page.

use super::figures::{count_tile, percentile, tile};
use super::{Delivery, Generator, Page, Reply, VerdictKind};
use crate::html::{self, Column, Table, text};
use crate::human;

/// What the server said.
pub(super) fn replies(page: &Page) -> String {
    if page.replies.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Words("Phase"),
        Column::Words("Code"),
        Column::Words("Text"),
        Column::Number("Count"),
        Column::Number("First"),
        Column::Number("Last"),
    ];
    let mut table = Table::new("Replies", &columns);
    for (index, reply) in page.replies.iter().take(MOST_REPLIES).enumerate() {
        let key = format!("replies.{index}.count");
        let at = |s: Option<f64>| s.map_or(human::NONE.to_owned(), human::clock);
        table.row(&[
            text(&reply.phase.replace('_', " ")),
            code(reply),
            format!("<span class=said>{}</span>", text(&reply.text)),
            html::value(&key, reply.count, &human::count(reply.count)),
            at(reply.first_s),
            at(reply.last_s),
        ]);
    }
    let more = page.replies.len().saturating_sub(MOST_REPLIES) as u64;
    let more = match more {
        0 => String::new(),
        _ => format!("<p class=lead>And {} more kinds.</p>", human::count(more)),
    };
    let inner = format!("<div class=replies>{}{more}</div>", table.html());
    html::section("replies", "Replies", REPLIES, &inner)
}

fn code(reply: &Reply) -> String {
    let code = reply.code.map_or(human::NONE.to_owned(), |code| code.to_string());
    let tone = match reply.code {
        Some(200..400) => "good",
        Some(400..500) => "warn",
        _ => "bad",
    };
    format!("<b class={tone}>{code}</b> {}", text(&reply.enhanced))
}

/// Delivery and generator, side by side where there is room.
pub(super) fn accounts(page: &Page) -> String {
    let delivery = page.delivery.as_ref().map_or(String::new(), delivery);
    let both = format!("{delivery}{}", generator(page));
    if both.is_empty() { both } else { format!("<div class=pair>{both}</div>") }
}

fn delivery(delivery: &Delivery) -> String {
    let counts = [
        ("expected", "Expected", delivery.expected, false),
        ("delivered", "Seen", delivery.delivered, false),
        ("lost", "Lost", delivery.lost, delivery.lost > 0),
        ("doubled", "Doubled", delivery.doubled, delivery.doubled > 0),
        ("corrupted", "Corrupted", delivery.corrupted, delivery.corrupted > 0),
    ];
    let tiles: String = counts
        .iter()
        .map(|(key, label, n, is_bad)| count_tile(&format!("delivery.{key}"), label, *n, *is_bad))
        .collect();
    let more: String = delivery.more.iter().map(tile).collect();
    let lead = match delivery.place.as_str() {
        "" => DELIVERY.to_owned(),
        place => format!("{DELIVERY} Looked for in {}.", text(place)),
    };
    html::section("delivery", "Delivery", &lead, &format!("<div class=tiles>{tiles}{more}</div>"))
}

fn generator(page: &Page) -> String {
    let Generator { lateness_us, facts, advice } = &page.generator;
    if lateness_us.is_none() && facts.is_empty() && advice.is_empty() {
        return String::new();
    }
    let lateness = lateness_us.map_or(String::new(), |us| {
        let one = |name, label, us| {
            let value = percentile("lateness_us", name, us);
            format!("<div class=tile><span>{label}</span><b>{value}</b></div>")
        };
        one("p99", "Lateness p99", us.p99) + &one("max", "Lateness max", us.max)
    });
    let facts: String = facts.iter().map(tile).collect();
    let tone = if page.verdict.kind == VerdictKind::Invalid { "bad" } else { "" };
    let advice: String = advice.iter().map(|words| format!("<li>{}</li>", text(words))).collect();
    let advice = if advice.is_empty() {
        advice
    } else {
        format!("<ul class=\"advice {tone}\">{advice}</ul>")
    };
    let inner = format!("<div class=tiles>{lateness}{facts}</div>{advice}");
    html::section("generator", "Generator", GENERATOR, &inner)
}

/// How to run it again.
pub(super) fn footer(page: &Page) -> String {
    let run = &page.run;
    let command = match run.command.as_str() {
        "" => String::new(),
        command => format!("<pre><code>{}</code></pre>", text(command)),
    };
    let seed = run.seed.map(|seed| ("Seed", html::value("seed", seed, &seed.to_string())));
    let named = [("Plan", &run.plan_digest), ("Version", &run.version)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    let named = seed.into_iter().chain(named.map(|(name, value)| (name, text(value))));
    let named = named.map(|(name, value)| (name.to_owned(), value));
    let more = run.more.iter().map(|(name, value)| (text(name), text(value)));
    let items: String = named
        .chain(more)
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    let items = if items.is_empty() { items } else { format!("<dl class=run>{items}</dl>") };
    format!("<footer>{command}{items}</footer>\n")
}

const REPLIES: &str = "By phase, code and text; the last two columns are when in the run it was \
                       first and last said.";
const DELIVERY: &str = "What became of accepted mail, in copies: one for each recipient that it was \
                        accepted for, those of the warm-up, too.";
const GENERATOR: &str = "Whether the machine that sent was itself the limit.";

const MOST_REPLIES: usize = 200;
