//! Links in a store. None is followed, so what lies behind one can't be read: what an earlier snapshot
//! had of it is kept, and the link is named every night. Only a link to a mailbox that is found in the
//! store under its own name is nobody's loss.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use maildir::Discovery;

use super::ledger::{Incident, Ledger};

/// What is behind links of a store now.
pub(crate) struct Links<'f> {
    root: &'f Path,
    found: &'f Discovery,
    links: BTreeSet<&'f Path>,
    mailboxes: BTreeSet<&'f Path>,
}

/// What became of a known mailbox that is no mailbox of the store any more.
pub(crate) enum Behind {
    /// A link leads from its path to a mailbox of the store.
    Alias(PathBuf),
    /// It is this link, or lies behind it.
    Link(PathBuf),
}

impl<'f> Links<'f> {
    pub(crate) fn new(root: &'f Path, found: &'f Discovery) -> Self {
        let links = found.links.iter().chain(&found.aliases).chain(&found.broken);
        Self {
            root,
            found,
            links: links.map(PathBuf::as_path).collect(),
            mailboxes: found.mailboxes.iter().map(|mailbox| mailbox.path.as_path()).collect(),
        }
    }

    /// What the path of a known mailbox leads to; `None` if no link is on it.
    pub(crate) fn behind(&self, mailbox: &Path) -> Option<Behind> {
        let link = mailbox.ancestors().find(|path| self.links.contains(path))?;
        let real = self.root.join(mailbox).canonicalize().ok();
        let inside = real.as_deref().and_then(|real| real.strip_prefix(self.root).ok());
        Some(match inside.filter(|inside| self.mailboxes.contains(inside)) {
            Some(inside) => Behind::Alias(inside.to_owned()),
            None => Behind::Link(link.to_owned()),
        })
    }

    /// Names the links that cost the snapshot mail. `lost` are known mailboxes, each with the link that
    /// it is or lies behind.
    pub(crate) fn note<'l>(
        &self,
        lost: impl Iterator<Item = (&'l Path, &'l Path)>,
        ledger: &mut Ledger,
        notices: &mut Vec<String>,
    ) {
        let lost: Vec<(&Path, &Path)> = lost.collect();
        let (themselves, behind): (Vec<_>, Vec<_>) =
            lost.iter().partition(|(mailbox, link)| mailbox == link);
        let named: BTreeSet<&Path> = themselves.iter().map(|(_, link)| *link).collect();
        let on_the_way: BTreeSet<&Path> = behind.iter().map(|(_, link)| *link).collect();
        let others = self.found.links.iter().map(PathBuf::as_path);
        let others = others.filter(|link| !on_the_way.contains(link) && !named.contains(link));
        for link in on_the_way.iter().copied().chain(others) {
            if on_the_way.contains(link) || maildir::leads_to_mail(&self.root.join(link)) {
                let path = link.to_string_lossy().into_owned();
                ledger.note(Incident::NotFollowed, path, Some(self.reason(link)));
            } else {
                notices.push(format!(
                    "{} is a link out of the store and was not followed",
                    link.display()
                ));
            }
        }
        for (mailbox, link) in themselves.into_iter().chain(behind) {
            let reason = match mailbox == link {
                true => self.reason(link),
                false => format!("it is behind the link {}", link.display()),
            };
            let reason = format!("{reason}; what the last snapshot had of it is kept");
            ledger.note(Incident::Unreadable, mailbox.to_string_lossy().into_owned(), Some(reason));
        }
    }

    /// Where a link leads, and what to do about it.
    fn reason(&self, link: &Path) -> String {
        reason(&self.root.join(link), self.root)
    }
}

/// Where a link leads, and what to do about it.
pub(crate) fn reason(link: &Path, root: &Path) -> String {
    let target = std::fs::read_link(link).unwrap_or_default();
    let target = target.display();
    match link.canonicalize() {
        Ok(real) if real.starts_with(root) => format!(
            "a link to {target}, where no mailbox of the store is looked for: move that here"
        ),
        Ok(_) => format!(
            "a link out of the store, to {target}: mount that here (`mount --bind`), move it into the \
             store, or back it up as a store of its own"
        ),
        Err(_) => format!("a link to {target}, which is not there: is a disk not mounted?"),
    }
}
