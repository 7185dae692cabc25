//! The results as Markdown: medians with the least and the most of all rounds, and ratios.

use std::fmt::Write;

use super::Plan;
use super::measure::Cost;
use super::night;
use super::rounds::{Results, Step};
use super::tools::Tool;
use crate::clock;

const MISSING: &str = "–";

pub(super) fn render(plan: &Plan, results: &Results, machine: &[String]) -> String {
    let mut text = format!("# Backup of {} messages\n\n", plan.messages);
    let day = clock::day(clock::now());
    let (new, flags) = night::shares(plan.messages);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "`{}`, {day}\n\n- {}\n- {} rounds on one local disk, warm cache; the median, and the least \
         and the most\n- {:.0} MB in {} messages; a night brings {new} new messages and {flags} \
         changed flags\n- every restore was compared with the store\n\n",
        plan.command_line,
        machine.join("\n- "),
        plan.rounds,
        results.store_bytes as f64 / 1e6,
        plan.messages,
    );
    let mut head = "| |".to_owned();
    for tool in &plan.tools {
        let _ = write!(head, " {} |", title(*tool));
    }
    let _ = writeln!(text, "{head} mailrig against restic |");
    let _ = writeln!(text, "|---|{}---|", "---:|".repeat(plan.tools.len()));
    for (step, name) in
        [(Step::First, "first backup"), (Step::Night, "night"), (Step::Restore, "full restore")]
    {
        let figures: [Figure; 3] = [
            ("s", |cost| cost.wall_s, |ratio| format!("{ratio:.1}× faster")),
            ("CPU s", |cost| cost.cpu_s, |ratio| format!("{ratio:.1}× less")),
            ("peak MB", |cost| cost.peak_mb, |ratio| format!("{:.2}×", 1.0 / ratio)),
        ];
        for (unit, figure, against) in figures {
            let values = |tool| {
                let costs = results.costs.get(&(step, tool))?;
                Some(costs.iter().map(figure).collect::<Vec<f64>>())
            };
            row(&mut text, plan, &format!("{name}, {unit}"), values, against);
        }
    }
    let share = |ratio: f64| format!("{:.2}×", 1.0 / ratio);
    for (step, name) in [(Step::First, "the first backup"), (Step::Night, "the night")] {
        let values = |tool| {
            let bytes = results.stored_bytes.get(&(step, tool))?;
            Some(bytes.iter().map(|bytes| *bytes as f64 / 1e6).collect())
        };
        row(&mut text, plan, &format!("stored after {name}, MB"), values, share);
    }
    let real = |tool| Some(vec![*results.real_bytes.get(&tool)? as f64 / 1e6]);
    row(&mut text, plan, "stored for the 6,046 real messages, MB", real, share);
    nights(&mut text, results);
    text
}

fn title(tool: Tool) -> &'static str {
    match tool {
        Tool::Mailrig => "mailrig, encrypted",
        Tool::Restic => "restic",
        Tool::Tar => "tar, zstd -3 -T0",
    }
}

/// Its unit, where it is in a cost, and the words for the ratio of restic's to mailrig's.
type Figure = (&'static str, fn(&Cost) -> f64, fn(f64) -> String);

/// One line; `against` words the ratio of restic's median to mailrig's.
fn row(
    text: &mut String,
    plan: &Plan,
    name: &str,
    values: impl Fn(Tool) -> Option<Vec<f64>>,
    against: fn(f64) -> String,
) {
    let _ = write!(text, "| {name} |");
    for tool in &plan.tools {
        let cell = values(*tool).map_or_else(|| MISSING.to_owned(), |values| spread(&values));
        let _ = write!(text, " {cell} |");
    }
    let ratio = || Some(median(&values(Tool::Restic)?) / median(&values(Tool::Mailrig)?));
    let _ = writeln!(text, " {} |", ratio().map_or_else(|| MISSING.to_owned(), against));
}

fn nights(text: &mut String, results: &Results) {
    let number = |n: Option<u64>| n.map_or_else(|| "n/a".to_owned(), |n| n.to_string());
    if !results.nights.is_empty() {
        text.push('\n');
    }
    for (round, night) in results.nights.iter().enumerate() {
        let _ = writeln!(
            text,
            "- night {}: {} requests, {} changed mailboxes (truly {}; at most {} requests are \
             allowed for them)",
            round + 1,
            number(night.requests),
            number(night.mailboxes_changed),
            night.mailboxes_truly_changed,
            3 * night.mailboxes_truly_changed + 4,
        );
    }
}

/// `median (least–most)`
pub(super) fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(values);
    let digits = if median < 100.0 { 2 } else { 0 };
    if values.len() < 2 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_median_between_the_least_and_the_most() {
        assert_eq!(spread(&[3.0, 1.0, 2.5]), "2.50 (1.00–3.00)");
        assert_eq!(spread(&[300.0, 100.0]), "200 (100–300)");
        assert_eq!(spread(&[1.5]), "1.50");
    }
}
