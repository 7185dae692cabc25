//! What the drill asked and what there was: criteria, messages by class, RTO, RPO, and what IMAP
//! promises.

use super::{Example, MOST_EXAMPLES, MOST_ROWS, Outage, Page};
use crate::html::{self, Column, Table, text};
use crate::human;

/// Objectives against results.
pub(super) fn criteria(page: &Page) -> String {
    let columns = ["", "Criterion", "Asked", "Measured"].map(Column::Words);
    let mut table = Table::new("Criteria", &columns);
    for (index, criterion) in page.criteria.iter().take(MOST_ROWS).enumerate() {
        let (tone, word) = (criterion.word.tone(), criterion.word);
        let word = html::value(&format!("criteria.{index}.word"), word.raw(), word.shown());
        table.row(&[
            format!("<b class={tone}>{word}</b>"),
            said(&criterion.name),
            said(&criterion.asked),
            format!("<b class=long>{}</b>", text(&criterion.measured)),
        ]);
    }
    let lead = "What could not be seen is unknown, and never a pass.";
    section("criteria", "Objectives and results", lead, table, page.criteria.len(), MOST_ROWS)
}

/// What became of the messages.
pub(super) fn messages(page: &Page) -> String {
    let messages = &page.messages;
    let tile = |key: &str, label: &str, n: u64| {
        let value = html::value(&format!("messages.{key}"), n, &human::count(n));
        format!("<div class=tile><span>{label}</span><b>{value}</b></div>")
    };
    let tiles = [
        tile("sent", "Sent", messages.sent),
        tile("accepted", "Accepted", messages.accepted),
        tile("attempts", "Attempts", messages.attempts),
        tile("never_sent", "Never sent", messages.never_sent),
        tile("foreign", "Of others", messages.foreign),
        tile("explained_copies", "Explained copies", messages.explained_copies),
    ];
    let bound = messages.lost_bound_ppm.map_or(String::new(), |ppm| {
        let share = html::value("messages.lost_bound_ppm", ppm, &human::share(ppm as f64 / 1e6));
        format!("<p class=lead>No more than {share} of accepted messages are lost, at 95 %.</p>")
    });
    let columns = [Column::Words("Class"), Column::Number("Messages"), Column::Words("Meaning")];
    let mut table = Table::new("Messages by class", &columns);
    for (name, count) in messages.by_class.iter().take(MOST_ROWS) {
        let key = format!("messages.by_class.{name}");
        let (meaning, is_bad) = meaning(name);
        let tone = if is_bad && *count > 0 { "bad" } else { "calm" };
        table.row(&[
            format!("<b class={tone}>{}</b>", text(&name.replace('_', " "))),
            html::value(&key, count, &human::count(*count)),
            format!("<span class=said>{meaning}</span>"),
        ]);
    }
    let more = more(messages.by_class.len(), MOST_ROWS);
    let inner = format!("<div class=tiles>{}</div>{bound}{}{more}", tiles.concat(), table.html());
    html::section("messages", "Messages by class", "Once for each recipient.", &inner)
}

/// What a class means, and whether one of it is one too many.
pub(super) fn meaning(class: &str) -> (&'static str, bool) {
    match class {
        "lost" => ("Accepted, and nowhere.", true),
        "corrupt" => ("It is there, and not what was sent.", true),
        "misdelivered" => ("It is in the mailbox of somebody else.", true),
        "delivered_after_reject" => ("It is there although every attempt was refused.", true),
        "resurrected" => ("A reader had removed it, and it is back.", true),
        "duplicate" => ("More copies than attempts that may have brought one.", true),
        "stranded" => ("Accepted, and only where nobody serves: on the dead one’s disk.", true),
        "pending" => ("Accepted, and still in the queue of one that serves.", false),
        "bounced" => ("Accepted, and the sender was told that it cannot be delivered.", false),
        "quarantined" => ("Accepted, and put aside for somebody to look at.", false),
        "late" => ("Accepted, and seen later than it may be.", true),
        "delivered" => ("Accepted, and there.", false),
        "expunged" => ("Accepted, there, and removed by its reader.", false),
        "recovered" => ("Nobody knows whether it was accepted; it is there.", false),
        "not_accepted" => ("Nobody knows whether it was accepted; it is nowhere.", false),
        "refused" => ("Refused at every attempt, and nowhere.", false),
        _ => ("", false),
    }
}

/// The worst of them.
pub(super) fn examples(page: &Page) -> String {
    let columns = [
        Column::Words("Message"),
        Column::Words("Class"),
        Column::Words("Recipient"),
        Column::Number("Accepted at"),
        Column::Words("Found"),
    ];
    let mut table = Table::new("Examples", &columns);
    for Example { message, recipient, class, accepted_us, found } in
        page.examples.iter().take(MOST_EXAMPLES)
    {
        table.row(&[
            message.to_string(),
            text(&class.replace('_', " ")),
            said(recipient),
            after(*accepted_us),
            said(found),
        ]);
    }
    let len = page.examples.len();
    section("examples", "Messages that went wrong", "", table, len, MOST_EXAMPLES)
}

/// How long services were away.
pub(super) fn outages(page: &Page) -> String {
    let columns = [
        Column::Words("Service"),
        Column::Words("Incident"),
        Column::Number("RTO"),
        Column::Number("Asked"),
        Column::Number("Noticed"),
        Column::Number("Promoted"),
        Column::Number("First ok"),
        Column::Number("Stable"),
        Column::Number("Probes ok / failed"),
    ];
    let mut table = Table::new("Recovery time", &columns);
    for (index, outage) in page.outages.iter().take(MOST_ROWS).enumerate() {
        let since = |at: Option<u64>| after(at.map(|us| us.saturating_sub(outage.fault_us)));
        let (successes, failures) = (human::count(outage.successes), human::count(outage.failures));
        table.row(&[
            text(&outage.service),
            text(&outage.incident),
            rto(&format!("rto.{index}.rto_us"), outage),
            outage.objective_us.map_or(human::NONE.to_owned(), |us| format!("≤ {}", human::us(us))),
            since(outage.noticed_us),
            since(outage.promoted_us),
            since(outage.first_ok_us),
            since(outage.stable_us),
            format!("{successes} / {failures}"),
        ]);
    }
    let lead = "From the incident until the service was stable, in time since the incident.";
    section("rto", "Recovery time (RTO)", lead, table, page.outages.len(), MOST_ROWS)
}

fn rto(key: &str, outage: &Outage) -> String {
    let tone = match (outage.rto_us, outage.objective_us) {
        (Some(us), Some(asked)) if us > asked => "bad",
        (Some(_), Some(_)) => "good",
        (Some(_), None) => "calm",
        (None, _) => "warn",
    };
    let value = match outage.rto_us {
        Some(us) => html::value(key, us, &human::us(us)),
        None => html::value(key, "null", "not seen"),
    };
    format!("<b class={tone}>{value}</b>")
}

/// Accepted mail that was out of sight.
pub(super) fn losses(page: &Page) -> String {
    let columns = [
        Column::Words("Moment"),
        Column::Number("Out of sight"),
        Column::Number("Of accepted"),
        Column::Number("Size"),
        Column::Number("Age of the oldest"),
        Column::Words("Could not be read"),
    ];
    let mut table = Table::new("Lost data", &columns);
    for loss in page.losses.iter().take(MOST_ROWS) {
        let key = |part: &str| format!("rpo.{}.{part}", loss.moment);
        let shown = loss.unread.iter().take(MOST_UNREAD).map(|place| text(place));
        let unread = shown.collect::<Vec<_>>().join(", ");
        let more = match loss.unread.len().saturating_sub(MOST_UNREAD) {
            0 => String::new(),
            n => format!(", and {} more", human::count(n as u64)),
        };
        table.row(&[
            text(moment(&loss.moment)),
            html::value(&key("messages"), loss.messages, &human::count(loss.messages)),
            html::value(&key("accepted"), loss.accepted, &human::count(loss.accepted)),
            html::value(&key("bytes"), loss.bytes, &human::bytes(loss.bytes)),
            match loss.age_us {
                Some(us) => html::value(&key("age_us"), us, &human::us(us)),
                None => human::NONE.to_owned(),
            },
            format!("<span class=said>{unread}{more}</span>"),
        ]);
    }
    let lead = "Accepted mail that was out of sight, and how long before the incident the oldest \
                of it was accepted.";
    section("rpo", "Lost data (RPO)", lead, table, page.losses.len(), MOST_ROWS)
}

/// A moment for people.
pub(super) fn moment(raw: &str) -> &str {
    match raw {
        "promotion" => "At promotion",
        "salvage" => "After salvage",
        "snapshot" => "From the snapshot alone",
        "final" => "In the end",
        other => other,
    }
}

/// What IMAP promises.
pub(super) fn continuity(page: &Page) -> String {
    let Some(continuity) = &page.continuity else { return String::new() };
    let tone = match (continuity.looks, continuity.breaches) {
        (0, 0) => "warn",
        (_, 0) => "good",
        _ => "bad",
    };
    let looks = html::value("continuity.looks", continuity.looks, &human::count(continuity.looks));
    let breaches = human::count(continuity.breaches);
    let breaches = html::value("continuity.breaches", continuity.breaches, &breaches);
    let shown = continuity.examples.iter().take(MOST_EXAMPLES);
    let items: String = shown.map(|example| format!("<li>{}</li>", text(example))).collect();
    let items = if items.is_empty() { items } else { format!("<ul class=advice>{items}</ul>") };
    let more = more(continuity.examples.len(), MOST_EXAMPLES);
    let inner = format!(
        "<p>Looked at a UID {looks} times; promises broken: <b class={tone}>{breaches}</b>.</p>\
         {items}{more}"
    );
    let lead = "A UID never names another message, UIDNEXT never goes back, flags and dates stay.";
    html::section("continuity", "IMAP continuity", lead, &inner)
}

/// A section around a table, with how many rows are not shown; nothing without a row.
pub(super) fn section(
    id: &str,
    heading: &str,
    lead: &str,
    table: Table,
    len: usize,
    most: usize,
) -> String {
    if len == 0 {
        return String::new();
    }
    html::section(id, heading, lead, &format!("{}{}", table.html(), more(len, most)))
}

fn more(len: usize, most: usize) -> String {
    match len.saturating_sub(most) {
        0 => String::new(),
        n => format!("<p class=lead>And {} more.</p>", human::count(n as u64)),
    }
}

/// A text that may be long.
pub(super) fn said(raw: &str) -> String {
    format!("<span class=said>{}</span>", text(raw))
}

/// A time from some start.
pub(super) fn after(us: Option<u64>) -> String {
    us.map_or(human::NONE.to_owned(), |us| format!("+{}", human::us(us)))
}

/// A drill has some places, not some hundred.
const MOST_UNREAD: usize = 20;
