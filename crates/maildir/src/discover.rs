//! Finding the mailboxes of a store by walking it, and naming them by their paths. Folders inside
//! a mailbox are not looked at here; a home directory that has a `Maildir` is not searched beyond it.
//! Mailboxes in other formats are found too, to be refused.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use walkdir::WalkDir;

use crate::foreign::{self, Foreign, Format};
use crate::nofollow;
use crate::tree::is_maildir;
use crate::{Error, Result};

/// A mailbox as found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxDir {
    /// `user@domain` where the path says so, else the path itself. May not be UTF-8.
    pub name: Vec<u8>,
    /// Path inside the store; empty when the store is itself a mailbox.
    pub path: PathBuf,
}

/// What a walk over a store found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Mailboxes, by path.
    pub mailboxes: Vec<MailboxDir>,
    /// Directories that could not be read: a mailbox may be behind each.
    pub unreadable: Vec<Error>,
    /// Links to directories outside the store, which are not followed.
    pub links: Vec<PathBuf>,
    /// Links to directories inside the store, where they are found by their own names.
    pub aliases: Vec<PathBuf>,
    /// Links that lead nowhere, or nobody can tell where.
    pub broken: Vec<PathBuf>,
    /// Mailboxes that are no Maildirs.
    pub foreign: Vec<Foreign>,
}

/// Walks `store`, a path without links. Fails only if the store itself cannot be listed.
pub fn find_mailboxes(store: &Path) -> Result<Discovery> {
    let real_store = store.canonicalize().map_err(|e| Error::new("open", store, e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    nofollow::open(store, flags, Mode::empty()).map_err(|e| Error::new("list", store, e))?;
    let mut found = Discovery::default();
    found.visit(store, Path::new(""), 0, false);
    found.sort_links(store, &real_store);
    found.sort_aliases(store, &real_store);
    Ok(found)
}

impl Discovery {
    /// Looks at a directory, and at those below it as far as mailboxes may be there. Not walkdir: that opens
    /// by path, and would follow what has just become a link.
    fn visit(&mut self, store: &Path, inside: &Path, depth: usize, is_in_home: bool) {
        let path = store.join(inside);
        let has_mail = is_maildir(&path);
        let format = if has_mail { None } else { foreign::format_of_dir(&path, depth == 0) };
        if let Some(format) = format {
            self.foreign.push(Foreign { format, path: inside.to_owned() });
            return;
        }
        if has_mail || is_marked(&path) {
            let name = mailbox_name(store, inside);
            self.mailboxes.push(MailboxDir { name, path: inside.to_owned() });
            return;
        }
        let is_home = is_home(&path);
        if (is_in_home && !is_home) || depth == MAX_DEPTH {
            return;
        }
        let entries = match nofollow::entries(&path) {
            Ok((entries, _)) => entries,
            Err(e) if e.is_vanished() => return,
            Err(e) => return self.unreadable.push(e),
        };
        let are_in_home = is_home && depth > 0;
        for (name, kind) in entries {
            let path = inside.join(&name);
            if kind.is_symlink() {
                self.links.push(path);
            } else if is_partial(&name) {
                continue;
            } else if kind.is_dir() {
                self.visit(store, &path, depth + 1, are_in_home);
            } else if kind.is_file() {
                // Of a home with a Maildir, an mbox is its owner's private matter.
                let may_be = depth == 0 || (!are_in_home && foreign::is_called_mbox(&path));
                if may_be && foreign::is_mbox(&store.join(&path)) {
                    self.foreign.push(Foreign { format: Format::Mbox, path });
                }
            }
        }
    }

    /// Tells links by where they lead: out of the store, to elsewhere in it, nowhere.
    fn sort_links(&mut self, store: &Path, real_store: &Path) {
        for link in std::mem::take(&mut self.links) {
            match store.join(&link).canonicalize() {
                // A link to elsewhere in the store is another name for what is found there.
                Ok(to) if to.starts_with(real_store) && to.is_dir() => self.aliases.push(link),
                Ok(to) if to.is_dir() => self.links.push(link),
                Ok(_) => {}
                Err(_) => self.broken.push(link),
            }
        }
    }

    /// Where mail of the store is found.
    pub fn reach(&self) -> Reach {
        Reach(self.mailboxes.iter().map(|mailbox| mailbox.path.clone()).collect())
    }

    /// A link to a place in the store that no walk looks at hides what is there, as one out of it does.
    fn sort_aliases(&mut self, store: &Path, real_store: &Path) {
        let reach = self.reach();
        let is_found = |link: &PathBuf| {
            let real = store.join(link).canonicalize();
            let inside = real.as_ref().map(|real| real.strip_prefix(real_store));
            inside.is_ok_and(|inside| inside.is_ok_and(|inside| reach.has(inside)))
        };
        let (aliases, hiding) = std::mem::take(&mut self.aliases)
            .into_iter()
            .partition(|link| is_found(link) || !leads_to_mail(&store.join(link)));
        self.aliases = aliases;
        self.links.extend::<Vec<_>>(hiding);
        self.links.sort();
    }
}

/// The parts of a store in which mail is found.
#[derive(Debug, Default)]
pub struct Reach(BTreeSet<PathBuf>);

impl Reach {
    /// Whether what lies at this path inside the store is found under that path: it is in a mailbox,
    /// or has mailboxes in it.
    pub fn has(&self, inside: &Path) -> bool {
        let Self(mailboxes) = self;
        let below = mailboxes.range(inside.to_owned()..).next();
        let mailbox = inside.ancestors().find(|path| mailboxes.contains(*path));
        let is_passed_over = |mailbox: &Path| {
            let rest = inside.strip_prefix(mailbox).unwrap_or(inside);
            rest.components()
                .any(|part| ["cur", "new", "tmp"].map(OsStr::new).contains(&part.as_os_str()))
        };
        below.is_some_and(|path| path.starts_with(inside))
            || mailbox.is_some_and(|mailbox| !is_passed_over(mailbox))
    }
}

/// Whether a link leads to mail that is therefore not where it is looked for: it is called `new` or
/// `cur`, or its target has one of them, or has mailboxes. Of a large target a part is searched.
pub fn leads_to_mail(link: &Path) -> bool {
    let is_subdir = link.file_name().is_some_and(|name| name == "cur" || name == "new");
    let Ok(target) = link.canonicalize() else { return false };
    let has = |name: &str| target.join(name).is_dir();
    target.is_dir() && (is_subdir || has("cur") || has("new") || holds_mailbox(&target))
}

fn holds_mailbox(dir: &Path) -> bool {
    let below = WalkDir::new(dir).max_depth(SEARCH_DEPTH).into_iter().take(SEARCH_MAX).flatten();
    let mut dirs = below.filter(|entry| entry.file_type().is_dir());
    dirs.any(|entry| is_maildir(entry.path()) || is_marked(entry.path()))
}

/// Whether a directory has a `Maildir`, or a link to one.
fn is_home(path: &Path) -> bool {
    let inside = path.join(HOME_MAILDIR);
    let is_linked = || nofollow::is_linked(&inside);
    is_maildir(&inside) || is_linked() && inside.canonicalize().is_ok_and(|real| is_maildir(&real))
}

/// Whether it is a mailbox that a restore has not finished, which is nobody's.
fn is_partial(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PARTIAL.as_bytes())
}

/// Whether Dovecot marked a directory as the root of a mailbox: nested layout with an INBOX below.
fn is_marked(path: &Path) -> bool {
    let Ok(dir) = nofollow::Dir::open(path) else { return false };
    let has = |name: &&str| dir.stat(name).is_ok_and(|stat| nofollow::kind(&stat).is_file());
    MARKERS.iter().any(has)
}

/// The name of the mailbox at a path in a store: `user@domain` for `domain/user[/Maildir]`, the user for
/// `user/Maildir`, else the path.
pub fn mailbox_name(store: &Path, inside: &Path) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = inside.iter().map(OsStrExt::as_bytes).collect();
    if parts.len() > 1 && matches!(parts.last(), Some(&b"Maildir" | &b"mail" | &b"maildir")) {
        parts.pop();
    }
    match parts.as_slice() {
        [] => store.file_name().map_or_else(|| b"mailbox".to_vec(), |name| name.as_bytes().into()),
        [.., domain, user] if looks_like_domain(domain) && !user.contains(&b'@') => {
            [user, b"@".as_slice(), domain].concat()
        }
        // `example.org/user@example.org`, as some installations name the folder.
        [domain, user] if looks_like_domain(domain) => user.to_vec(),
        parts => parts.join(b"/".as_slice()),
    }
}

fn looks_like_domain(part: &[u8]) -> bool {
    part.contains(&b'.') && !part.starts_with(b".") && !part.ends_with(b".")
}

const HOME_MAILDIR: &str = "Maildir";

const MARKERS: [&str; 3] = ["dovecot-uidvalidity", "dovecot.list.index", "dovecot.list.index.log"];

/// Begins the name of a mailbox's folder as long as it is being restored.
pub const PARTIAL: &str = ".mailrig-partial-";

/// Mailboxes lie a few levels down (`vmail/d/o/domain/u/user/Maildir`); deeper is something else.
const MAX_DEPTH: usize = 10;

/// How far, and through how many entries, the target of a link is searched for mailboxes.
const SEARCH_DEPTH: usize = 5;
const SEARCH_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn mailboxes_are_found_in_every_usual_layout_and_named() {
        let table = [
            ("example.org/alice/Maildir", "alice@example.org"),
            ("example.org/bob", "bob@example.org"),
            ("e/example.org/carol/mail", "carol@example.org"),
            ("example.org/dan@example.org/Maildir", "dan@example.org"),
            ("erin/Maildir", "erin"),
            ("frank", "frank"),
            ("team/grace", "team/grace"),
        ];
        for (path, name) in table {
            let store = tempfile::tempdir().unwrap();
            for dir in ["cur", "new", "tmp", ".Sent/cur", ".Sent/new"] {
                fs::create_dir_all(store.path().join(path).join(dir)).unwrap();
            }
            let found = find_mailboxes(store.path()).unwrap();
            let expected = MailboxDir { name: name.into(), path: path.into() };
            assert_eq!(found.mailboxes, [expected]);
            assert!(found.unreadable.is_empty());
        }
    }

    #[test]
    fn a_home_is_not_searched_beyond_its_maildir_and_links_are_not_followed() {
        let store = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), store.path().join("away")).unwrap();
        let dirs =
            ["erin/Maildir/cur", "erin/Maildir/new", "erin/old/mail/cur", "erin/old/mail/new"];
        for dir in dirs {
            fs::create_dir_all(store.path().join(dir)).unwrap();
        }
        std::os::unix::fs::symlink("erin", store.path().join("alias")).unwrap();
        std::os::unix::fs::symlink("nobody", store.path().join("broken")).unwrap();
        std::os::unix::fs::symlink("broken", store.path().join("broken-too")).unwrap();
        let found = find_mailboxes(store.path()).unwrap();
        assert_eq!(found.mailboxes.len(), 1);
        assert_eq!(found.aliases, [PathBuf::from("alias")]);
        assert_eq!(found.links, [PathBuf::from("away")]);
        assert_eq!(found.broken, [PathBuf::from("broken"), PathBuf::from("broken-too")]);
    }

    /// Of a home only its Maildir is looked at, and of a Maildir no `tmp`.
    #[test]
    fn a_link_to_what_is_not_found_in_the_store_is_told() {
        let store = tempfile::tempdir().unwrap();
        for dir in ["al/Maildir", "al/Archive/2020", "al/Maildir/tmp/x", "ca/.local/mail", "di"] {
            fs::create_dir_all(store.path().join(dir).join("cur")).unwrap();
            fs::create_dir_all(store.path().join(dir).join("new")).unwrap();
        }
        let link = |to: &str, from: &str| {
            std::os::unix::fs::symlink(store.path().join(to), store.path().join(from)).unwrap();
        };
        link("al/Archive/2020", "lost");
        link("al/Maildir/tmp/x", "lost-too");
        link("al", "alias");
        link("di", "alias-too");
        fs::create_dir(store.path().join("plain")).unwrap();
        link("plain", "no-mail");
        let found = find_mailboxes(store.path()).unwrap();
        assert_eq!(found.links, ["lost", "lost-too"].map(PathBuf::from));
        assert_eq!(found.aliases, ["alias", "alias-too", "no-mail"].map(PathBuf::from));
        let reach = found.reach();
        for (path, expected) in [
            ("al/Maildir/.Sent", true),
            ("al", true),
            ("", true),
            ("al/Archive/2020", false),
            ("al/Maildir/tmp/x", false),
        ] {
            assert_eq!(reach.has(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_a_restore_has_not_finished_is_no_mailbox() {
        let store = tempfile::tempdir().unwrap();
        for dir in ["bob/cur", "bob/new", ".mailrig-partial-1/cur", ".mailrig-partial-1/new"] {
            fs::create_dir_all(store.path().join(dir)).unwrap();
        }
        let found = find_mailboxes(store.path()).unwrap();
        let names: Vec<_> = found.mailboxes.iter().map(|mailbox| &mailbox.path).collect();
        assert_eq!(names, ["bob"].map(Path::new));
    }

    #[test]
    fn a_link_leads_to_mail_if_there_is_some_below() {
        let elsewhere = tempfile::tempdir().unwrap();
        let path = |inside: &str| elsewhere.path().join(inside);
        fs::create_dir_all(path("d/example.org/al/Maildir/cur")).unwrap();
        fs::create_dir_all(path("d/example.org/al/Maildir/new")).unwrap();
        fs::create_dir_all(path("web/site/pages")).unwrap();
        for (to, expected) in [
            ("d", true),
            ("d/example.org/al/Maildir", true),
            ("web", false),
            ("web/site", false),
            ("none", false),
        ] {
            let link = path("link");
            std::os::unix::fs::symlink(path(to), &link).unwrap();
            assert_eq!(leads_to_mail(&link), expected, "{to}");
            fs::remove_file(&link).unwrap();
        }
        std::os::unix::fs::symlink(path("web"), path("cur")).unwrap();
        assert!(leads_to_mail(&path("cur")));
    }

    /// Mail to the vmail user itself, or a catch-all, must not hide everybody else's.
    #[test]
    fn a_maildir_beside_mailboxes_hides_none_of_them() {
        let store = tempfile::tempdir().unwrap();
        for mailbox in
            ["Maildir", "example.org/Maildir", "example.org/alice", "example.org/bob/Maildir"]
        {
            fs::create_dir_all(store.path().join(mailbox).join("cur")).unwrap();
            fs::create_dir_all(store.path().join(mailbox).join("new")).unwrap();
        }
        assert_eq!(find_mailboxes(store.path()).unwrap().mailboxes.len(), 4);
    }

    #[test]
    fn a_store_that_is_a_mailbox_has_the_name_of_its_folder() {
        let store = tempfile::tempdir().unwrap();
        let store = store.path().join("alice");
        fs::create_dir_all(store.join("cur")).unwrap();
        fs::create_dir_all(store.join("new")).unwrap();
        let found = find_mailboxes(&store).unwrap();
        assert_eq!(found.mailboxes, [MailboxDir { name: b"alice".into(), path: "".into() }]);
    }

    fn write(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// As Dovecot 2.3.19 makes them.
    #[test]
    fn other_formats_are_found_by_what_they_are() {
        let store = tempfile::tempdir().unwrap();
        let files = [
            ("al/sdbox/mailboxes/INBOX/dbox-Mails/u.1", "2 M1e C5000\n"),
            ("al/sdbox/dovecot.list.index.log", ""),
            ("bo/mdbox/storage/m.1", "2 M1e C5000\n"),
            ("bo/mdbox/mailboxes/INBOX/dbox-Mails/dovecot.index.log", ""),
            ("bo/mdbox/dovecot-uidvalidity", ""),
            ("ca/mail/.imap/INBOX/dovecot.index.log", ""),
            ("ca/mail/Sent", "From a@b Sat Nov 21 03:15:00 2026\n"),
            ("ca/mbox", "From a@b Sat Nov 21 03:15:00 2026\n"),
            ("spool", "From a@b Sat Nov 21 03:15:00 2026\n"),
            ("di/Maildir/cur/1.a:2,S", "x"),
            ("di/Maildir/new/2.b", "x"),
            ("di/mbox", "From a private archive\n"),
            ("di/mdbox/storage/dovecot.map.index.log", ""),
            ("di/mdbox/mailboxes/Old/dbox-Mails/dovecot.index.log", ""),
            // What only looks like it.
            ("notes", "Fromage\n"),
            ("ed/letters/one", "From here on\n"),
            ("ed/mailboxes/readme", "none\n"),
            ("ef/storage/m.1", ""),
        ];
        for (path, content) in files {
            write(&store.path().join(path), content);
        }
        let found = find_mailboxes(store.path()).unwrap();
        let foreign: Vec<_> =
            found.foreign.iter().map(|f| (f.path.to_str().unwrap(), f.format)).collect();
        let expected = [
            ("al/sdbox", Format::Sdbox),
            ("bo/mdbox", Format::Mdbox),
            ("ca/mail", Format::Mbox),
            ("ca/mbox", Format::Mbox),
            ("di/mdbox", Format::Mdbox),
            ("spool", Format::Mbox),
        ];
        assert_eq!(foreign, expected);
        let names: Vec<_> = found.mailboxes.iter().map(|m| m.path.to_str().unwrap()).collect();
        assert_eq!(names, ["di/Maildir"]);
    }

    /// Tools that prune empty folders leave only where the mail is.
    #[test]
    fn a_lone_folder_of_messages_makes_a_mailbox() {
        let store = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("al/cur/1700000000.M1P1.host:2,S", "x"),
            ("bo/Maildir/new/1700000000.M1P1.host", "x"),
            ("ca/cur/readme", "no mail"),
            ("di/new/draft.txt", "no mail"),
        ] {
            write(&store.path().join(path), content);
        }
        fs::create_dir_all(store.path().join("ed/cur")).unwrap();
        let found = find_mailboxes(store.path()).unwrap();
        let paths: Vec<_> = found.mailboxes.iter().map(|m| m.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["al", "bo/Maildir"]);
    }
}
