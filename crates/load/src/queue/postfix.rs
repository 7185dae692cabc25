//! What Postfix prints about its queue: lines of JSON, and before version 3.1 a table for people with a summary below.

use super::command::{Lines, Sink};
use super::{ByQueue, Depth};

/// Counts the lines of `postqueue -j`, one message each, by what they start with: a queue of a million messages is
/// hundreds of megabytes of JSON.
#[derive(Debug, Default)]
pub(super) struct ByQueues {
    lines: Lines,
    counts: ByQueue,
}

impl Sink for ByQueues {
    fn take(&mut self, bytes: &[u8]) {
        let counts = &mut self.counts;
        self.lines.take(bytes, |start| {
            let start = String::from_utf8_lossy(start);
            let queue = start.split_once("\"queue_name\":").map(|(_, rest)| rest.trim_start());
            let is = |name: &str| queue.is_some_and(|queue| queue.starts_with(name));
            let count = if is("\"incoming\"") {
                &mut counts.incoming
            } else if is("\"active\"") {
                &mut counts.active
            } else if is("\"deferred\"") {
                &mut counts.deferred
            } else {
                &mut counts.other
            };
            *count += 1;
        });
    }
}

impl ByQueues {
    pub(super) fn depth(self) -> Depth {
        let ByQueue { incoming, active, deferred, other } = self.counts;
        let messages = incoming + active + deferred + other;
        Depth { messages, by_queue: Some(self.counts) }
    }
}

/// Of the last line of `postqueue -p`: `-- 3 Kbytes in 2 Requests.`
pub(super) fn of_summary(line: &str) -> Option<u64> {
    if line == "Mail queue is empty" {
        return Some(0);
    }
    let (_, requests) = line.strip_prefix("-- ")?.split_once(" in ")?;
    let (count, unit) = requests.split_once(' ')?;
    unit.starts_with("Request").then(|| count.parse().ok())?
}
