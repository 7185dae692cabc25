//! The page that people read: a table, what is wrong, a summary, where to look next.

use std::path::Path;
use std::time::Duration;

use super::inventory::Difference;
use super::report::{Drilled, Report};
use super::workplace::{IDENTITY, REPOSITORY};
use crate::ui::{count, duration, plural, size, table};

impl Report {
    /// The page for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.table();
        text.push('\n');
        text.push_str(&self.findings());
        text.push_str(&self.in_short());
        text.push_str(&self.summary());
        text.push_str(&match &self.folder {
            Some(folder) => {
                format!("\nWhere to look next; everything is in {}\n", folder.display())
            }
            None => "\nWhere to look next\n".to_owned(),
        });
        for (command, why) in self.next_steps() {
            text.push_str(&format!("  {command}\n      {why}\n"));
        }
        text
    }

    fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .snapshots
            .iter()
            .zip(["evening", "morning"])
            .map(|(snapshot, name)| {
                vec![
                    name.to_owned(),
                    count(snapshot.messages),
                    size(snapshot.bytes),
                    size(snapshot.read_bytes),
                    size(snapshot.stored_bytes),
                    percent(snapshot.stored_bytes, snapshot.bytes),
                    time(snapshot.backup_ms),
                    time(snapshot.restore_ms),
                ]
            })
            .collect();
        let header =
            ["SNAPSHOT", "MESSAGES", "SIZE", "READ", "STORED", "OF SIZE", "BACKUP", "RESTORE"];
        table(&header, &rows)
    }

    /// What must not be overlooked.
    fn findings(&self) -> String {
        const SHOWN: usize = 10;
        let mut text = String::new();
        for (snapshot, name) in self.snapshots.iter().zip(["evening", "morning"]) {
            for difference in snapshot.differences.iter().take(SHOWN) {
                let Difference { path, reason } = difference;
                text.push_str(&format!("differs    {name}: {path} {reason}\n"));
            }
            if let Some(more) = snapshot.differences.len().checked_sub(SHOWN).filter(|n| *n > 0) {
                let more = plural(more as u64, "more file");
                text.push_str(&format!("differs    {name}: and {more}, see --json\n"));
            }
        }
        for problem in self.problems.iter().take(SHOWN) {
            text.push_str(&format!("problem    {problem}\n"));
        }
        if let Some(more) = self.problems.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            text.push_str(&format!(
                "problem    and {}, see --json\n",
                plural(more as u64, "more line")
            ));
        }
        text
    }

    fn in_short(&self) -> String {
        let [evening, morning] = self.snapshots.as_slice() else { return String::new() };
        let mut text = format!(
            "The night made {} changes to {}. Its backup read {} of them\n\
             ({}) for {} new names and stored {} of what the evening's had stored.\n",
            count(self.night.changes()),
            plural(evening.messages, "message"),
            count(morning.messages_read),
            size(morning.read_bytes),
            count(self.night.new_names),
            percent(morning.stored_bytes, evening.stored_bytes),
        );
        if self.is_equal {
            text.push_str(&format!(
                "Restored and equal: the evening with {}, the morning with {}.\n",
                plural(evening.files_compared, "file"),
                plural(morning.files_compared, "file")
            ));
        }
        let Drilled { accepted, lost, verdict, .. } = &self.drill;
        let away = self.drill.primary_away_ms.map_or("for good".into(), time);
        text.push_str(&format!(
            "A mail server was killed under load: away {away}; {} accepted, {} lost: {verdict}.\n",
            plural(*accepted, "message"),
            count(*lost),
        ));
        text
    }

    fn summary(&self) -> String {
        let compared = self.snapshots.iter().map(|snapshot| snapshot.files_compared).sum();
        let (files, elapsed) = (plural(compared, "file"), time(self.elapsed_ms));
        if self.is_equal && !self.is_well() {
            return format!(
                "NOT PASSED: the drill is {}; {files} came back as they were, in {elapsed}.\n",
                self.drill.verdict
            );
        }
        if self.is_equal {
            return format!(
                "All {files} came back with their name, bytes, time and mode, in {elapsed}.\n"
            );
        }
        let differ: usize = self.snapshots.iter().map(|snapshot| snapshot.differences.len()).sum();
        let problems = match self.problems.len() as u64 {
            0 => String::new(),
            problems => format!(" and {}", plural(problems, "other problem")),
        };
        let differences = plural(differ as u64, "difference");
        format!("NOT EQUAL: {differences}{problems}, {files} compared, in {elapsed}.\n")
    }

    fn next_steps(&self) -> [(String, &'static str); 3] {
        match &self.folder {
            None => [
                (
                    "mailrig init s3://BUCKET/PREFIX".into(),
                    "your own repository; README.md goes on from there to the nightly backup",
                ),
                (
                    "mailrig demo --dir DIR --keep".into(),
                    "the same, left in place for ls, restore and verify",
                ),
                (
                    "docs/recover.sh REPO IDENTITY OUT".into(),
                    "every message back with age, zstd, tar and jq alone; docs/format.md says why",
                ),
            ],
            Some(folder) => {
                let (repository, identity) =
                    (quoted(&folder.join(REPOSITORY)), quoted(&folder.join(IDENTITY)));
                let morning = self.snapshots.last().map_or("latest", |snapshot| &snapshot.id);
                [
                    (
                        format!("mailrig ls {repository} {morning} --identity {identity}"),
                        "what a snapshot holds; --mailbox and --folder look closer",
                    ),
                    (
                        format!(
                            "docs/recover.sh {repository} {identity} {}",
                            quoted(&folder.join("recovered"))
                        ),
                        "the same with age, zstd, tar and jq alone; docs/format.md says why",
                    ),
                    (
                        "mailrig init s3://BUCKET/PREFIX".into(),
                        "your own repository; README.md goes on from there to the nightly backup",
                    ),
                ]
            }
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@".contains(letter);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// `2.8 %`.
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn time(milliseconds: u64) -> String {
    duration(Duration::from_millis(milliseconds))
}
