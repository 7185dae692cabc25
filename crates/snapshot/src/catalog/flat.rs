//! Reading catalog lines with all fields side by side: serde's way through tagged and flattened
//! structs copies every line first, and a mailbox has a hundred thousand.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Content, Line, Owner, xattrs};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Expunged,
    File,
    Folder,
    Gone,
    Incident,
    Link,
    Mailbox,
    Message,
}

/// The fields of all kinds of [`Line`].
#[derive(Deserialize)]
pub(super) struct FlatLine {
    kind: Kind,
    path: Option<String>,
    messages: Option<u64>,
    bytes: Option<u64>,
    maildir: Option<bool>,
    target: Option<String>,
    folder: Option<String>,
    name: Option<String>,
    key: Option<String>,
    message: Option<String>,
    incident: Option<String>,
    reason: Option<String>,
    mode: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<String>,
    size: Option<u64>,
    pack: Option<u32>,
    member: Option<u32>,
    #[serde(default)]
    tree: bool,
    #[serde(default)]
    outside: BTreeMap<String, String>,
    #[serde(default)]
    xattrs: xattrs::Encoded,
}

impl TryFrom<FlatLine> for Line {
    type Error = &'static str;

    fn try_from(line: FlatLine) -> Result<Self, &'static str> {
        line.sort_out().ok_or("a field is missing")
    }
}

impl FlatLine {
    fn sort_out(self) -> Option<Line> {
        let (mode, uid, gid, xattrs) = (self.mode, self.uid, self.gid, self.xattrs);
        let owner = || Some(Owner { mode: mode?, uid: uid?, gid: gid?, xattrs });
        let (size, pack, member) = (self.size, self.pack, self.member);
        let content = |mtime: Option<String>| {
            Some(Content { mtime: mtime?, size: size?, pack: pack?, member: member? })
        };
        let mtime = self.mtime;
        Some(match self.kind {
            Kind::Mailbox => Line::Mailbox {
                path: self.path?,
                messages: self.messages?,
                bytes: self.bytes?,
                tree: self.tree,
                outside: self.outside,
            },
            Kind::Folder => {
                Line::Folder { path: self.path?, maildir: self.maildir?, owner: owner()?, mtime }
            }
            Kind::File => {
                Line::File { path: self.path?, owner: owner()?, content: content(mtime)? }
            }
            Kind::Link => Line::Link { path: self.path?, target: self.target?, owner: owner()? },
            Kind::Message => Line::Message {
                folder: self.folder?,
                name: self.name?,
                key: self.key,
                owner: owner()?,
                content: content(mtime)?,
            },
            Kind::Incident => {
                Line::Incident { incident: self.incident?, path: self.path?, reason: self.reason }
            }
            Kind::Gone => Line::Gone { path: self.path? },
            Kind::Expunged => Line::Expunged { folder: self.folder?, message: self.message? },
        })
    }
}
