//! The result: one row a tool and one sentence; as text, as JSON, or as a page in `bench/results`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::judge::Verdict;
use super::mailbox::Done;
use super::tools::Tool;
use crate::bench::machine;
use crate::clock;
use crate::workspace;

/// All rounds of one tool.
pub(super) struct Tally {
    pub(super) tool: Tool,
    pub(super) rounds: u64,
    pub(super) verdict: Verdict,
    pub(super) done: Done,
    /// How often it ended with which code.
    pub(super) exits: BTreeMap<i32, u64>,
    /// Sums of what mailrig's ledger counts.
    pub(super) ledger: BTreeMap<String, u64>,
    /// The longest backup.
    pub(super) slowest: Duration,
    /// Rounds that were not clean.
    pub(super) bad_rounds: u64,
}

impl Tally {
    pub(super) fn new(tool: Tool) -> Tally {
        Tally {
            tool,
            rounds: 0,
            verdict: Verdict::default(),
            done: Done::default(),
            exits: BTreeMap::new(),
            ledger: BTreeMap::new(),
            slowest: Duration::ZERO,
            bad_rounds: 0,
        }
    }

    pub(super) fn sentence(&self) -> String {
        let Tally { tool, verdict, rounds, done, .. } = self;
        format!(
            "{} missed {} and doubled {} of {} messages in {} rounds under {} renames",
            tool.name(),
            grouped(verdict.missed),
            grouped(verdict.doubled),
            grouped(verdict.judged),
            grouped(*rounds),
            grouped(done.renames),
        )
    }
}

const HEAD: [&str; 10] = [
    "tool",
    "rounds",
    "judged",
    "renames",
    "other acts",
    "missed",
    "doubled",
    "corrupt",
    "slowest s",
    "exit codes",
];

pub(super) fn text(tallies: &[Tally]) -> String {
    let mut text = aligned(&rows(tallies));
    for tally in tallies {
        let counts: Vec<String> = tally
            .ledger
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {}", grouped(*count)))
            .collect();
        if !counts.is_empty() {
            text.push_str(&format!("\nledger of {}: {}\n", tally.tool.name(), counts.join(", ")));
        }
    }
    format!("{text}\n{}", sentence(tallies))
}

pub(super) fn json(seed: u64, tallies: &[Tally]) -> Value {
    let tools: Vec<Value> = tallies
        .iter()
        .map(|Tally { tool, rounds, verdict, done, exits, ledger, slowest, .. }| {
            json!({
                "tool": tool.name(), "rounds": rounds, "judged": verdict.judged,
                "renames": done.renames, "other_acts": done.others, "missed": verdict.missed,
                "doubled": verdict.doubled, "corrupt": verdict.corrupt, "ledger": ledger,
                "slowest_s": slowest.as_secs_f64(),
                "exit_codes": exits.iter().map(|(code, times)| (code.to_string(), json!(times)))
                    .collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    json!({"type": "churn", "seed": seed, "tools": tools})
}

/// Writes a page with the command that made it.
pub(super) fn write(command_line: &str, work: &Path, tallies: &[Tally]) -> Result<()> {
    let day = clock::day(clock::now());
    let machine = machine::describe(work)?.join("\n- ");
    let page = format!(
        "# Backups of mailboxes that change\n\n`{command_line}`, {day}\n\n- {machine}\n\n\
         ```\n{}\n```\n",
        text(tallies)
    );
    let folder = workspace::root().join("bench/results");
    fs::create_dir_all(&folder)?;
    let place = folder.join(format!("churn-{day}.md"));
    fs::write(&place, page).with_context(|| format!("writing `{}`", place.display()))?;
    eprintln!("written to {}", place.display());
    Ok(())
}

fn rows(tallies: &[Tally]) -> Vec<Vec<String>> {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for Tally { tool, rounds, verdict, done, exits, slowest, .. } in tallies {
        let exits: Vec<String> =
            exits.iter().map(|(code, times)| format!("{code} × {times}")).collect();
        let mut row = vec![tool.name().to_owned()];
        let numbers = [
            *rounds,
            verdict.judged,
            done.renames,
            done.others,
            verdict.missed,
            verdict.doubled,
            verdict.corrupt,
        ];
        row.extend(numbers.map(grouped));
        row.push(format!("{:.1}", slowest.as_secs_f64()));
        row.push(exits.join(", "));
        rows.push(row);
    }
    rows
}

/// What all of it comes to.
fn sentence(tallies: &[Tally]) -> String {
    let parts: Vec<String> = tallies.iter().map(Tally::sentence).collect();
    format!("{}.", parts.join("; "))
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns two spaces apart: the first and the last to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 || column + 1 == columns {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_columns_line_up() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        let rows = [["a", "long", "x"], ["bcd", "1", "yy"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "a    long  x\nbcd     1  yy\n");
    }
}
