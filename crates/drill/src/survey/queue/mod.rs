//! Reads queues without the help of whoever owns them: a dead server answers no question. A live one moves its messages
//! on while they are read, so that what has gone from where it was seen is looked for again.

pub(super) mod asked;
mod exim;
mod postfix;

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LONGEST;
use crate::scenario::Queue;

/// A message that waits, with who is still to get it.
pub(crate) struct Waiting {
    /// Empty for the null path.
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) message: Vec<u8>,
}

/// Sender, recipients and message of a queue file of Postfix. For the fuzzer.
#[doc(hidden)]
pub fn postfix_file(bytes: &[u8]) -> Option<(String, Vec<String>, Vec<u8>)> {
    postfix::parse(bytes).map(|Waiting { from, to, message }| (from, to, message))
}

/// The same of the three files of Exim. For the fuzzer.
#[doc(hidden)]
pub fn exim_files(
    head: &[u8],
    data: &[u8],
    journal: &[u8],
) -> Option<(String, Vec<String>, Vec<u8>)> {
    exim::parse(head, data, journal).map(|Waiting { from, to, message }| (from, to, message))
}

/// Gives each message that waits, once, until nobody wants more (`false`). False: messages came and went for as long as
/// it was read, so that one may have been missed.
pub(crate) fn read(queue: &Queue, take: &mut dyn FnMut(Waiting) -> bool) -> Result<bool, String> {
    match queue {
        Queue::Mailrig(dir) => mailrig(Path::new(dir), take).map(|()| true),
        Queue::Postfix(dir) => {
            until_quiet(&|| postfix::files(Path::new(dir)), &postfix::read, take)
        }
        Queue::Exim(dir) => until_quiet(&|| exim::files(Path::new(dir)), &exim::read, take),
        Queue::Command(_) => Err("it is asked by a command, and has no files here".into()),
    }
}

/// What a file of a queue is.
enum Entry {
    Waiting(Waiting),
    /// Nobody is still to get it, or its server has not said yes to it yet.
    Nothing,
    /// It has gone to another place, or on its way.
    Gone,
}

/// A message of a queue: its id, and where it lies.
type Named = (String, PathBuf);

/// Reads all files, and again those that have moved meanwhile. An id is told once. False: it moved until the end.
fn until_quiet(
    list: &dyn Fn() -> Result<Vec<Named>, String>,
    read: &dyn Fn(&Path) -> Result<Entry, String>,
    take: &mut dyn FnMut(Waiting) -> bool,
) -> Result<bool, String> {
    let mut seen = HashSet::new();
    for _ in 0..ROUNDS {
        let mut is_quiet = true;
        for (id, path) in list()? {
            if seen.contains(&id) {
                continue;
            }
            match read(&path)? {
                Entry::Gone => is_quiet = false,
                Entry::Nothing => {}
                Entry::Waiting(one) => {
                    // Who came to a place that was listed already is seen in the next round.
                    is_quiet = false;
                    seen.insert(id);
                    if !take(one) {
                        return Ok(true);
                    }
                }
            }
        }
        if is_quiet {
            // Whether it is still a queue: of one that has gone, nothing is known.
            return list().map(|_| true);
        }
    }
    Ok(false)
}

/// What matters of an envelope in a queue of `mailrig serve`.
#[derive(Deserialize)]
struct Envelope {
    from: String,
    to: Vec<String>,
}

fn mailrig(dir: &Path, take: &mut dyn FnMut(Waiting) -> bool) -> Result<(), String> {
    for entry in fs::read_dir(dir).map_err(|e| failed(dir, &e))? {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".envelope.json")) else {
            continue;
        };
        let message = read_file(&dir.join(format!("{id}.message")));
        let envelope = read_file(&entry.path());
        // It goes on its way while we look: the envelope is what is removed first.
        let (message, envelope) = match (message, envelope) {
            (Ok(message), Ok(envelope)) => (message, envelope),
            (_, Err(e)) if e.kind() == ErrorKind::NotFound => continue,
            (Err(e), _) if e.kind() == ErrorKind::NotFound && !entry.path().exists() => continue,
            (Err(e), _) | (_, Err(e)) => return Err(failed(&entry.path(), &e)),
        };
        let Envelope { from, to } =
            serde_json::from_slice(&envelope).map_err(|e| failed(&entry.path(), &e))?;
        if !take(Waiting { from, to, message }) {
            return Ok(());
        }
    }
    Ok(())
}

/// Gives each message of a folder of them.
pub(super) fn read_files(dir: &Path, tell: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    for entry in fs::read_dir(dir).map_err(|e| failed(dir, &e))? {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            match read_file(&entry.path()) {
                Ok(message) => tell(&message),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(failed(&entry.path(), &e)),
            }
        }
    }
    Ok(())
}

/// Files of a folder and those below it, as deep as queues are split (`hash_queue_depth`, `split_spool_directory`).
fn walk(dir: &Path, depth: u32, take: &mut dyn FnMut(String, PathBuf)) -> Result<(), String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // A queue that was never needed has no folder.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(dir, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed(dir, &e))?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match entry.file_name().into_string() {
            Ok(_) if is_dir && depth > 0 => walk(&entry.path(), depth - 1, take)?,
            Ok(name) if !is_dir => take(name, entry.path()),
            _ => {}
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn failed(path: &Path, e: &dyn std::fmt::Display) -> String {
    format!("cannot read {}: {e}", path.display())
}

/// Of a live server's queue, whose messages move.
const ROUNDS: u32 = 20;
