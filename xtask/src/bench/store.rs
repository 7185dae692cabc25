//! The store that all tools back up: `example.org/userNNNN/Maildir` with eight folders each, as
//! Dovecot writes them, the same for the same seed. Its model stays in memory for the nights.

use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};

use super::Plan;
use super::letters::{self, Letters};
use crate::corpus;
use crate::random::Random;

const MESSAGES_A_MAILBOX: usize = 2000;
/// Folder, and its share of a mailbox's messages in percent.
pub(super) const FOLDERS: [(&str, usize); 8] = [
    ("", 30),
    (".Sent", 15),
    (".Archive.2024", 15),
    (".Archive.2025", 15),
    (".Lists", 10),
    (".Junk", 7),
    (".Trash", 5),
    (".Drafts", 3),
];
/// Flag letters after `:2,`, the frequent ones more often; a Dovecot keyword among them.
pub(super) const FLAGS: [&str; 12] =
    ["S", "S", "S", "S", "S", "RS", "RS", "FS", "FRS", "", "ST", "Sa"];
/// Messages arrived between September 2020 and November 2025.
const FIRST_SECS: u64 = 1_600_000_000;
pub(super) const LAST_SECS: u64 = 1_763_600_000;

/// One message: where it is below its mailbox.
pub(super) struct Message {
    pub(super) folder: &'static str,
    pub(super) is_new: bool,
    /// The file's whole name, with flags.
    pub(super) name: String,
}

/// One account.
pub(super) struct Mailbox {
    pub(super) user: String,
    pub(super) messages: Vec<Message>,
}

/// A store on disk, and what was put into it.
pub(super) struct Store {
    pub(super) root: PathBuf,
    pub(super) mailboxes: Vec<Mailbox>,
}

impl Store {
    pub(super) fn maildir(&self, mailbox: &Mailbox) -> PathBuf {
        self.root.join("example.org").join(&mailbox.user).join("Maildir")
    }

    pub(super) fn path(&self, mailbox: &Mailbox, message: &Message) -> PathBuf {
        let place = if message.is_new { "new" } else { "cur" };
        self.maildir(mailbox).join(message.folder).join(place).join(&message.name)
    }

    pub(super) fn message_count(&self) -> usize {
        self.mailboxes.iter().map(|mailbox| mailbox.messages.len()).sum()
    }

    /// Reads every message once, so that each tool finds a warm cache. Returns their bytes.
    pub(super) fn bytes_on_disk(&self) -> Result<u64> {
        let mut bytes = 0;
        for mailbox in &self.mailboxes {
            for message in &mailbox.messages {
                let path = self.path(mailbox, message);
                let read = File::open(&path).and_then(|mut f| io::copy(&mut f, &mut io::sink()));
                bytes += read.with_context(|| format!("reading `{}`", path.display()))?;
            }
        }
        Ok(bytes)
    }
}

/// Makes the plan's store at `root`.
pub(super) fn generate(root: &Path, letters: &Letters, plan: &Plan) -> Result<Store> {
    let mailbox_count = plan.messages.div_ceil(MESSAGES_A_MAILBOX);
    let mut mailboxes: Vec<Result<Mailbox>> = Vec::with_capacity(mailbox_count);
    let make = |index: usize| {
        // The first mailboxes take what does not divide evenly.
        let share = plan.messages / mailbox_count;
        let messages = share + usize::from(index < plan.messages % mailbox_count);
        fill_mailbox(root, letters, plan.seed, index, messages)
    };
    let threads = thread::available_parallelism().map_or(2, usize::from).min(mailbox_count);
    thread::scope(|scope| {
        let make = &make;
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let indices = (first..mailbox_count).step_by(threads);
                scope.spawn(move || indices.map(make).collect::<Vec<_>>())
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(made) => mailboxes.extend(made),
                Err(_) => mailboxes.push(Err(anyhow!("a thread that made mailboxes panicked"))),
            }
        }
    });
    let mut mailboxes = mailboxes.into_iter().collect::<Result<Vec<Mailbox>>>()?;
    mailboxes.sort_by(|a, b| a.user.cmp(&b.user));
    Ok(Store { root: root.to_owned(), mailboxes })
}

/// One mailbox with all messages, at `root`.
pub(super) fn generate_one(
    root: &Path,
    letters: &Letters,
    seed: u64,
    messages: usize,
) -> Result<Store> {
    let mailboxes = vec![fill_mailbox(root, letters, seed, 0, messages)?];
    Ok(Store { root: root.to_owned(), mailboxes })
}

/// The corpus as one mailbox: its groups are the folders, its messages stay as they are.
pub(super) fn from_corpus(root: &Path, corpus: &Path) -> Result<Store> {
    let mut random = Random::new(6046, 0);
    let mailbox = Mailbox { user: "corpus".to_owned(), messages: Vec::new() };
    let mut store = Store { root: root.to_owned(), mailboxes: vec![mailbox] };
    let maildir = store.maildir(&store.mailboxes[0]);
    create_folder(&maildir, "")?;
    for group in corpus::GROUPS {
        create_folder(&maildir, &format!(".{group}"))?;
    }
    for (index, message) in corpus::messages(corpus)?.iter().enumerate() {
        let bytes = fs::read(corpus.join(message))?;
        let secs = FIRST_SECS + index as u64 * 600;
        let group = message.parent().and_then(Path::to_str).unwrap_or_default();
        let folder = maildir.join(format!(".{group}"));
        let wire_size = bytes.len() + letters::bare_feeds(&bytes);
        let name = base_name(secs, bytes.len(), wire_size, &mut random);
        deliver(&folder.join("cur").join(format!("{name}:2,S")), secs, &bytes)?;
        // Not FOLDERS' names: only the count is asked of this store.
        store.mailboxes[0].messages.push(Message { folder: "", is_new: false, name });
    }
    Ok(store)
}

/// Writes one message as a delivery leaves it: its modification time is its arrival.
pub(super) fn deliver(path: &Path, secs: u64, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        let arrival = UNIX_EPOCH + Duration::from_secs(secs);
        file.set_times(FileTimes::new().set_modified(arrival).set_accessed(arrival))
    };
    write().with_context(|| format!("writing the message `{}`", path.display()))
}

/// A base name as Dovecot's LMTP server makes it.
pub(super) fn base_name(secs: u64, size: usize, wire_size: usize, random: &mut Random) -> String {
    let (usec, pid) = (random.below(1_000_000), 1000 + random.below(60_000));
    format!("{secs}.M{usec}P{pid}.mx1,S={size},W={wire_size}")
}

fn fill_mailbox(
    root: &Path,
    letters: &Letters,
    seed: u64,
    index: usize,
    count: usize,
) -> Result<Mailbox> {
    let mut random = Random::new(seed, index as u64);
    let user = format!("user{index:04}");
    let maildir = root.join("example.org").join(&user).join("Maildir");
    let mut uid_lists: Vec<(&'static str, String, u32)> = Vec::new();
    for (folder, _) in FOLDERS {
        create_folder(&maildir, folder)?;
        uid_lists.push((folder, String::new(), 0));
    }
    fs::write(maildir.join("subscriptions"), "Sent\nArchive.2024\nArchive.2025\nDrafts\n")?;

    let gap = ((LAST_SECS - FIRST_SECS) / count as u64).max(2);
    let mut messages = Vec::with_capacity(count);
    let mut buffer = Vec::new();
    for nth in 0..count {
        // Each has its own stretch of time, so that no two base names are equal.
        let secs = FIRST_SECS + nth as u64 * gap + random.below(gap as usize) as u64;
        let uid_list = &mut uid_lists[pick_folder(&mut random)];
        let made = letters.make(&user, secs, &mut random, &mut buffer);
        let base = base_name(secs, made.bytes.len(), made.wire_size, &mut random);
        // Mail is left unseen in INBOX, and mostly lately.
        let is_new = uid_list.0.is_empty() && nth * 10 > count * 9 && random.below(4) == 0;
        let name = if is_new {
            base
        } else {
            uid_list.2 += 1 + u32::from(random.below(8) == 0);
            let _ = writeln!(uid_list.1, "{} :{base}", uid_list.2);
            format!("{base}:2,{}", random.pick(&FLAGS))
        };
        let place = if is_new { "new" } else { "cur" };
        deliver(&maildir.join(uid_list.0).join(place).join(&name), secs, made.bytes)?;
        messages.push(Message { folder: uid_list.0, is_new, name });
    }
    for (folder, lines, last_uid) in uid_lists {
        let guid = format!("{:016x}{:016x}", random.next(), random.next());
        let head = format!("3 V{FIRST_SECS} N{} G{guid}\n", last_uid + 1);
        fs::write(maildir.join(folder).join("dovecot-uidlist"), head + &lines)?;
        fs::write(maildir.join(folder).join("dovecot-keywords"), "0 $Forwarded\n")?;
    }
    Ok(Mailbox { user, messages })
}

fn create_folder(maildir: &Path, folder: &str) -> Result<()> {
    let path = maildir.join(folder);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part))
            .with_context(|| format!("creating the folder `{}`", path.display()))?;
    }
    if !folder.is_empty() {
        fs::write(path.join("maildirfolder"), "")?;
    }
    Ok(())
}

fn pick_folder(random: &mut Random) -> usize {
    let mut percent = random.below(100);
    for (index, (_, share)) in FOLDERS.iter().enumerate() {
        if percent < *share {
            return index;
        }
        percent -= share;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_folders_are_percents() {
        assert_eq!(FOLDERS.iter().map(|(_, share)| share).sum::<usize>(), 100);
    }
}
