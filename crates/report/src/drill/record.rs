//! What was done and who stands for it: steps, undos, the files that prove it, and lines to sign
//! on.

use super::results::{after, said, section};
use super::{MOST_ROWS, MOST_STEPS, Page, Signature};
use crate::html::{self, Column, Table, text};
use crate::human;

/// What was done.
pub(super) fn steps(page: &Page) -> String {
    let columns = [
        Column::Number("No."),
        Column::Number("t"),
        Column::Words("UTC"),
        Column::Words("Step"),
        Column::Words("What"),
        Column::Words("Result"),
        Column::Number("Duration"),
        Column::Words("Who"),
    ];
    let mut table = Table::new("Steps", &columns);
    for (index, step) in page.steps.iter().take(MOST_STEPS).enumerate() {
        let (tone, word) = match (step.is_failed, step.duration_us) {
            (true, _) => ("bad", "✗ failed"),
            (false, None) => ("warn", "– never ended"),
            (false, Some(_)) => ("good", "✓ done"),
        };
        let fault = if step.is_fault { " <b class=bad>fault</b>" } else { "" };
        table.row(&[
            (index + 1).to_string(),
            html::value(&format!("steps.{index}.at_us"), step.at_us, &after(Some(step.at_us))),
            text(&step.utc),
            format!("{}{fault}", text(&step.name)),
            said(&step.what),
            format!("<b class={tone}>{word}</b>{}", said(&step.result)),
            step.duration_us.map_or(human::NONE.to_owned(), human::us),
            text(&step.who),
        ]);
    }
    section("steps", "Steps", "", table, page.steps.len(), MOST_STEPS)
}

/// Whether all is as it was.
pub(super) fn undos(page: &Page) -> String {
    let columns = ["", "Undo of", "Why not", "By hand"].map(Column::Words);
    let mut table = Table::new("Undo", &columns);
    // What a person still has to do must not be beyond the rows that are shown.
    let open = page.undos.iter().filter(|undo| !undo.is_done);
    let done = page.undos.iter().filter(|undo| undo.is_done);
    for undo in open.chain(done).take(MOST_ROWS) {
        let word = match undo.is_done {
            true => "<b class=good>✓ undone</b>",
            false => "<b class=bad>✗ not undone</b>",
        };
        table.row(&[
            word.to_owned(),
            text(&undo.what),
            said(&undo.why),
            format!("<code class=said>{}</code>", text(&undo.by_hand)),
        ]);
    }
    let lead = "Whether the system is as it was found, and what a person would type instead.";
    section("undo", "Undo", lead, table, page.undos.len(), MOST_ROWS)
}

/// The files that prove it.
pub(super) fn evidence(page: &Page) -> String {
    let columns = [Column::Words("File"), Column::Words("SHA-256")];
    let mut table = Table::new("Evidence", &columns);
    for evidence in page.evidence.iter().take(MOST_ROWS) {
        let sha256 = format!("<code class=said>{}</code>", text(&evidence.sha256));
        table.row(&[said(&evidence.file), sha256]);
    }
    section("evidence", "Evidence", "", table, page.evidence.len(), MOST_ROWS)
}

/// Lines to sign on; those of the three roles are always there.
pub(super) fn signatures(page: &Page) -> String {
    let given = |role: &str| page.signatures.iter().any(|signature| signature.role == role);
    let missing = ROLES.into_iter().filter(|role| !given(role));
    let missing = missing.map(|role| Signature { role: role.to_owned(), ..Signature::default() });
    let columns = ["", "Name", "Date", "Signature"].map(Column::Words);
    let mut table = Table::new("Sign-off", &columns);
    let given = page.signatures.iter().take(MOST_ROWS).cloned();
    for Signature { role, name, date } in given.chain(missing) {
        table.row(&[capital(&text(&role)), text(&name), text(&date), String::new()]);
    }
    html::section("sign-off", "Sign-off", "", &format!("<div class=sign>{}</div>", table.html()))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

const ROLES: [&str; 3] = ["created", "reviewed", "acknowledged"];
