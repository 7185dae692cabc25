//! The undos of a run, in the order in which they were needed. Each is in the journal before what it undoes; they are done
//! from the last to the first, whatever became of the run, and one that fails keeps none of the others back.

use std::sync::Mutex;
use std::time::Duration;

use crate::caught::caught;
use crate::journal::{Armed, Event, Journal};
use crate::undo::Undo;
use crate::world::lock;

/// The undos that are still to be done.
pub(crate) struct Stack {
    journal: Journal,
    inner: Mutex<Armory>,
}

/// What is armed, by number, and the next number.
struct Armory {
    armed: Vec<(u32, Undo)>,
    next: u32,
}

/// An undo that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What a person would do.
    pub by_hand: String,
    /// Why it did not work.
    pub why: String,
}

impl Stack {
    pub(crate) fn new(journal: Journal) -> Self {
        Self::resumed(journal, Vec::new())
    }

    /// Of a run that did not come to its end: what its journal says is armed.
    pub(crate) fn resumed(journal: Journal, armed: Vec<(u32, Undo)>) -> Self {
        let next = armed.iter().map(|(id, _)| id + 1).max().unwrap_or(1);
        Self { journal, inner: Mutex::new(Armory { armed, next }) }
    }

    pub(crate) fn has(&self, undo: &Undo) -> bool {
        lock(&self.inner).armed.iter().any(|(_, armed)| armed == undo)
    }

    /// Writes an undo down; only then what it undoes may happen.
    pub(crate) async fn arm(&self, step: &str, undo: Undo) -> Result<u32, String> {
        let data = serde_json::to_value(&undo).map_err(|e| e.to_string())?;
        let by_hand = undo.by_hand();
        let id = {
            let mut inner = lock(&self.inner);
            let id = inner.next;
            inner.next += 1;
            inner.armed.push((id, undo));
            id
        };
        let armed = Armed { id, step: step.to_owned(), undo: data, by_hand };
        self.journal.commit(Event::Armed(armed)).await.map_err(|e| e.to_string())?;
        Ok(id)
    }

    /// Does all of them, and gives those that did not work.
    pub(crate) async fn undo_all(&self) -> Vec<Left> {
        let mut left = Vec::new();
        loop {
            let last = lock(&self.inner).armed.pop();
            let Some((id, undo)) = last else { return left };
            let done = tokio::time::timeout(LIMIT, caught(undo.apply())).await;
            let failed = match done {
                Ok(done) => done.and_then(|done| done).err(),
                Err(_) => Some(format!("it took longer than {}", crate::human(LIMIT))),
            };
            if let Some(why) = &failed {
                left.push(Left { by_hand: undo.by_hand(), why: why.clone() });
            }
            // Where the journal cannot be written, things are put right all the same.
            let _ = self.journal.commit(Event::Undone { id, failed }).await;
        }
    }
}

/// Of one undo.
const LIMIT: Duration = Duration::from_secs(120);
