//! The ids of messages as `find` prints them: the first word of each line, or a JSON document.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use snapshot::message_id::MessageId;

/// Reads the ids in a file, or from standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<MessageId>> {
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

fn parse(text: &str) -> Result<Vec<MessageId>> {
    let mut ids = Vec::new();
    if text.trim_start().starts_with('{') {
        let document: Document = serde_json::from_str(text)?;
        for message in document.messages {
            ids.push(message.id.parse()?);
        }
    } else {
        for line in text.lines() {
            // A table's head and its last sentence have no slash in their first words.
            let word = line.split_whitespace().next();
            if let Some(word) = word.filter(|word| word.contains('/')) {
                ids.push(word.parse()?);
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        bail!(
            "expected lines that begin with SNAPSHOT/MAILBOX/HASH, or the document of `find --json`"
        );
    }
    Ok(ids)
}

#[derive(Deserialize)]
struct Document {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
}

/// Some million ids.
const BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_documents_give_ids_once() {
        let table = "MESSAGE  FROM\na/b/c  x@y/z\n\na/b/c again\na/b/d\n2 messages.\n";
        let json = r#"{"type":"find","messages":[{"id":"a/b/d","from":"x"},{"id":"a/b/c"}]}"#;
        for text in [table, json] {
            let ids: Vec<String> = parse(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(ids, ["a/b/c", "a/b/d"]);
        }
        for text in [
            "",
            "\n",
            "MESSAGE FROM\n0 messages.\n",
            "../../x\n",
            "a/b\n",
            "{}",
            "{\"messages\":[]}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
