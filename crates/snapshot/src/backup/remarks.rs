//! What a person should know of a run that is no incident, gathered from all mailboxes: a sentence a
//! kind, with a count and the first few paths.

use std::collections::BTreeMap;
use std::path::Path;

use super::outside::{ATTRIBUTES, CONTROL, INDEX};

/// A kind of thing to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remark {
    /// A mailbox with mail that mail_crypt encrypted, and without the folder keys.
    Encrypted,
    /// A plain tree with files that may be keys: not said, but see [`Remark::Encrypted`].
    KeyFiles,
    /// A folder in which a restore put what lay outside the mailbox.
    LeftOutside,
    /// More than 64 KiB of extended attributes.
    LargeXattrs,
    /// A socket, FIFO or device in a plain tree.
    NotAFile,
    /// A mailbox with a folder of a kind outside: not said, but see [`Remark::Missing`].
    Found(Place),
    /// A mailbox without. Everyone has control files; of the others it is told if nobody has any.
    Missing(Place),
    /// A mailbox of which a folder was kept that no option leads to any more.
    Dropped(Place),
}

/// A kind of folder outside a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Attributes,
    Control,
    Index,
    Sieve,
}

impl Place {
    fn of(name: &str) -> Self {
        match name {
            ATTRIBUTES => Self::Attributes,
            CONTROL => Self::Control,
            INDEX => Self::Index,
            _ => Self::Sieve,
        }
    }
}

impl Remark {
    pub(crate) fn found(place: &str) -> Self {
        Self::Found(Place::of(place))
    }

    pub(crate) fn dropped(place: &str) -> Self {
        Self::Dropped(Place::of(place))
    }

    pub(crate) fn missing(place: &str) -> Self {
        Self::Missing(Place::of(place))
    }

    /// What is true of all of its paths, to be said of `count`.
    fn sentence(self, count: u64) -> String {
        let (one, many, rest) = match self {
            Self::Encrypted => (
                "mailbox has",
                "mailboxes have",
                "mail that mail_crypt encrypted, and its keys are not in the snapshot: without them \
                 it is unreadable; keep folder keys with --attributes or --from-doveconf, global \
                 keys with --with and the folder they are in",
            ),
            Self::KeyFiles => ("tree has", "trees have", "keys"),
            Self::LeftOutside => (
                "mailbox has",
                "mailboxes have",
                "files of a restore that are not kept; move them where they belong",
            ),
            Self::LargeXattrs => (
                "file or folder has",
                "files and folders have",
                "more extended attributes than the 64 KiB that are kept",
            ),
            Self::Found(_) => ("mailbox has", "mailboxes have", "files outside"),
            Self::Missing(Place::Control) => {
                ("mailbox has", "mailboxes have", "no control folder where --control says")
            }
            Self::Missing(Place::Attributes) => {
                ("mailbox has", "mailboxes have", "no attributes where --attributes says")
            }
            Self::Missing(Place::Index) => {
                ("mailbox has", "mailboxes have", "no index folder where --index says")
            }
            Self::Missing(Place::Sieve) => {
                ("mailbox has", "mailboxes have", "no Sieve scripts where --sieve says")
            }
            Self::Dropped(Place::Control) => (
                "mailbox has",
                "mailboxes have",
                "control files (UIDs) that are not in the snapshots any more: no --control leads to them",
            ),
            Self::Dropped(Place::Attributes) => (
                "mailbox has",
                "mailboxes have",
                "attributes that are not in the snapshots any more: no --attributes leads to them",
            ),
            Self::Dropped(Place::Index) => (
                "mailbox has",
                "mailboxes have",
                "index files that are not in the snapshots any more: no --index leads to them",
            ),
            Self::Dropped(Place::Sieve) => (
                "mailbox has",
                "mailboxes have",
                "Sieve scripts that are not in the snapshots any more: no --sieve leads to them",
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
        let is_said = |remark: &Remark| match remark {
            Remark::Found(_) | Remark::KeyFiles => false,
            Remark::Encrypted => !self.0.contains_key(&Remark::KeyFiles),
            Remark::Missing(Place::Control) => true,
            Remark::Missing(place) => !self.0.contains_key(&Remark::Found(*place)),
            _ => true,
        };
        self.0.iter().filter(move |(remark, _)| is_said(remark)).map(
            |(remark, (count, examples))| {
                let more = if *count > examples.len() as u64 { ", …" } else { "" };
                format!("{}: {}{more}", remark.sentence(*count), examples.join(", "))
            },
        )
    }
}

/// How many examples each sentence has.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_scripts_are_told_only_if_nobody_has_any() {
        let mut all = Remarks::default();
        for remark in [Remark::missing("sieve"), Remark::missing("control")] {
            all.add(remark, Path::new("/x"));
        }
        assert_eq!(all.sentences().count(), 2);
        for remark in [Remark::found("sieve-2"), Remark::found("control")] {
            all.add(remark, Path::new("/y"));
        }
        let said: Vec<String> = all.sentences().collect();
        assert_eq!(said, ["1 mailbox has no control folder where --control says: /x"]);
    }

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
