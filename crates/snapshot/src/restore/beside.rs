//! Folders beside the live ones: INBOX becomes NAME, Sent becomes NAME/Sent, in the layout of the
//! mailbox that takes them. What is restored so is new mail to the server: no list of UIDs goes along.

use std::collections::BTreeMap;

use maildir::encode_utf7;

use super::outside::{control_of_folder, folder_of_control};
use crate::catalog::{Contents, FolderContents, Line};
use crate::layout::{decode_name, encode_name};

/// How folders lie in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Maildir++: `.A.B` beside INBOX.
    Dotted,
    /// One in the other: `A/B`.
    Nested,
}

impl Layout {
    /// That of folders with these paths; `None` if they tell nothing.
    pub(crate) fn of<'p>(paths: impl Iterator<Item = &'p [u8]>) -> Option<Self> {
        let mut layout = None;
        for path in paths {
            match path.first() {
                Some(b'.') => return Some(Self::Dotted),
                Some(_) => layout = Some(Self::Nested),
                None => {}
            }
        }
        layout
    }

    /// The parts of a folder's name.
    fn parts(self, path: &[u8]) -> Vec<Vec<u8>> {
        let (path, separator) = match self {
            Self::Dotted => (path.strip_prefix(b".").unwrap_or(path), b'.'),
            Self::Nested => (path, b'/'),
        };
        let parts = path.split(|byte| *byte == separator).filter(|part| !part.is_empty());
        parts.map(<[u8]>::to_vec).collect()
    }

    /// The path of the folder that people call `name`.
    pub(crate) fn path_of_name(self, name: &str) -> Vec<u8> {
        self.path(&self.parts_of_name(name))
    }

    fn path(self, parts: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Nested => parts.join(&b'/'),
            Self::Dotted => {
                let mut path = Vec::new();
                for part in parts {
                    path.push(b'.');
                    // A dot would part it again.
                    path.extend(part.iter().map(|byte| if *byte == b'.' { b'_' } else { *byte }));
                }
                path
            }
        }
    }
}

/// Why a folder cannot be called so.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Some("it has an empty part");
    }
    if parts.iter().any(|part| matches!(*part, "cur" | "new" | "tmp")) {
        return Some("`cur`, `new` and `tmp` are no folders");
    }
    if name.eq_ignore_ascii_case("INBOX") {
        return Some("INBOX is there: leave --as-folder out");
    }
    name.chars().any(char::is_control).then_some("it has a control character")
}

/// The contents as they lie below the folder `name`, and the names to subscribe to. Control files that
/// lay outside go along if they are led to their place.
pub(crate) fn below(
    contents: Contents,
    name: &str,
    from: Layout,
    to: Layout,
    is_led: bool,
) -> (Contents, Vec<Vec<u8>>) {
    let base = to.parts_of_name(name);
    let mut moved = Contents { path: contents.path, ..Contents::default() };
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    let mut subscribed = Vec::new();
    for (path, folder) in contents.folders {
        let Some(decoded) = decode_name(&path) else { continue };
        if !folder.maildir {
            continue;
        }
        let mut parts = base.clone();
        parts.extend(from.parts(&decoded));
        let target = to.path(&parts);
        subscribed.push(match to {
            Layout::Dotted => target[1..].to_vec(),
            Layout::Nested => target.clone(),
        });
        let target = encode_name(&target).into_owned();
        paths.insert(path, target.clone());
        moved.messages += folder.messages.len() as u64;
        let known = moved.folders.entry(target).or_insert_with(|| FolderContents {
            maildir: true,
            owner: folder.owner.clone(),
            mtime: None,
            messages: BTreeMap::new(),
        });
        // Two folders whose names are one in this layout.
        known.messages.extend(folder.messages);
    }
    for (path, line) in contents.files {
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let outside = folder_of_control(dir).filter(|_| is_led);
        let Some(target) = paths.get(outside.unwrap_or(dir)) else { continue };
        let Line::File { owner, content, .. } = line else { continue };
        if !KEPT.contains(&file) {
            continue;
        }
        let dir = match outside.and(moved.folders.get(target)) {
            Some(folder) => {
                let (dir, owner) = (control_of_folder(target), folder.owner.clone());
                let messages = BTreeMap::new();
                let control = FolderContents { maildir: false, owner, mtime: None, messages };
                moved.folders.insert(dir.clone(), control);
                dir
            }
            None => target.clone(),
        };
        let path = format!("{dir}/{file}");
        moved.files.insert(path.clone(), Line::File { path, owner, content });
    }
    (moved, subscribed)
}

impl Layout {
    /// The parts of a name that people wrote, as they are on the disk.
    fn parts_of_name(self, name: &str) -> Vec<Vec<u8>> {
        name.split('/').map(|part| encode_utf7(part).into_bytes()).collect()
    }
}

/// A `subscriptions` file with more names; `None` if it has them all.
pub(crate) fn subscribe(file: &[u8], names: &[Vec<u8>], layout: Layout) -> Option<Vec<u8>> {
    // Version 2 begins with its number, and parts the levels of a name with tabs.
    let is_second = file.starts_with(b"V\t2\n");
    let mut lines: Vec<Vec<u8>> = file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let separator = if layout == Layout::Dotted { b'.' } else { b'/' };
    let mut is_changed = false;
    while lines.last().is_some_and(Vec::is_empty) && lines.len() > if is_second { 2 } else { 0 } {
        lines.pop();
    }
    for name in names {
        let name: Vec<u8> = if is_second {
            name.iter().map(|byte| if *byte == separator { b'\t' } else { *byte }).collect()
        } else {
            name.clone()
        };
        if !lines.contains(&name) {
            lines.push(name);
            is_changed = true;
        }
    }
    let mut bytes = lines.join(&b'\n');
    bytes.push(b'\n');
    is_changed.then_some(bytes)
}

/// What goes along with messages.
const KEPT: [&str; 1] = ["dovecot-keywords"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Owner;

    fn contents(folders: &[&str]) -> Contents {
        let owner = Owner::of(maildir::Attributes { mode: 0o700, uid: 1, gid: 1 });
        let folder = || FolderContents {
            maildir: true,
            owner: owner.clone(),
            mtime: None,
            messages: BTreeMap::new(),
        };
        let folders = folders.iter().map(|path| ((*path).to_owned(), folder())).collect();
        Contents { folders, ..Contents::default() }
    }

    #[test]
    fn folders_go_below_the_new_one_in_the_layout_of_the_target() {
        use Layout::{Dotted, Nested};
        type Row<'r> = (&'r [&'r str], &'r str, Layout, Layout, &'r [&'r str]);
        let table: [Row<'_>; 5] = [
            (&["", ".Sent", ".A.B"], "Back", Dotted, Dotted, &[".Back", ".Back.A.B", ".Back.Sent"]),
            (&["", "Sent", "A/B"], "Back", Nested, Nested, &["Back", "Back/A/B", "Back/Sent"]),
            (&["", ".A.B"], "Back", Dotted, Nested, &["Back", "Back/A/B"]),
            (&["", "A/v1.2"], "Back", Nested, Dotted, &[".Back", ".Back.A.v1_2"]),
            (&[""], "Zurück/2026", Dotted, Dotted, &[".Zur&APw-ck.2026"]),
        ];
        for (folders, name, from, to, expected) in table {
            let (moved, _) = below(contents(folders), name, from, to, false);
            let paths: Vec<&str> = moved.folders.keys().map(String::as_str).collect();
            assert_eq!(paths, expected);
        }
        for name in ["", "a//b", "/a", "..", "a/cur", "inbox", "a\nb"] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
        assert_eq!(refusal("Restored-2026-11-21/x"), None);
    }

    #[test]
    fn subscriptions_grow_by_what_they_lack() {
        let names = [b"Back".to_vec(), b"Back.Sent".to_vec()];
        let table: [(&str, Option<&str>); 5] = [
            ("", Some("Back\nBack.Sent\n")),
            ("Sent\nBack\n", Some("Sent\nBack\nBack.Sent\n")),
            ("Back.Sent\nBack\n", None),
            ("V\t2\n\nSent\n", Some("V\t2\n\nSent\nBack\nBack\tSent\n")),
            ("V\t2\n\n", Some("V\t2\n\nBack\nBack\tSent\n")),
        ];
        for (file, expected) in table {
            let grown = subscribe(file.as_bytes(), &names, Layout::Dotted);
            assert_eq!(grown.as_deref(), expected.map(str::as_bytes), "{file:?}");
        }
    }
}
