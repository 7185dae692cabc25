//! What a person should know of a run that is no incident, gathered from all mailboxes: a sentence a
//! kind, with a count and the first few paths.

use std::collections::BTreeMap;
use std::path::Path;

/// A kind of thing to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remark {
    /// More than 64 KiB of extended attributes.
    LargeXattrs,
    /// A socket, FIFO or device in a plain tree.
    NotAFile,
}

impl Remark {
    /// What is true of all of its paths, to be said of `count`.
    fn sentence(self, count: u64) -> String {
        let (one, many, rest) = match self {
            Self::LargeXattrs => (
                "file or folder has",
                "files and folders have",
                "more extended attributes than the 64 KiB that are kept",
            ),
            Self::NotAFile => {
                ("socket, FIFO or device is", "sockets, FIFOs and devices are", "not kept")
            }
        };
        format!("{count} {} {rest}", if count == 1 { one } else { many })
    }
}

/// How often each kind was met, and where first.
#[derive(Debug, Default)]
pub(crate) struct Remarks(BTreeMap<Remark, (u64, Vec<String>)>);

impl Remarks {
    pub(crate) fn add(&mut self, remark: Remark, path: &Path) {
        self.merge_one(remark, 1, vec![path.to_string_lossy().into_owned()]);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (remark, (count, examples)) in other.0 {
            self.merge_one(remark, count, examples);
        }
    }

    fn merge_one(&mut self, remark: Remark, count: u64, examples: Vec<String>) {
        let (total, named) = self.0.entry(remark).or_default();
        *total += count;
        named.extend(examples);
        // Which ones are named does not depend on which mailbox was done first.
        named.sort_unstable();
        named.truncate(NAMED);
    }

    /// One sentence each.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(remark, (count, examples))| {
            let more = if *count > examples.len() as u64 { ", …" } else { "" };
            format!("{}: {}{more}", remark.sentence(*count), examples.join(", "))
        })
    }
}

/// How many examples each sentence has.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_one_sentence_with_the_first_examples() {
        let mut all = Remarks::default();
        all.add(Remark::NotAFile, Path::new("/e"));
        let said: Vec<String> = all.sentences().collect();
        assert_eq!(said, ["1 socket, FIFO or device is not kept: /e"]);
        for path in ["/d", "/a", "/c", "/b"] {
            let mut one = Remarks::default();
            one.add(Remark::NotAFile, Path::new(path));
            all.merge(one);
        }
        let said: Vec<String> = all.sentences().collect();
        assert_eq!(said, ["5 sockets, FIFOs and devices are not kept: /a, /b, /c, …"]);
    }
}
