//! What became of a mailbox's messages since the last snapshot, in numbers. A content that is gone from
//! one place and came to another has moved: to another folder, with its folder, or to another name. Pure.

use std::collections::{HashMap, HashSet};

use crate::hash::Sum;
use crate::state::{FolderState, MessageState};

/// What differs, message by message.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    came: Vec<Sum>,
    gone: Vec<(u64, Sum)>,
    /// Came, and cannot have moved.
    new: u64,
}

/// The same in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) new: u64,
    pub(crate) gone: u64,
    pub(crate) moved: u64,
}

impl Balance {
    pub(crate) fn add(&mut self, other: Self) {
        self.new += other.new;
        self.gone += other.gone;
        self.moved += other.moved;
    }
}

impl Tally {
    /// Messages of one folder and base name, as they were and as they are.
    pub(crate) fn group(&mut self, old: &[MessageState<'_>], new: &[MessageState<'_>]) {
        // So it is with nearly all.
        if matches!((old, new), ([old], [new]) if old.sum == new.sum) {
            return;
        }
        let mut left: HashMap<&Sum, Vec<u64>> = HashMap::new();
        for message in old {
            left.entry(&message.sum).or_default().push(message.size);
        }
        for message in new {
            if left.get_mut(&message.sum).and_then(Vec::pop).is_none() {
                self.came.push(message.sum);
            }
        }
        for (sum, sizes) in left {
            self.gone.extend(sizes.into_iter().map(|size| (size, *sum)));
        }
    }

    /// A folder that is gone.
    pub(crate) fn left(&mut self, folder: &FolderState) {
        self.group(&folder.messages().unwrap_or_default(), &[]);
    }

    /// Messages of a mailbox that had none.
    pub(crate) fn first(&mut self, messages: u64) {
        self.new += messages;
    }

    /// A message that was not read, unless it was to see whether it moved.
    pub(crate) fn unread(&mut self, sum: Option<Sum>) {
        match sum {
            Some(sum) => self.came.push(sum),
            None => self.new += 1,
        }
    }

    /// The sizes that a message has that may have moved.
    pub(crate) fn sizes_gone(&self) -> HashSet<u64> {
        self.gone.iter().map(|(size, _)| *size).collect()
    }

    /// The contents that came.
    pub(crate) fn came(&self) -> &[Sum] {
        &self.came
    }

    /// How many messages are not where they were.
    pub(crate) fn missing(&self) -> u64 {
        self.gone.len() as u64
    }

    pub(crate) fn balance(&self) -> Balance {
        let mut left: HashMap<&Sum, u64> = HashMap::new();
        for (_, sum) in &self.gone {
            *left.entry(sum).or_default() += 1;
        }
        let mut moved = 0;
        for sum in &self.came {
            if let Some(count) = left.get_mut(sum).filter(|count| **count > 0) {
                *count -= 1;
                moved += 1;
            }
        }
        let came = self.came.len() as u64;
        Balance { new: self.new + came - moved, gone: self.missing() - moved, moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(contents: &[u8]) -> Vec<MessageState<'static>> {
        contents.iter().map(|content| MessageState::sample(b"1.a", *content)).collect()
    }

    #[test]
    fn each_content_moves_as_often_as_it_was_there() {
        type Groups<'g> = &'g [(&'g [u8], &'g [u8])];
        let table: [(Groups<'_>, (u64, u64, u64)); 7] = [
            (&[(&[1], &[1])], (0, 0, 0)),
            (&[(&[1], &[]), (&[], &[1])], (0, 0, 1)),
            (&[(&[1], &[]), (&[], &[1]), (&[], &[1])], (1, 0, 1)),
            (&[(&[1], &[]), (&[1], &[]), (&[], &[1])], (0, 1, 1)),
            (&[(&[1], &[1]), (&[], &[1])], (1, 0, 0)),
            (&[(&[1], &[2])], (1, 1, 0)),
            (&[(&[1, 1, 2], &[2, 1])], (0, 1, 0)),
        ];
        for (groups, expected) in table {
            let mut tally = Tally::default();
            for (old, new) in groups {
                tally.group(&messages(old), &messages(new));
            }
            let Balance { new, gone, moved } = tally.balance();
            assert_eq!((new, gone, moved), expected, "{groups:?}");
        }
    }
}
