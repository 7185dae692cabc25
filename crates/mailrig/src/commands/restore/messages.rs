//! The ids of messages as `find` prints them: the first word of each line, or a JSON document.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use snapshot::message_id::{MessageId, NotAMessageId};

use crate::commands::find::HEADER;

/// Ids, and the lines that have none.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) ids: Vec<MessageId>,
    /// What is wrong with lines, of the first of them.
    pub(crate) problems: Vec<String>,
    /// Lines with something wrong beyond those.
    pub(crate) problems_more: u64,
}

/// Reads the ids in a file, or from standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Ids> {
    let name =
        if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let mut input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).with_context(|| format!("cannot open {name}"))?),
    };
    let mut text = String::new();
    input
        .by_ref()
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > BYTES_MAX {
        bail!("{name} is larger than {} MiB: restore in parts", BYTES_MAX >> 20);
    }
    parse(&text).with_context(|| format!("no ids of messages in {name}"))
}

fn parse(text: &str) -> Result<Ids> {
    if text.trim().is_empty() {
        bail!("it is empty; `find` found nothing?");
    }
    let mut read = Ids::default();
    if text.trim_start().starts_with('{') {
        let document: Document = serde_json::from_str(text)?;
        for message in document.messages {
            read.ids.push(message.id.parse()?);
        }
    } else {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !is_around(line)) {
            let word = line.split_whitespace().next().unwrap_or_default();
            match word.parse() {
                Ok(id) => read.ids.push(id),
                Err(_) if read.problems.len() >= PROBLEMS_MAX => read.problems_more += 1,
                Err(NotAMessageId { text }) => {
                    let text = text.escape_debug();
                    let number = number + 1;
                    read.problems
                        .push(format!("line {number} begins with `{text}`, which is no id"));
                }
            }
        }
    }
    read.ids.sort_unstable();
    read.ids.dedup();
    if read.ids.is_empty() {
        bail!(
            "expected lines that begin with SNAPSHOT/MAILBOX/HASH, or the document of `find --json`"
        );
    }
    Ok(read)
}

/// Whether a line is nothing, the head of `find`'s table, what belongs to another line, or the sentence
/// at the end.
fn is_around(line: &str) -> bool {
    // In a narrow terminal, what follows an id.
    if line.starts_with("    ") {
        return true;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] | ["MESSAGE"] => true,
        ["MESSAGE", second, ..] => HEADER.iter().any(|column| column.starts_with(second)),
        [number, "message" | "messages", "found", ..] => {
            let is_count = number == "No" || number.starts_with(|c: char| c.is_ascii_digit());
            is_count && line.trim_end().ends_with('.')
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct Document {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
}

/// Lines that are named.
const PROBLEMS_MAX: usize = 100;

/// Some million ids.
const BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_documents_give_ids_once() {
        let table = "MESSAGE  FOLDER  MAILB\nMESSAGE  RECEIVED  FROM\na/b/c  x@y/z\n\na/b/c again\na/b/d\n    from x@y\n\
                     2 messages found in 1 mailbox of 1 snapshot in 0.1 s.\n";
        let json = r#"{"type":"find","messages":[{"id":"a/b/d","from":"x"},{"id":"a/b/c"}]}"#;
        for text in [table, json] {
            let read = parse(text).unwrap();
            let ids: Vec<String> = read.ids.iter().map(ToString::to_string).collect();
            assert_eq!(ids, ["a/b/c", "a/b/d"]);
            assert!(read.problems.is_empty(), "{:?}", read.problems);
        }
        for text in [
            "",
            "\n",
            "MESSAGE  RECEIVED\nNo message found in 1 mailbox of 1 snapshot in 0.1 s.\n",
            "../../x\n",
            "a/b\n",
            "{}",
            "{\"messages\":[]}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lines_without_an_id_are_named_and_never_too_many() {
        let read = parse("a/b/c\na/b\n2 messages.\nMESSAGE of mine\n../../x\n").unwrap();
        assert_eq!(read.ids.len(), 1);
        let begins: Vec<&str> =
            read.problems.iter().filter_map(|line| line.split(" begins").next()).collect();
        assert_eq!(begins, ["line 2", "line 3", "line 4", "line 5"]);
        let many = parse(&("no\n".repeat(PROBLEMS_MAX + 7) + "a/b/c\n")).unwrap();
        assert_eq!((many.problems.len(), many.problems_more), (PROBLEMS_MAX, 7));
    }
}
