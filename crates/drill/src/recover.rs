//! Undoes what a run left that was killed: its journal says what is armed, and each undo looks for itself whether there
//! is anything to do. Doing it again does no harm.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use crate::journal::{BadJournal, Event, Journal, Reader};
use crate::marked;
use crate::run::{RunFailed, journal_of, not_opened};
use crate::stack::{Left, Stack};
use crate::undo::{Undo, is_this_boot};
use crate::world::COMMANDS;

/// What recovering came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// How much was undone.
    pub undone: usize,
    /// What is left for a person.
    pub left: Vec<Left>,
}

/// What a journal says that is still armed, by number, and when its last line was written.
fn armed(
    reader: &mut Reader<impl std::io::BufRead>,
) -> Result<(BTreeMap<u32, serde_json::Value>, u64), BadJournal> {
    let mut armed: BTreeMap<u32, serde_json::Value> = BTreeMap::new();
    let mut last_us = 0;
    while let Some((t_us, event)) = reader.next_event()? {
        last_us = t_us.max(last_us);
        match event {
            Event::Armed(one) => drop(armed.insert(one.id, one.undo)),
            Event::Undone { id, failed: None } => drop(armed.remove(&id)),
            _ => {}
        }
    }
    Ok((armed, last_us))
}

/// Whether nothing of a run is left. One that never came as far as to write a journal has done nothing; of one whose
/// folder is gone, or whose journal cannot be read, nobody knows.
pub fn is_clean(dir: &Path) -> bool {
    let Ok(file) = File::open(journal_of(dir)) else {
        return dir.is_dir() && !journal_of(dir).exists();
    };
    let armed = armed(&mut Reader::new(BufReader::new(file)));
    armed.is_ok_and(|(armed, _)| armed.is_empty())
}

/// The mark of commands that may still run.
fn commands(undo: &Undo) -> Option<&str> {
    match undo {
        Undo::EndMarked { mark, boot_id } if is_this_boot(boot_id) => {
            mark.ends_with(COMMANDS).then_some(mark)
        }
        _ => None,
    }
}

/// Undoes what is still armed. A run that goes on is left alone.
pub async fn recover(dir: &Path) -> Result<Recovered, RunFailed> {
    let path = journal_of(dir);
    let failed = |why: String| RunFailed::Dir { dir: dir.to_owned(), why };
    let told = |what: &dyn std::fmt::Display| failed(format!("{}: {what}", path.display()));
    let file = Journal::open(&path).map_err(|e| not_opened(dir, &e))?;
    let mut reader = Reader::new(BufReader::new(file.try_clone().map_err(|e| told(&e))?));
    let (armed, last_us) = armed(&mut reader).map_err(|e| told(&e))?;
    let undo = |(id, data): (u32, serde_json::Value)| {
        let undo: Undo =
            serde_json::from_value(data).map_err(|e| told(&format!("undo {id}: {e}")))?;
        Ok((id, undo))
    };
    let armed = armed.into_iter().map(undo).collect::<Result<Vec<_>, RunFailed>>()?;
    let count = armed.len();
    // Its times go on where those of the run ended: how long nobody was there, no clock tells.
    let start = Instant::now().checked_sub(std::time::Duration::from_micros(last_us));
    let (length, prev) = reader.position();
    let resumed = Journal::resume(file, &path, length, prev, start.unwrap_or_else(Instant::now));
    let (journal, writer) = resumed.map_err(|e| told(&e))?;
    for mark in armed.iter().filter_map(|(_, undo)| commands(undo)) {
        // What does not end here is left for its own undo, which comes last.
        let _ = marked::end_commands(mark).await;
    }
    let stack = Stack::resumed(journal.clone(), armed);
    let left = stack.undo_all().await;
    drop((stack, journal));
    let written = tokio::task::spawn_blocking(move || writer.finish()).await;
    written.map_err(|e| told(&e))??;
    Ok(Recovered { undone: count - left.len(), left })
}
