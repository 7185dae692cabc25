//! One catalog of the messages that were picked from several snapshots. A base name says little
//! across snapshots: files are overwritten in place, names used again. A message of other content
//! than its namesake in a newer snapshot gets a fresh name, as it does in a live folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use maildir::{Keywords, base_name, flags, fresh_base, translate};

use super::Run;
use super::names::has_keywords;
use super::outside::folder_of_control;
use super::report::Missing;
use super::survey::KEYWORDS;
use crate::catalog::{
    CatalogHead, Content, Contents, FolderContents, Line, MessageEntry, message_key, parse_time,
};
use crate::error::Result;
use crate::hash::Sum;
use crate::layout::{decode_name, encode_name};
use crate::message;
use crate::place::Part;
use crate::repository::OpenMailbox;

/// Messages by their base names, which several may have.
type Namesakes = HashMap<String, Vec<Content>>;

impl Run<'_> {
    /// Adds what an older catalog has beyond a newer one, whose packs have other numbers.
    pub(super) fn merge(
        &self,
        mailbox: &OpenMailbox,
        newer: (&mut CatalogHead, &mut Contents),
        older: (CatalogHead, Contents),
    ) -> Result<()> {
        let (head, newer) = newer;
        let (mut older_head, mut older) = older;
        head.needs.append(&mut older_head.needs);
        let sums = self.sums(mailbox, head, &suspects(newer, &older))?;
        let is_same = |one: &Content, other: &Content| {
            let [one_sum, other_sum] =
                [one, other].map(|content| sums.get(&(content.pack, content.member)));
            is_same_member(head, one, other)
                || one.size == other.size
                    && match (one_sum, other_sum) {
                        (Some(one), Some(other)) => one == other,
                        // What a lost index cannot tell, the time does.
                        _ => one.mtime == other.mtime,
                    }
        };
        let (mut dropped, mut unnamed) = (0, 0);
        for (path, mut folder) in std::mem::take(&mut older.folders) {
            let Some(known) = newer.folders.get(&path) else {
                newer.folders.insert(path, folder);
                continue;
            };
            let messages = std::mem::take(&mut folder.messages);
            let (mut added, nameless) = beyond(known, messages, &is_same);
            if keywords_file(newer, &path).is_none()
                && keywords_file(&older, &path).is_some()
                && let Some(known) = newer.folders.get_mut(&path)
            {
                // The older file comes along, and would give these letters a meaning.
                unnamed += reword(&mut known.messages, &<(Keywords, Keywords)>::default());
            }
            let mut letters = added.values().map(|entry| flags(entry.name.as_bytes()));
            if letters.any(has_keywords)
                && let Some(from_to) = self.letters(mailbox, head, &path, newer, &older)?
            {
                dropped += reword(&mut added, &from_to);
            }
            if nameless > 0 {
                let reason = format!("{path}: all names that a message could have are taken");
                self.report.problem(&mailbox.display_name(), Missing::messages(nameless), reason);
            }
            if let Some(known) = newer.folders.get_mut(&path) {
                known.messages.append(&mut added);
            }
        }
        for (path, line) in older.files {
            newer.files.entry(path).or_insert(line);
        }
        if dropped > 0 {
            let messages = if dropped == 1 { "message" } else { "messages" };
            self.report.note(format!(
                "{}: {dropped} {messages} lost keywords that the folder did not have any more in the \
                 newest snapshot named; restored from one snapshot at a time, messages keep them",
                mailbox.display_name()
            ));
        }
        if unnamed > 0 {
            let messages = if unnamed == 1 { "message" } else { "messages" };
            self.report.note(format!(
                "{}: {unnamed} {messages} lost letters of keywords that their snapshot has no names for",
                mailbox.display_name()
            ));
        }
        Ok(())
    }

    /// The SHA-256 of contents, by pack and member, as far as indexes can be read.
    fn sums(
        &self,
        mailbox: &OpenMailbox,
        head: &CatalogHead,
        wanted: &BTreeMap<u32, BTreeSet<u32>>,
    ) -> Result<HashMap<(u32, u32), Sum>> {
        let mut sums = HashMap::new();
        for (&pack, members) in wanted {
            let Some(part) = Part::of(head, pack) else { continue };
            let members: Vec<u32> = members.iter().copied().collect();
            match part.places(self.repository.store(), &mailbox.unseal, &members) {
                Ok(places) => {
                    sums.extend(places.iter().map(|p| ((pack, p.number), p.member.sum)));
                }
                Err(e) if e.is_local_to_object() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(sums)
    }

    /// What the letters of a folder mean in both catalogs; `None` if they mean the same.
    fn letters(
        &self,
        mailbox: &OpenMailbox,
        head: &CatalogHead,
        folder: &str,
        newer: &Contents,
        older: &Contents,
    ) -> Result<Option<(Keywords, Keywords)>> {
        let (to, from) = (keywords_file(newer, folder), keywords_file(older, folder));
        let is_same = match (to, from) {
            (Some(to), Some(from)) => is_same_member(head, to, from),
            // The older file comes along, or there is none.
            (None, _) => true,
            (Some(_), None) => false,
        };
        if is_same {
            return Ok(None);
        }
        let read = |content: Option<&Content>| {
            let Some(content) = content.filter(|content| content.size <= KEYWORDS_BYTES) else {
                return Ok(Keywords::default());
            };
            let mut bytes = Vec::new();
            match message::copy(self.repository, mailbox, head, content, &mut bytes) {
                Ok(_) => Ok(Keywords::parse(&bytes)),
                Err(e) if e.is_local_to_object() => {
                    let reason = format!("{folder}: {e}: keywords are dropped");
                    self.report.problem(&mailbox.display_name(), Missing::NOTHING, reason);
                    Ok(Keywords::default())
                }
                Err(e) => Err(e),
            }
        };
        let (from, to) = (read(from)?, read(to)?);
        Ok((from != to).then_some((from, to)))
    }
}

/// Whether two contents are one member of one pack.
fn is_same_member(head: &CatalogHead, one: &Content, other: &Content) -> bool {
    let object = |content: &Content| {
        let need = head.needs.iter().find(|need| need.pack == Some(content.pack));
        need.map(|need| &need.object)
    };
    one.member == other.member && object(one).is_some() && object(one) == object(other)
}

/// Contents of one name and size in both, of which only a hash tells whether they are the same; by
/// pack and member.
fn suspects(newer: &Contents, older: &Contents) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut wanted: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (path, folder) in &older.folders {
        let Some(known) = newer.folders.get(path) else { continue };
        let known = namesakes(known);
        for entry in folder.messages.values() {
            let of_name = names(entry).map_while(|name| known.get(&name)).flatten();
            for content in of_name.filter(|content| content.size == entry.content.size) {
                for content in [content, &entry.content] {
                    wanted.entry(content.pack).or_default().insert(content.member);
                }
            }
        }
    }
    wanted
}

/// The messages that a folder lacks, by their keys, under names that it has not; and how many found
/// no name.
fn beyond(
    known: &FolderContents,
    messages: BTreeMap<String, MessageEntry>,
    is_same: &dyn Fn(&Content, &Content) -> bool,
) -> (BTreeMap<String, MessageEntry>, u64) {
    let mut known = namesakes(known);
    let mut added = BTreeMap::new();
    let mut nameless = 0;
    for (key, mut entry) in messages {
        let is_known = |name: &String| {
            let mut of_name = known.get(name).into_iter().flatten();
            of_name.any(|content| is_same(content, &entry.content))
        };
        let taken = |name: &String| known.contains_key(name);
        if names(&entry).take_while(taken).any(|name| is_known(&name)) {
            continue;
        }
        let own = message_key(&entry.name).to_owned();
        match names(&entry).find(|name| !taken(name)) {
            Some(name) if name == own => {
                added.insert(key, entry);
            }
            Some(name) => {
                known.insert(name.clone(), vec![entry.content.clone()]);
                let start = entry.name.find('/').map_or(0, |slash| slash + 1);
                entry.name.replace_range(start..start + own.len(), &name);
                added.insert(name, entry);
            }
            None => nameless += 1,
        }
    }
    (added, nameless)
}

fn namesakes(folder: &FolderContents) -> Namesakes {
    let mut namesakes = Namesakes::new();
    for entry in folder.messages.values() {
        let of_name = namesakes.entry(message_key(&entry.name).to_owned()).or_default();
        of_name.push(entry.content.clone());
    }
    namesakes
}

/// The base names that a message may have, its own first: those that it would get in a live folder.
fn names(entry: &MessageEntry) -> impl Iterator<Item = String> + use<> {
    let own = message_key(&entry.name).to_owned();
    let base = decode_name(&own).map(std::borrow::Cow::into_owned);
    let mtime_ns = parse_time(&entry.content.mtime).unwrap_or_default();
    let content = format!("{} {mtime_ns}", entry.content.size);
    let fresh = (0..TRIES).filter_map(move |counter| {
        let fresh = fresh_base(base.as_ref()?, &content, counter);
        Some(encode_name(&fresh).into_owned())
    });
    std::iter::once(own).chain(fresh)
}

/// The folder's file of keywords, in it or where the server keeps such files.
fn keywords_file<'c>(contents: &'c Contents, folder: &str) -> Option<&'c Content> {
    contents.files.iter().find_map(|(path, line)| {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_its = dir == folder || folder_of_control(dir) == Some(folder);
        match line {
            Line::File { content, .. } if is_its && name.as_bytes() == KEYWORDS => Some(content),
            _ => None,
        }
    })
}

/// Gives keywords the letters of another list, which cannot grow; gives the number of messages
/// that lost some.
fn reword(messages: &mut BTreeMap<String, MessageEntry>, (from, to): &(Keywords, Keywords)) -> u64 {
    let mut losers = 0;
    for entry in messages.values_mut() {
        let name = entry.name.as_bytes();
        let old = flags(name);
        if !has_keywords(old) {
            continue;
        }
        let (mut new, mut dropped) = translate(old, from, &mut to.clone());
        let end = memchr::memchr(b',', &new).unwrap_or(new.len());
        let own = new.split_off(end);
        let all = new.len();
        new.retain(|letter| !letter.is_ascii_lowercase() || to.name(*letter).is_some());
        dropped += all - new.len();
        new.extend_from_slice(&own);
        losers += u64::from(dropped > 0);
        let base = base_name(name);
        let renamed = [base, b":2,", &new].concat();
        entry.name = String::from_utf8_lossy(&renamed).into_owned();
    }
    losers
}

/// Fresh names that are tried for a message.
const TRIES: u32 = 32;

/// The largest file of 26 keywords that is taken for one.
const KEYWORDS_BYTES: u64 = 1 << 20;
