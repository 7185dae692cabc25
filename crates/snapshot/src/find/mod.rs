//! Header search: the indexes of packs tell which contents fit, the catalogs where they are. No pack
//! is read. Mailboxes are worked on side by side, the indexes of a single one likewise.

mod mailbox;
mod query;

use std::collections::BTreeMap;

use serde::Serialize;

use self::mailbox::Search;
pub use self::query::{Query, Text};
use crate::choose::{Chosen, choose, newest_beside, no_snapshot};
use crate::contents::unseal;
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::manifest::{self, CatalogRef, Manifest};
use crate::named;
use crate::parallel;
use crate::progress::Progress;
use crate::repository::{OpenMailbox, Repository};

/// Where to look, and for what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only the mailbox with this name, path or id.
    pub mailbox: Option<String>,
    /// The snapshots to look into.
    pub scope: Scope,
    /// Only what is not in the newest snapshot of its store any more, in whatever folder.
    pub deleted: bool,
    /// What to look for.
    pub query: Query,
    /// Mailboxes or indexes at work at the same time.
    pub threads: usize,
}

/// Snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every one; each content of a mailbox is found once, in the last one that has it.
    All,
    /// This one: an id, the unique start of one, or `latest`.
    One(String),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Messages, the oldest first; those of one time by mailbox, folder and id.
    pub messages: Vec<Found>,
    /// Snapshots that were looked into.
    pub snapshots: u64,
    /// Mailboxes that were looked into.
    pub mailboxes: u64,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// Whether there is any problem.
    pub is_incomplete: bool,
}

/// A message that fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// When it was received (the file's time), in nanoseconds since 1970.
    #[serde(skip)]
    pub time_ns: i64,
    /// Its mailbox's name.
    pub mailbox: String,
    /// Its folder; `INBOX` for the mailbox itself.
    pub folder: String,
    /// Its id.
    pub id: String,
    /// The snapshot that the id is of: the last one that has it.
    pub snapshot: String,
    /// The first snapshot that has it, of those that were looked into.
    pub first_snapshot: String,
    /// Flags.
    pub flags: String,
    /// When it was received, seconds since 1970 with decimals (INTERNALDATE).
    pub mtime: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Its header fields.
    #[serde(flatten)]
    pub headers: crate::headers::Headers,
}

/// A snapshot or mailbox that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The mailbox's name, its id where the name could not be read, or the snapshot's id.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Searches.
pub fn run(
    repository: &Repository,
    identity: Option<&Unseal>,
    options: &Options,
    progress: &Progress,
) -> Result<Report> {
    let identity = unseal(repository, identity)?;
    let mut report = Report::default();
    let snapshots = Snapshots::read(repository, options, &mut report)?;
    let jobs = snapshots.jobs(repository, identity, options)?;
    Progress::add(&progress.units, jobs.len() as u64);
    let search = Search {
        repository,
        identity,
        snapshots: &snapshots,
        is_by_content: options.deleted || options.scope == Scope::All,
        query: &options.query,
        // A single mailbox gets all threads.
        threads: (options.threads / jobs.len().max(1)).max(1),
        progress,
    };
    let found = parallel::map(options.threads, &jobs, |job| {
        let found = search.mailbox(job);
        Progress::add(&progress.units_done, 1);
        found
    });
    for found in found {
        let (messages, problems) = found?;
        report.messages.extend(messages);
        report.problems.extend(problems);
    }
    report.messages.sort_unstable();
    report.problems.sort_unstable();
    report.snapshots = snapshots.ids.len() as u64;
    report.mailboxes = jobs.len() as u64;
    report.is_incomplete = !report.problems.is_empty();
    Ok(report)
}

/// The snapshots to look into, and what they have of each mailbox.
#[derive(Default)]
struct Snapshots {
    /// Ids, the oldest first.
    ids: Vec<String>,
    /// By mailbox, the oldest first.
    spans: BTreeMap<String, Vec<Span>>,
    /// The place of the newest snapshot of each store, by host and path.
    newest: BTreeMap<(String, String), usize>,
    /// The store of each.
    stores: Vec<(String, String)>,
    /// By place, that of the newest snapshot of the same store, if that is only looked at for what it
    /// still has.
    present: Vec<usize>,
}

/// Consecutive snapshots of a store that have one catalog of a mailbox.
struct Span {
    /// Places in [`Snapshots::ids`].
    first: usize,
    last: usize,
    catalog: CatalogRef,
}

/// A mailbox to look into; open, if it was looked up by name.
struct Job<'s> {
    id: &'s str,
    spans: &'s [Span],
    open: Option<OpenMailbox>,
}

impl Snapshots {
    fn read(
        repository: &Repository,
        options: &Options,
        Report { problems, notices, .. }: &mut Report,
    ) -> Result<Self> {
        let store = repository.store();
        let mut snapshots = Self::default();
        match &options.scope {
            Scope::One(wanted) => {
                let Chosen { manifest, notice } = choose(store, wanted, None)?;
                notices.extend(notice);
                let newest =
                    options.deleted.then(|| newest_beside(store, &manifest)).transpose()?;
                snapshots.add(manifest);
                newest.into_iter().for_each(|newest| snapshots.add(newest));
            }
            Scope::All => {
                let ids = manifest::ids(store)?;
                if ids.is_empty() {
                    return Err(no_snapshot());
                }
                // A few at a time: of mailboxes that do not change, the rest is not kept.
                for ids in ids.chunks(parallel::WAITING) {
                    let read = |id: &String| Manifest::read(store, id);
                    for (id, read) in ids.iter().zip(parallel::map(ids.len(), ids, read)) {
                        match read {
                            Ok(manifest) => snapshots.add(manifest),
                            Err(e) if is_about_one(&e) => {
                                problems.push(Problem { what: id.clone(), reason: e.to_string() });
                            }
                            Err(e) => return Err(e),
                        }
                    }
                }
            }
        }
        if options.deleted {
            let newest = |store| snapshots.newest[store];
            snapshots.present = snapshots.stores.iter().map(newest).collect();
        }
        Ok(snapshots)
    }

    fn add(&mut self, manifest: Manifest) {
        let at = self.ids.len();
        let of = (manifest.host, manifest.store);
        let before = self.newest.insert(of.clone(), at);
        self.stores.push(of);
        // Trees hold no mail.
        for (mailbox, catalog) in manifest.mailboxes.into_iter().filter(|(_, c)| !c.tree) {
            let spans = self.spans.entry(mailbox).or_default();
            match spans.last_mut() {
                Some(span) if Some(span.last) == before && span.catalog.is_same(&catalog) => {
                    span.last = at;
                    span.catalog.tag = catalog.tag;
                }
                _ => spans.push(Span { first: at, last: at, catalog }),
            }
        }
        self.ids.push(manifest.id);
    }

    fn jobs<'s>(
        &'s self,
        repository: &Repository,
        identity: &Unseal,
        options: &Options,
    ) -> Result<Vec<Job<'s>>> {
        let mut jobs: Vec<Job<'s>> =
            self.spans.iter().map(|(id, spans)| Job { id, spans, open: None }).collect();
        let Some(wanted) = &options.mailbox else { return Ok(jobs) };
        let last = |job: &Job<'s>| Some((job.id, &job.spans.last()?.catalog));
        let known: Vec<named::Known<'_>> = jobs.iter().filter_map(last).collect();
        let whose =
            if self.ids.len() == 1 { "the snapshot has no" } else { "the snapshots have no" };
        let mut open = named::named(repository, identity, &known, wanted, whose)?;
        jobs.retain_mut(|job| {
            job.open = open.iter().position(|open| open.id == job.id).map(|at| open.remove(at));
            job.open.is_some()
        });
        Ok(jobs)
    }
}

/// Whether others may be read after this failure.
fn is_about_one(error: &Error) -> bool {
    error.is_local_to_object() || matches!(error, Error::TooNew { .. })
}
