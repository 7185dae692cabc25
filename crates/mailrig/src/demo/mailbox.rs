//! One mailbox on disk as Dovecot keeps it: Maildir++ folders, base names, `dovecot-uidlist`,
//! `dovecot-keywords`, `subscriptions`, a Sieve script. What is in it is remembered, so that the
//! night can change it without listing.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::rng::Rng;

pub(crate) struct Mailbox {
    /// `user@domain`.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) folders: Vec<Folder>,
    pub(crate) rng: Rng,
    /// Whether the group may read and write, as in a mailbox that several people work on.
    is_shared: bool,
    deliveries: u64,
}

pub(crate) struct Folder {
    /// As in Maildir++, `.Archive.2025`; empty for INBOX.
    pub(crate) path: &'static str,
    pub(crate) mails: Vec<Mail>,
    uid_validity: u64,
    uid_next: u64,
}

/// A message of the mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) base: String,
    /// Letters after `:2,`, sorted.
    pub(crate) flags: String,
    /// `None` while it is in `new/`.
    pub(crate) uid: Option<u64>,
    pub(crate) size_bytes: u64,
}

/// How a message arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrival<'a> {
    /// Nobody has looked yet.
    New,
    /// Seen by a client, with these flags.
    Known(&'a str),
}

impl Mailbox {
    /// Makes the mailbox `domain/user/Maildir` below `store`.
    pub(crate) fn make(store: &Path, name: &str, is_shared: bool, rng: Rng) -> Result<Self> {
        let (user, domain) = name.split_once('@').context("a mailbox is called user@domain")?;
        let dir = store.join(domain).join(user).join("Maildir");
        make_dir(dir.parent().unwrap_or(store), 0o700)?;
        let folders = Vec::new();
        let mut made = Self { name: name.to_owned(), dir, folders, rng, is_shared, deliveries: 0 };
        made.make_folder("")?;
        let validity = format!("{:08x}", 0x6600_0000 + made.rng.below(1 << 24));
        made.control(&format!("dovecot-uidvalidity.{validity}"), "")?;
        made.control("dovecot-uidvalidity", &validity)?;
        make_dir(&made.dir.join("sieve"), made.dir_mode())?;
        made.control("sieve/filters.sieve", SIEVE)?;
        symlink("sieve/filters.sieve", made.dir.join(".dovecot.sieve"))?;
        Ok(made)
    }

    /// Makes a folder; its index is the result.
    pub(crate) fn make_folder(&mut self, path: &'static str) -> Result<usize> {
        let dir = self.dir.join(path);
        make_dir(&dir, self.dir_mode())?;
        for part in ["cur", "new", "tmp"] {
            make_dir(&dir.join(part), self.dir_mode())?;
        }
        if !path.is_empty() {
            self.control(&format!("{path}/maildirfolder"), "")?;
        }
        let uid_validity = 1_700_000_000 + self.rng.below(60_000_000);
        self.folders.push(Folder { path, mails: Vec::new(), uid_validity, uid_next: 1 });
        Ok(self.folders.len() - 1)
    }

    /// Delivers a message: its file has the time of its arrival.
    pub(crate) fn deliver(
        &mut self,
        folder: usize,
        bytes: &[u8],
        time: u64,
        arrival: Arrival<'_>,
    ) -> Result<()> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let base = self.base_name(time, bytes.len() as u64, (bytes.len() + lines) as u64);
        let flags = match arrival {
            Arrival::New => String::new(),
            Arrival::Known(flags) => flags.to_owned(),
        };
        let uid = match arrival {
            Arrival::New => None,
            Arrival::Known(_) => Some(self.folders[folder].next_uid()),
        };
        let mail = Mail { base, flags, uid, size_bytes: bytes.len() as u64 };
        let micros = self.rng.below(1_000_000);
        let time = Duration::new(time, micros as u32 * 1000);
        write(&self.path_of(folder, &mail), bytes, self.file_mode(), Some(time))?;
        self.folders[folder].mails.push(mail);
        Ok(())
    }

    /// Changes the flags of a message: a rename, as is the way from `new/` to `cur/`.
    pub(crate) fn set_flags(&mut self, folder: usize, mail: usize, flags: &str) -> Result<()> {
        let before = self.folders[folder].mails[mail].clone();
        let uid = match before.uid {
            Some(uid) => uid,
            None => self.folders[folder].next_uid(),
        };
        let after = Mail { uid: Some(uid), flags: flags.to_owned(), ..before.clone() };
        let (from, to) = (self.path_of(folder, &before), self.path_of(folder, &after));
        fs::rename(&from, &to).with_context(|| format!("renaming {}", from.display()))?;
        self.folders[folder].mails[mail] = after;
        Ok(())
    }

    /// Copies a message to another folder as Dovecot does: a hard link with a new base name.
    pub(crate) fn copy(&mut self, from: usize, mail: usize, to: usize, time: u64) -> Result<()> {
        let before = self.folders[from].mails[mail].clone();
        let base = self.base_name(time, before.size_bytes, before.virtual_size());
        let uid = Some(self.folders[to].next_uid());
        let after = Mail { base, uid, ..before.clone() };
        let (source, target) = (self.path_of(from, &before), self.path_of(to, &after));
        fs::hard_link(&source, &target)
            .with_context(|| format!("linking {} to {}", source.display(), target.display()))?;
        self.folders[to].mails.push(after);
        Ok(())
    }

    /// Removes a message.
    pub(crate) fn expunge(&mut self, folder: usize, mail: usize) -> Result<()> {
        let gone = self.folders[folder].mails.remove(mail);
        let path = self.path_of(folder, &gone);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Writes what the server keeps beside the messages.
    pub(crate) fn write_control(&mut self) -> Result<()> {
        let mut subscriptions = String::from("V\t2\n\n");
        for folder in &self.folders {
            let mut uidlist = format!(
                "3 V{} N{} G{:032x}\n",
                folder.uid_validity,
                folder.uid_next,
                u128::from(folder.uid_validity) << 64 | u128::from(folder.uid_next)
            );
            for mail in &folder.mails {
                if let Some(uid) = mail.uid {
                    uidlist.push_str(&format!("{uid} :{}:2,\n", mail.base));
                }
            }
            let below = |file: &str| match folder.path {
                "" => file.to_owned(),
                path => format!("{path}/{file}"),
            };
            self.control(&below("dovecot-uidlist"), &uidlist)?;
            self.control(&below("dovecot-keywords"), KEYWORDS)?;
            let name = folder.path.trim_start_matches('.').replace('.', "\t");
            subscriptions.push_str(if name.is_empty() { "INBOX" } else { &name });
            subscriptions.push('\n');
        }
        self.control("subscriptions", &subscriptions)
    }

    /// Replaces a control file as Dovecot does: a new file that takes the name.
    fn control(&self, path: &str, text: &str) -> Result<()> {
        let path = self.dir.join(path);
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        write(Path::new(&lock), text.as_bytes(), self.file_mode(), None)?;
        fs::rename(&lock, &path).with_context(|| format!("writing {}", path.display()))
    }

    /// `1768507200.M123456P4711.mail,S=2345,W=2400`.
    fn base_name(&mut self, time: u64, size_bytes: u64, virtual_bytes: u64) -> String {
        self.deliveries += 1;
        let micros = self.rng.below(1_000_000);
        format!(
            "{time}.M{micros:06}P{}.mail,S={size_bytes},W={virtual_bytes}",
            1000 + self.deliveries
        )
    }

    fn path_of(&self, folder: usize, mail: &Mail) -> PathBuf {
        self.dir.join(self.folders[folder].path).join(mail.file_name())
    }

    fn dir_mode(&self) -> u32 {
        if self.is_shared { 0o770 } else { 0o700 }
    }

    fn file_mode(&self) -> u32 {
        if self.is_shared { 0o660 } else { 0o600 }
    }
}

impl Folder {
    fn next_uid(&mut self) -> u64 {
        let uid = self.uid_next;
        self.uid_next += 1;
        uid
    }
}

impl Mail {
    /// The size with CRLF, from the base name.
    fn virtual_size(&self) -> u64 {
        self.base.rsplit_once("W=").and_then(|(_, size)| size.parse().ok()).unwrap_or(0)
    }

    fn file_name(&self) -> String {
        match self.uid {
            None => format!("new/{}", self.base),
            Some(_) => format!("cur/{}:2,{}", self.base, self.flags),
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("making {}", path.display()))
}

fn write(path: &Path, bytes: &[u8], mode: u32, time: Option<Duration>) -> Result<()> {
    let write = || {
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        if mode != 0o600 {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        match time {
            Some(time) => file.set_modified(SystemTime::UNIX_EPOCH + time),
            None => Ok(()),
        }
    };
    write().with_context(|| format!("writing {}", path.display()))
}

const KEYWORDS: &str = "0 $Forwarded\n1 $MDNSent\n2 NonJunk\n";

const SIEVE: &str = "require [\"fileinto\"];\n\
    if header :contains \"List-Id\" \"announce\" { fileinto \"Archive\"; }\n";
