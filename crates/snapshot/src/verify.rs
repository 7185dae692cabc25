//! Verify: are the objects of a snapshot there, are they the bytes that were stored, do they hold
//! the messages that the catalogs promise? The first two levels need no identity.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalog::{self, CatalogHead, Content, Contents, Line, Need};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::hash::Sum;
use crate::index::{INDEX_BYTES, Member, Sections};
use crate::layout::{catalog_name, mailbox_key, mailbox_prefix, pack_name};
use crate::manifest::Manifest;
use crate::object::{CheckedReader, ObjectRef};
use crate::progress::Progress;
use crate::repository::Repository;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every object is there and has its size.
    Listed,
    /// Every object is read and has its SHA-256.
    Stored,
    /// Every object is opened, every message has its SHA-256 and every catalog entry its message.
    Content,
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// How closely.
    pub level: Level,
    /// The share of packs that is read, in percent (0 to 100); the rest is only listed.
    pub sample_percent: f64,
    /// Seed of the choice.
    pub seed: u64,
    /// Objects at work at the same time.
    pub threads: usize,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Snapshots that were verified.
    pub snapshots: Vec<String>,
    /// Mailboxes, each counted once.
    pub mailboxes: u64,
    /// Plain trees, each counted once.
    pub trees: u64,
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Messages whose content was checked.
    pub messages: u64,
    /// Damage.
    pub problems: Vec<Problem>,
    /// Whether there is none.
    pub is_sound: bool,
}

/// A damaged or missing object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object's key.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Verifies snapshots. A manifest that could not be read is the caller's to report.
pub fn run(
    repository: &Repository,
    manifests: &[Manifest],
    identity: Option<&Unseal>,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let identity = match identity {
        _ if options.level < Level::Content => None,
        _ if !repository.is_encrypted() => Some(&Unseal::Plain),
        Some(identity) => Some(identity),
        None => return Err(Error::NoIdentity),
    };
    let mut catalogs = BTreeMap::new();
    let mut trees = BTreeSet::new();
    for manifest in manifests {
        for (mailbox, catalog) in &manifest.mailboxes {
            let of_mailbox: &mut BTreeMap<_, _> = catalogs.entry(mailbox.as_str()).or_default();
            of_mailbox.insert(catalog.catalog.as_str(), &catalog.reference);
            if catalog.tree {
                trees.insert(mailbox.as_str());
            }
        }
    }
    Progress::add(&progress.units, catalogs.len() as u64);
    let run = Run { repository, identity, options, progress, report: Mutex::default() };
    let jobs: Vec<_> = catalogs.into_iter().collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || {
            while let Some((mailbox, catalogs)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress.check()?;
                run.mailbox(mailbox, catalogs)?;
                Progress::add(&progress.units_done, 1);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let join = |t: thread::ScopedJoinHandle<'_, Result<()>>| t.join().expect("no panic");
        threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    let mut report = run.report.into_inner().expect("no holder panics");
    report.snapshots = manifests.iter().map(|manifest| manifest.id.clone()).collect();
    report.trees = trees.len() as u64;
    report.mailboxes = jobs.len() as u64 - report.trees;
    report.problems.sort_unstable();
    report.is_sound = report.problems.is_empty();
    Ok(report)
}

struct Run<'r> {
    repository: &'r Repository,
    identity: Option<&'r Unseal>,
    options: &'r Options,
    progress: &'r Progress,
    report: Mutex<Report>,
}

impl Run<'_> {
    fn mailbox(&self, mailbox: &str, catalogs: &BTreeMap<&str, &ObjectRef>) -> Result<()> {
        // Its content is only known to who can open it; that it is there, to everyone.
        let key = mailbox_key(mailbox, self.repository.is_encrypted());
        match self.repository.store().size(&key) {
            Ok(_) => self.count(1, 0),
            Err(e) => self.object_failed(&key, e.into())?,
        }
        let prefix = mailbox_prefix(mailbox);
        let present = self.list(&prefix)?;
        let mut needs: BTreeMap<String, Need> = BTreeMap::new();
        let mut heads = Vec::new();
        for (catalog, reference) in catalogs {
            let key = format!("{prefix}{}", catalog_name(catalog));
            let bytes = match reference.read(self.repository.store(), &key, u64::MAX) {
                Ok(bytes) => bytes,
                Err(e) => {
                    self.object_failed(&key, e)?;
                    continue;
                }
            };
            self.count(1, reference.size);
            match catalog::decode_head(&key, mailbox, &bytes) {
                Ok((head, _)) => {
                    needs.extend(head.needs.iter().map(|need| (need.object.clone(), need.clone())));
                    heads.push((*catalog, *reference, head));
                }
                Err(e) => self.object_failed(&key, e)?,
            }
        }
        for (name, need) in &needs {
            self.progress.check()?;
            let key = format!("{prefix}{name}");
            match present.get(&key) {
                None => self.problem(&key, "is missing"),
                Some(size) if *size != need.reference.size => {
                    let expected = need.reference.size;
                    self.problem(&key, &format!("has {size} bytes, not {expected}"));
                }
                Some(_) if self.options.level >= Level::Stored && self.is_sampled(name) => {
                    // Packs are hashed on the way when their content is read below.
                    let is_read_below = self.identity.is_some() && need.pack.is_some();
                    if !is_read_below {
                        let mut reader = need.reference.stream(self.repository.store(), &key);
                        match reader.finish() {
                            Ok(()) => self.count(1, need.reference.size),
                            Err(e) => self.object_failed(&key, e)?,
                        }
                    }
                }
                Some(_) => self.count(1, 0),
            }
        }
        match self.identity {
            Some(identity) => self.content(mailbox, &heads, &needs, &present, identity),
            None => Ok(()),
        }
    }

    fn content(
        &self,
        mailbox: &str,
        heads: &[(&str, &ObjectRef, CatalogHead)],
        needs: &BTreeMap<String, Need>,
        present: &BTreeMap<String, u64>,
        identity: &Unseal,
    ) -> Result<()> {
        let opened = match self.repository.open_mailbox(mailbox, identity) {
            Ok(opened) => opened,
            Err(Error::WrongIdentity { object }) => return Err(Error::WrongIdentity { object }),
            Err(e) => {
                let key = mailbox_key(mailbox, self.repository.is_encrypted());
                return self.object_failed(&key, e);
            }
        };
        let prefix = mailbox_prefix(mailbox);
        let mut packs = Packs {
            prefix: &prefix,
            needs,
            present,
            described: BTreeSet::new(),
            sizes: BTreeMap::new(),
        };
        let mut are_indexes_sound = true;
        for need in needs.values().filter(|need| !need.sections.is_empty()) {
            let key = format!("{prefix}{}", need.object);
            match self.index(&key, need, &mut packs, &opened.unseal) {
                Ok(()) => {}
                Err(e) => {
                    are_indexes_sound = false;
                    self.object_failed(&key, e)?;
                }
            }
        }
        let described = packs.described;
        for need in needs.values().filter(|need| need.pack.is_some() && are_indexes_sound) {
            if !described.contains(&need.object) {
                self.problem(&format!("{prefix}{}", need.object), "is in no index");
            }
        }
        let sizes = packs.sizes;
        for (catalog, reference, head) in heads {
            // Numbers are a head's own: another chain may have given them to other packs.
            let sizes: BTreeMap<u32, &[u64]> = (head.needs.iter())
                .filter_map(|need| Some((need.pack?, sizes.get(&need.object)?.as_slice())))
                .collect();
            let key = format!("{prefix}{}", catalog_name(catalog));
            let store = self.repository.store();
            match catalog::read(store, mailbox, catalog, reference, &opened.unseal) {
                Ok((_, contents)) => self.entries(&key, head, &contents, &sizes),
                Err(e) => self.object_failed(&key, e)?,
            }
        }
        Ok(())
    }

    /// Checks the packs that an index describes; notes the sizes of their members.
    fn index(&self, key: &str, need: &Need, packs: &mut Packs<'_>, unseal: &Unseal) -> Result<()> {
        let sealed = need.reference.read(self.repository.store(), key, INDEX_BYTES)?;
        let mut sections = Sections::open(key, &sealed, unseal)?;
        while let Some(section) = sections.next_section()? {
            let name = pack_name(&section.pack, self.repository.is_encrypted());
            // An index may outlive some of its packs; of those that are missing or cut that was said.
            let Some(pack) = packs.needs.get(&name) else { continue };
            let pack_key = format!("{}{name}", packs.prefix);
            packs.described.insert(name.clone());
            if packs.present.get(&pack_key) != Some(&pack.reference.size) {
                continue;
            }
            let members = sections.members()?;
            match self.pack(&pack_key, pack, &members, unseal) {
                Ok(()) => {
                    let sizes = members.iter().map(|member| member.size).collect();
                    packs.sizes.insert(name, sizes);
                }
                Err(e) => self.object_failed(&pack_key, e)?,
            }
        }
        Ok(())
    }

    /// Checks a pack against its index.
    fn pack(&self, key: &str, need: &Need, members: &[Member], unseal: &Unseal) -> Result<()> {
        if !self.is_sampled(&need.object) {
            return Ok(());
        }
        let mut object = need.reference.stream(self.repository.store(), key);
        let raw = need.raw.unwrap_or(0);
        let checked = self.members(key, &mut object, raw, members, unseal);
        match object.failure() {
            Some(failure) => Err(failure),
            None => checked,
        }
    }

    fn members(
        &self,
        key: &str,
        object: &mut CheckedReader<'_>,
        raw: u64,
        members: &[Member],
        unseal: &Unseal,
    ) -> Result<()> {
        let damaged = |e: std::io::Error| Error::damaged(key, e);
        let unsealed = unseal.reader(&mut *object).map_err(|e| Error::open(key, e))?;
        let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 17, unsealed))
            .map_err(damaged)?;
        let mut archive = tar::Archive::new(decoder.take(raw));
        let mut members = members.iter();
        for entry in archive.entries().map_err(damaged)?.raw(true) {
            self.progress.check()?;
            let mut entry = entry.map_err(damaged)?;
            let expected = members
                .next()
                .ok_or_else(|| Error::damaged(key, "has more members than its index"))?;
            let mut hasher = Sha256::new();
            let mut chunk = [0; 1 << 16];
            loop {
                let got = entry.read(&mut chunk).map_err(damaged)?;
                if got == 0 {
                    break;
                }
                hasher.update(&chunk[..got]);
            }
            if <Sum>::from(hasher.finalize()) != expected.sum {
                return Err(Error::damaged(key, "has a message with another SHA-256 than stored"));
            }
            self.report.lock().expect("no holder panics").messages += 1;
            Progress::add(&self.progress.messages, 1);
            Progress::add(&self.progress.bytes, expected.size);
        }
        if members.next().is_some() {
            return Err(Error::damaged(key, "has fewer members than its index"));
        }
        drop(archive);
        object.finish()?;
        self.count(1, object.size());
        Ok(())
    }

    /// Every entry must have its member, of its size, in a pack that is whole.
    fn entries(
        &self,
        key: &str,
        head: &CatalogHead,
        contents: &Contents,
        sizes: &BTreeMap<u32, &[u64]>,
    ) {
        let named: BTreeSet<u32> = head.needs.iter().filter_map(|need| need.pack).collect();
        let lacks = |content: &Content| {
            // A pack that is damaged was reported as such; one that nobody names was not.
            let Some(members) = sizes.get(&content.pack) else {
                return !named.contains(&content.pack);
            };
            members.get(content.member as usize) != Some(&content.size)
        };
        let messages = contents.folders.values().flat_map(|folder| folder.messages.values());
        let files = contents.files.values().filter_map(|line| match line {
            Line::File { content, .. } => Some(content),
            _ => None,
        });
        let lacking = messages.map(|message| &message.content).chain(files).filter(|c| lacks(c));
        match lacking.count() {
            0 => {}
            count => self.problem(key, &format!("has {count} entries that no pack holds")),
        }
    }

    fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        let mut present = BTreeMap::new();
        self.repository.store().list(prefix, &mut |object| {
            present.insert(object.key, object.size_bytes);
        })?;
        Ok(present)
    }

    /// Everything but packs is always read; of packs, the sampled share.
    fn is_sampled(&self, name: &str) -> bool {
        if !name.contains(".tar.") || self.options.sample_percent >= 100.0 {
            return true;
        }
        let sum = crate::hash::sha256(format!("{}/{name}", self.options.seed).as_bytes());
        let draw = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
        f64::from(draw) / f64::from(u32::MAX) * 100.0 < self.options.sample_percent
    }

    fn object_failed(&self, key: &str, error: Error) -> Result<()> {
        if !error.is_local_to_object() {
            return Err(error);
        }
        match error {
            Error::Damaged { object, reason } => self.problem(&object, &reason),
            Error::Store(e) if e.is_not_found() => self.problem(key, "is missing"),
            other => self.problem(key, &other.to_string()),
        }
        Ok(())
    }

    fn problem(&self, object: &str, reason: &str) {
        let problem = Problem { object: object.to_owned(), reason: reason.to_owned() };
        let mut report = self.report.lock().expect("no holder panics");
        if report.problems.len() < PROBLEMS_MAX && !report.problems.contains(&problem) {
            report.problems.push(problem);
        }
    }

    fn count(&self, objects: u64, bytes: u64) {
        let mut report = self.report.lock().expect("no holder panics");
        report.objects += objects;
        report.bytes_read += bytes;
        Progress::add(&self.progress.stored_bytes, bytes);
    }
}

/// The packs of a mailbox while they are verified.
struct Packs<'p> {
    prefix: &'p str,
    needs: &'p BTreeMap<String, Need>,
    present: &'p BTreeMap<String, u64>,
    /// The packs that were found in an index, by name.
    described: BTreeSet<String>,
    /// The sizes of the members of each sound pack, by its name.
    sizes: BTreeMap<String, Vec<u64>>,
}

const PROBLEMS_MAX: usize = 10_000;
