//! A queue that no file system of the drill has: a command on its machine prints the header of each message that waits,
//! and the marks in that are what waits. Whatever else is printed is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use load::letters::{FIELD, read_mark};

use crate::scenario::Where;
use crate::world::World;

/// The numbers of this run's messages that wait.
pub(crate) async fn ask(
    world: &World,
    argv: &[String],
    on: &Where,
) -> Result<BTreeSet<u64>, String> {
    let command = world.command(argv, &BTreeMap::new(), on);
    let mut marks = Marks::of(world.run);
    // Asked for at the end, too, when the drill was told to stop.
    let ended = command.run_with(LIMIT, std::future::pending(), |bytes| marks.add(bytes)).await;
    let ended = ended.map_err(|e| e.to_string())?;
    match ended.code {
        Some(0) if ended.is_whole => Ok(marks.end()),
        Some(0) => Err(format!("not all that `{}` prints could be read", command.by_hand())),
        _ => Err(format!("`{}`: {}", command.by_hand(), ended.last_words())),
    }
}

/// The same, once it says the same twice: a message that goes from one list to the next may be in none.
pub(crate) async fn ask_until_quiet(
    world: &World,
    argv: &[String],
    on: &Where,
) -> Result<BTreeSet<u64>, String> {
    let mut before = ask(world, argv, on).await?;
    for _ in 0..ROUNDS {
        let now = ask(world, argv, on).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err("messages moved on in it for as long as it was asked".into())
}

/// Finds marks in what is printed, piece by piece.
struct Marks {
    run: u64,
    line: Vec<u8>,
    found: BTreeSet<u64>,
}

impl Marks {
    fn of(run: u64) -> Self {
        Self { run, line: Vec::new(), found: BTreeSet::new() }
    }

    fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            if piece.ends_with(b"\n") {
                self.take();
            }
        }
    }

    fn take(&mut self) {
        let field = FIELD.as_bytes();
        // Exim prints a number and a letter before each field.
        let at = self.line.windows(field.len()).position(|w| w.eq_ignore_ascii_case(field));
        let mark = at.and_then(|at| read_mark(&self.line[at..]));
        self.found.extend(mark.filter(|mark| mark.run == self.run).map(|mark| mark.index));
        self.line.clear();
    }

    fn end(mut self) -> BTreeSet<u64> {
        self.take();
        self.found
    }
}

/// Of one command.
const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: u32 = 10;
/// A mark is much shorter.
const LONGEST_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_whatever_is_printed_in_whatever_pieces() {
        let mark = |run: u64, m: u64| {
            format!("X-Mailrig-Load: {run:016x} {m} 000102030405060708090a0b0c0d0e0f")
        };
        let text = format!(
            "*** ENVELOPE RECORDS deferred/1 ***\nsender: s@x.test\n{}\nSubject: x\n\n037  {}\r\n{}\n{}{}\n{}\n{}",
            mark(7, 1),
            mark(7, 2),
            mark(8, 3),
            "x".repeat(10_000),
            mark(7, 4),
            mark(7, 1),
            mark(7, 5),
        );
        for size in [1, 7, 100_000] {
            let mut marks = Marks::of(7);
            text.as_bytes().chunks(size).for_each(|bytes| marks.add(bytes));
            assert_eq!(marks.end(), BTreeSet::from([1, 2, 5]), "{size}");
        }
    }
}
