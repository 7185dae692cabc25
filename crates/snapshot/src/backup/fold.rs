//! Folds small packs into larger ones, so that a mailbox of ten thousand nights has a few dozen
//! packs. What they hold is read again from the live files: no identity is needed, and nothing is
//! downloaded. Sizes grow by a factor each time, so a message is folded a logarithmic number of times.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::packer::Packer;
use super::read::{Content, IN_MEMORY_BYTES, Reader, Source};
use crate::error::Result;
use crate::layout::{index_name, mailbox_prefix, pack_name};
use crate::object::ObjectRef;
use crate::repository::Repository;
use crate::state::{MailboxState, MessageState, PackState};

/// The packs to fold: all of a size class that has become crowded, the smallest class first.
pub(crate) fn choose(state: &MailboxState) -> Vec<u32> {
    let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    // A large content has a pack of its own, however well it compresses: again would be the same.
    let is_alone = |pack: &PackState| pack.members == 1 && pack.raw > IN_MEMORY_BYTES;
    for (number, pack) in state.packs.iter().filter(|(_, pack)| !is_alone(pack)) {
        classes.entry(size_class(pack.pack.size)).or_default().push(*number);
    }
    classes
        .into_iter()
        .find(|(class, packs)| *class < LARGEST_CLASS && packs.len() >= WIDTH)
        .map_or_else(Vec::new, |(_, packs)| packs)
}

/// The packs that the repository has lost, or whose index it has lost: their contents are stored
/// again while they are still in the mailbox.
pub(crate) fn lost(
    repository: &Repository,
    mailbox: &str,
    state: &MailboxState,
) -> Result<Vec<u32>> {
    let prefix = mailbox_prefix(mailbox);
    let mut present = BTreeMap::new();
    repository.store().list(&prefix, &mut |object| {
        present.insert(object.key, object.size_bytes);
    })?;
    let encrypted = repository.is_encrypted();
    let is_there = |name: String, reference: &ObjectRef| {
        present.get(&format!("{prefix}{name}")) == Some(&reference.size)
    };
    let is_lost = |pack: &PackState| {
        let index = state.indexes.get(&pack.index);
        !is_there(pack_name(&pack.id, encrypted), &pack.pack)
            || !index.is_some_and(|index| is_there(index_name(&pack.index, encrypted), index))
    };
    let lost = state.packs.iter().filter(|(_, pack)| is_lost(pack));
    Ok(lost.map(|(number, _)| *number).collect())
}

/// Each class is [`WIDTH`] times as large as the one before; the first reaches to 8 KiB.
fn size_class(size_bytes: u64) -> u32 {
    (size_bytes >> FIRST_CLASS_BITS).checked_ilog2().map_or(0, |log| 1 + log / WIDTH.ilog2())
}

/// Stores the contents of the packs `fold` again and points the messages of `state` to the new
/// places. A content that cannot be read, or is not what it was, stays where it is.
pub(crate) fn store_again(
    locate: &dyn Fn(&Path) -> PathBuf,
    state: &mut MailboxState,
    fold: &[u32],
    packer: &mut Packer<'_, '_>,
    reader: &mut Reader<'_>,
) -> Result<()> {
    for (path, folder) in &mut state.folders {
        if !folder.packs.iter().any(|pack| fold.contains(pack)) {
            continue;
        }
        let dir = locate(Path::new(OsStr::from_bytes(path)));
        let encoded = std::mem::take(&mut folder.encoded);
        let mut messages: Vec<MessageState<'_>> =
            postcard::from_bytes(&encoded).unwrap_or_default();
        for message in messages.iter_mut().filter(|message| fold.contains(&message.pack)) {
            let source = Source { folder: &dir, subdir: message.subdir(), name: message.name };
            if let Content::Stored(stored) = reader.read(&source, packer)?
                && stored.sum == message.sum
            {
                (message.pack, message.member) = stored.place;
            }
        }
        folder.set_messages(&messages);
    }
    for (path, file) in &mut state.files {
        if file.target.is_some() || !fold.contains(&file.pack) {
            continue;
        }
        let path = locate(Path::new(OsStr::from_bytes(path)));
        if let Content::Stored(stored) = reader.read_file(&path, packer)?
            && stored.sum == file.sum
        {
            (file.pack, file.member) = stored.place;
        }
    }
    Ok(())
}

/// How many packs of a size class are folded together.
const WIDTH: usize = 8;

/// Packs of this class and above are large enough to stay.
const LARGEST_CLASS: u32 = 4;

const FIRST_CLASS_BITS: u32 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sizes: &[u64]) -> MailboxState {
        let pack = |size| {
            let pack = ObjectRef { size, sha256: String::new() };
            let (id, index) = (String::new(), String::new());
            PackState { id, pack, raw: 0, members: 1, index, section: (0, 0) }
        };
        let packs = (0..).zip(sizes.iter().map(|size| pack(*size))).collect();
        MailboxState { packs, ..MailboxState::default() }
    }

    #[test]
    fn only_a_crowded_class_is_folded_and_large_packs_stay() {
        assert!(choose(&state(&[5_000; 7])).is_empty());
        assert_eq!(choose(&state(&[5_000; 8])), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(choose(&state(&[12 << 20; 100])).is_empty());
        let mixed = [&[12 << 20][..], &[20_000; 8], &[5_000; 3]].concat();
        assert_eq!(choose(&state(&mixed)), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn large_contents_that_compress_well_are_not_stored_every_night() {
        let mut logs = state(&[5_000; 20]);
        logs.packs.values_mut().for_each(|pack| pack.raw = 5 << 20);
        assert!(choose(&logs).is_empty());
        logs.packs.values_mut().for_each(|pack| pack.members = 2);
        assert_eq!(choose(&logs).len(), 20);
    }

    /// A pack a night, sizes adding up: the number of packs must grow like a logarithm.
    #[test]
    fn ten_thousand_nights_leave_few_packs() {
        let mut sizes: Vec<u64> = Vec::new();
        for _ in 0..10_000 {
            sizes.push(6_000);
            let fold = choose(&state(&sizes));
            let folded: u64 = fold.iter().map(|number| sizes[*number as usize]).sum();
            let mut number = 0;
            sizes.retain(|_| {
                number += 1;
                !fold.contains(&(number - 1))
            });
            if folded > 0 {
                sizes.push(folded);
            }
        }
        assert!(sizes.len() < 40, "{} packs", sizes.len());
    }
}
