//! One mailbox: through its catalogs from old to new, with the indexes of the packs that they point
//! into, each read once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::query::{Field, Line, Query};
use super::{Found, Job, Problem, Snapshots, Span};
use crate::catalog::{CatalogHead, Content, History, MessageEntry, Need, parse_time};
use crate::contents::readable;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::hash::{Sum, parse_sum};
use crate::headers::Headers;
use crate::index::{INDEX_BYTES, Sections, parse};
use crate::layout::{decode_name, id_in_name, mailbox_prefix};
use crate::message_id::MessageId;
use crate::parallel;
use crate::progress::Progress;
use crate::repository::{OpenMailbox, Repository};

/// What the search of every mailbox needs.
pub(super) struct Search<'s> {
    pub(super) repository: &'s Repository,
    pub(super) identity: &'s Unseal,
    pub(super) snapshots: &'s Snapshots,
    /// Whether each content is found once, or each message of each folder.
    pub(super) is_by_content: bool,
    pub(super) query: &'s Query,
    /// For the indexes of one mailbox.
    pub(super) threads: usize,
    pub(super) progress: &'s Progress,
}

impl Search<'_> {
    pub(super) fn mailbox(&self, job: &Job<'_>) -> Result<(Vec<Found>, Vec<Problem>)> {
        self.progress.check()?;
        let opened;
        let mailbox = match &job.open {
            Some(open) => open,
            None => match self.repository.open_mailbox(job.id, self.identity) {
                Ok(mailbox) => {
                    opened = mailbox;
                    &opened
                }
                // One identity opens all keys or none: this is no single mailbox's problem.
                Err(e @ Error::WrongIdentity { .. }) => return Err(e),
                Err(e) if e.is_local_to_object() => {
                    let problem = Problem { what: job.id.to_owned(), reason: e.to_string() };
                    return Ok((Vec::new(), vec![problem]));
                }
                Err(e) => return Err(e),
            },
        };
        let mut one = One::new(self, mailbox);
        let last = job.spans.last();
        let present = last.and_then(|last| self.snapshots.present.get(last.last)).copied();
        for span in job.spans.iter().filter(|span| Some(span.last) != present) {
            if let Some(head) = one.go_to(span)? {
                one.gather(&head, span)?;
            }
        }
        if let Some(span) = job.spans.iter().find(|span| Some(span.last) == present)
            && !one.rows.is_empty()
            && let Some(head) = one.go_to(span)?
        {
            one.drop_present(&head)?;
        }
        Ok(one.finish())
    }
}

/// A search in a mailbox.
struct One<'s> {
    search: &'s Search<'s>,
    mailbox: &'s OpenMailbox,
    history: History,
    hits: Hits,
    /// By content, or by folder and key.
    rows: HashMap<RowKey, Row>,
    problems: Vec<Problem>,
}

#[derive(PartialEq, Eq, Hash)]
enum RowKey {
    Content(Sum),
    Message(String, String),
}

/// A message that fits, as the last snapshot that has it knows it.
struct Row {
    first: usize,
    last: usize,
    folder: String,
    key: String,
    entry: MessageEntry,
    hit: Arc<Hit>,
}

impl Row {
    /// A later snapshot has it too. Nearly always it is there as it was.
    fn go_on(&mut self, last: usize, folder: &str, key: &str, entry: &MessageEntry) {
        self.last = last;
        if self.entry != *entry {
            self.entry = entry.clone();
        }
        if self.key != key || self.folder != folder {
            (self.folder, self.key) = (folder.to_owned(), key.to_owned());
        }
    }
}

/// A content that fits.
struct Hit {
    sum: Sum,
    headers: Headers,
}

/// The contents of a pack that fit, by member.
struct PackHits {
    pack: String,
    hits: Vec<(u32, Hit)>,
}

/// What the indexes say that were read so far.
#[derive(Default)]
struct Hits {
    /// Numbers of our own: a catalog's mean something together with its head only.
    packs: HashMap<String, u32>,
    /// By pack and member.
    contents: HashMap<(u32, u32), Arc<Hit>>,
    /// The indexes, by name.
    read: HashSet<String>,
}

impl Hits {
    fn pack(&mut self, id: &str) -> u32 {
        let next = self.packs.len() as u32;
        *self.packs.entry(id.to_owned()).or_insert(next)
    }

    /// Our numbers of a head's packs, by the head's.
    fn packs_of(&mut self, head: &CatalogHead) -> HashMap<u32, u32> {
        let packs = head.needs.iter().filter_map(|need| Some((need.pack?, &need.object)));
        packs.map(|(number, name)| (number, self.pack(id_in_name(name)))).collect()
    }
}

impl<'s> One<'s> {
    fn new(search: &'s Search<'s>, mailbox: &'s OpenMailbox) -> Self {
        let (history, hits, rows) = (History::default(), Hits::default(), HashMap::new());
        Self { search, mailbox, history, hits, rows, problems: Vec::new() }
    }

    fn go_to(&mut self, span: &Span) -> Result<Option<CatalogHead>> {
        let (store, id) = (self.search.repository.store(), &self.mailbox.id);
        let (catalog, unseal) = (&span.catalog, &self.mailbox.unseal);
        let read = self.history.go_to(store, id, &catalog.catalog, &catalog.reference, unseal);
        self.unless_local(read)
    }

    /// Adds the messages of the present catalog that fit.
    fn gather(&mut self, head: &CatalogHead, span: &Span) -> Result<()> {
        let query = self.search.query;
        let is_in_time = |content: &Content| {
            let is_any = query.since_ns.is_none() && query.before_ns.is_none();
            is_any || parse_time(&content.mtime).is_some_and(|time| query.is_in_time(time))
        };
        let messages = || self.history.contents.folders.values().flat_map(|f| f.messages.values());
        let contents = messages().map(|message| &message.content);
        let packs = contents.filter(|content| is_in_time(content)).map(|content| content.pack);
        let packs: HashSet<u32> = packs.collect();
        self.read_indexes(head, &packs)?;
        let packs = self.hits.packs_of(head);
        for (folder, contents) in &self.history.contents.folders {
            for (key, entry) in &contents.messages {
                let Content { pack, member, .. } = entry.content;
                let hit =
                    packs.get(&pack).and_then(|pack| self.hits.contents.get(&(*pack, member)));
                let Some(hit) = hit.filter(|_| is_in_time(&entry.content)) else { continue };
                let row_key = if self.search.is_by_content {
                    RowKey::Content(hit.sum)
                } else {
                    RowKey::Message(folder.clone(), key.clone())
                };
                match self.rows.entry(row_key) {
                    Entry::Vacant(row) => {
                        row.insert(Row {
                            first: span.first,
                            last: span.last,
                            folder: folder.clone(),
                            key: key.clone(),
                            entry: entry.clone(),
                            hit: Arc::clone(hit),
                        });
                    }
                    // Else it is another copy in the same snapshot.
                    Entry::Occupied(mut row) if row.get().last != span.last => {
                        row.get_mut().go_on(span.last, folder, key, entry);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Removes what the present catalog has, wherever.
    fn drop_present(&mut self, head: &CatalogHead) -> Result<()> {
        self.drop_known(head);
        if !self.rows.is_empty() {
            // Folding may have stored the same content elsewhere.
            let packs: HashSet<u32> = head.needs.iter().filter_map(|need| need.pack).collect();
            self.read_indexes(head, &packs)?;
            self.drop_known(head);
        }
        Ok(())
    }

    fn drop_known(&mut self, head: &CatalogHead) {
        let packs = self.hits.packs_of(head);
        let messages = self.history.contents.folders.values().flat_map(|f| f.messages.values());
        for Content { pack, member, .. } in messages.map(|message| &message.content) {
            let hit = packs.get(pack).and_then(|pack| self.hits.contents.get(&(*pack, *member)));
            if let Some(hit) = hit {
                self.rows.remove(&RowKey::Content(hit.sum));
            }
        }
    }

    /// Reads the indexes of the packs with these numbers, if that was not done.
    fn read_indexes(&mut self, head: &CatalogHead, packs: &HashSet<u32>) -> Result<()> {
        for pack in packs {
            if head.section(*pack).is_none() {
                self.problem(&format!("pack {pack} is in no index"));
            }
        }
        let is_wanted = |need: &&Need| need.sections.iter().any(|s| packs.contains(&s.0));
        let needs: Vec<&Need> = (head.needs.iter().filter(is_wanted))
            .filter(|need| !self.hits.read.contains(&need.object))
            .collect();
        self.hits.read.extend(needs.iter().map(|need| need.object.clone()));
        for found in parallel::map(self.search.threads, &needs, |need| self.index(need)) {
            let Some(found) = self.unless_local(found)? else { continue };
            for PackHits { pack, hits } in found {
                let pack = self.hits.pack(&pack);
                let hits = hits.into_iter().map(|(member, hit)| ((pack, member), Arc::new(hit)));
                self.hits.contents.extend(hits);
            }
        }
        Ok(())
    }

    /// The contents of an index that fit, by pack: their members.
    fn index(&self, need: &Need) -> Result<Vec<PackHits>> {
        self.search.progress.check()?;
        let key = format!("{}{}", mailbox_prefix(&self.mailbox.id), need.object);
        let sealed = need.reference.read(self.search.repository.store(), &key, INDEX_BYTES)?;
        let mut sections = Sections::open(&key, &sealed, &self.mailbox.unseal)?;
        let mut found = Vec::new();
        while let Some(section) = sections.next_section()? {
            let mut hits = Vec::new();
            let mut member = 0;
            while let Some(line) = sections.next_line()? {
                let line: Line<'_> = parse(&key, line)?;
                if self.search.query.fits(&line) {
                    hits.push((member, Hit::of(&key, line)?));
                }
                member += 1;
            }
            found.push(PackHits { pack: section.pack, hits });
        }
        Ok(found)
    }

    /// Notes a failure that concerns one object.
    fn unless_local<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if super::is_about_one(&e) => {
                self.problem(&e.to_string());
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn problem(&mut self, reason: &str) {
        let problem = Problem { what: self.mailbox.display_name(), reason: reason.to_owned() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn finish(self) -> (Vec<Found>, Vec<Problem>) {
        let ids = &self.search.snapshots.ids;
        let mailbox = self.mailbox.display_name();
        let found = |row: Row| {
            let name = decode_name(&row.entry.name).unwrap_or_default();
            let snapshot = ids[row.last].clone();
            let id = MessageId::new(&snapshot, &self.mailbox.id, &row.folder, &row.key);
            Found {
                time_ns: parse_time(&row.entry.content.mtime).unwrap_or_default(),
                mailbox: mailbox.clone(),
                folder: if row.folder.is_empty() { "INBOX".into() } else { readable(&row.folder) },
                id: id.to_string(),
                snapshot,
                first_snapshot: ids[row.first].clone(),
                flags: String::from_utf8_lossy(maildir::flags(&name)).into_owned(),
                mtime: row.entry.content.mtime,
                bytes: row.entry.content.size,
                headers: row.hit.headers.clone(),
            }
        };
        (self.rows.into_values().map(found).collect(), self.problems)
    }
}

impl Hit {
    fn of(object: &str, line: Line<'_>) -> Result<Self> {
        let sum = parse_sum(line.sha256)
            .ok_or_else(|| Error::damaged(object, "has a hash that is none"))?;
        let Line { message_id, from, to, subject, date, .. } = line;
        let own = |field: Option<Field<'_>>| field.map(|field| field.0.into_owned());
        let (message_id, from, to, subject) = (own(message_id), own(from), own(to), own(subject));
        Ok(Self { sum, headers: Headers { message_id, from, to, subject, date } })
    }
}
