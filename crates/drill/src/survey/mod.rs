//! Reads every place where a copy may lie, to its end, and writes down what lies there. A place that cannot be read is
//! written down as that: what it would have shown is unknown.

mod bounce;
mod imap;
mod queue;
mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use load::letters::{read_mark, sum};
use maildir::Pattern;

use self::queue::asked;
pub(crate) use self::queue::{Waiting, read as read_queue};
#[doc(hidden)]
pub use self::queue::{exim_files, postfix_file};
pub(crate) use self::store::count as count_store;
use crate::journal::{Event, Folder, Found, Imap, Journal, Moment, Place, PlaceKind, Survey};
use crate::reach;
use crate::scenario::{Queue, Where};
use crate::world::World;

/// Where a place is, and how it is read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A store of Maildirs, with the path of each recipient's mailbox.
    Store { root: PathBuf, mailboxes: Arc<HashMap<PathBuf, u32>> },
    /// Mailboxes over IMAP, of people with their numbers.
    Imap { reading: reach::Reading, people: Arc<Vec<(u32, String)>> },
    /// A queue.
    Queue(Queue),
    /// A queue that a command tells of, where that runs.
    Asked(Vec<String>, Where),
    /// A folder of messages, a file each.
    Files(PathBuf),
}

impl Source {
    /// Whether both show the same copies.
    pub(crate) fn is_same(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Store { root: one, .. }, Source::Store { root: other, .. })
            | (Source::Files(one), Source::Files(other)) => one == other,
            (Source::Queue(one), Source::Queue(other)) => one == other,
            (Source::Asked(one, on), Source::Asked(other, there)) => (one, on) == (other, there),
            (Source::Imap { reading: one, .. }, Source::Imap { reading: other, .. }) => {
                one.is_same(other)
            }
            _ => false,
        }
    }
}

/// A place of the journal with its source.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    pub(crate) place: Place,
    pub(crate) source: Source,
}

/// Who mail is for, by address.
pub(crate) type Recipients = Arc<HashMap<String, u32>>;

/// What is needed to read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) run: u64,
    pub(crate) recipients: Recipients,
    pub(crate) journal: Journal,
}

impl Reading {
    /// Reads all places.
    pub(crate) async fn survey(
        &self,
        world: &World,
        places: &[Readable],
        moment: Moment,
        serving: Vec<u16>,
    ) {
        self.journal.note(Event::Survey(Survey { moment, serving }));
        // What a snapshot gives back is no place where mail is.
        let is_meant = |kind| (kind == PlaceKind::Snapshot) == (moment == Moment::Snapshot);
        for (p, readable) in (0..).zip(places).filter(|(_, it)| is_meant(it.place.kind)) {
            let (reading, source) = (self.clone(), readable.source.clone());
            let read = match &readable.source {
                Source::Imap { reading: place, people } => {
                    let limited = tokio::time::timeout(IMAP, self.read_imap(p, place, people));
                    Ok(limited.await.unwrap_or_else(|_| Err("it took too long".into())))
                }
                Source::Asked(argv, on) => Ok(self.ask(world, p, argv, on).await),
                _ => tokio::task::spawn_blocking(move || reading.read(p, &source)).await,
            };
            let failed = match read {
                Ok(Ok(foreign)) => Event::ReadEnd { p, failed: None, foreign },
                Ok(Err(why)) => Event::ReadEnd { p, failed: Some(why), foreign: 0 },
                Err(_) => {
                    Event::ReadEnd { p, failed: Some("the reader panicked".into()), foreign: 0 }
                }
            };
            self.journal.note(failed);
        }
        self.journal.note(Event::SurveyEnd { moment });
    }

    async fn read_imap(
        &self,
        p: u16,
        place: &reach::Reading,
        people: &[(u32, String)],
    ) -> Result<u64, String> {
        self.journal.note(Event::Read { p });
        let mut telling = Telling { reading: self, p, foreign: 0 };
        imap::read(place, people, &mut telling).await?;
        Ok(telling.foreign)
    }

    async fn ask(&self, world: &World, p: u16, argv: &[String], on: &Where) -> Result<u64, String> {
        self.journal.note(Event::Read { p });
        for m in asked::ask_until_quiet(world, argv, on).await? {
            self.journal.note(Event::Found(Found { m, p, ..Found::default() }));
        }
        Ok(0)
    }

    /// Gives how many messages are not of this run.
    fn read(&self, p: u16, source: &Source) -> Result<u64, String> {
        self.journal.note(Event::Read { p });
        let mut telling = Telling { reading: self, p, foreign: 0 };
        match source {
            Source::Store { root, mailboxes } => store::read(root, mailboxes, &mut telling)?,
            Source::Queue(queue) => {
                let is_all = queue::read(queue, &mut |waiting| {
                    for address in &waiting.to {
                        let r = self.recipients.get(address).copied();
                        telling.tell(r, &waiting.message, None);
                    }
                    true
                })?;
                if !is_all {
                    return Err("messages moved on in it for as long as it was read".into());
                }
            }
            Source::Imap { .. } | Source::Asked(..) => return Err("it has no files here".into()),
            Source::Files(dir) => {
                queue::read_files(dir, &mut |message| telling.tell(None, message, None))?;
            }
        }
        Ok(telling.foreign)
    }
}

/// Writes down what one place holds.
struct Telling<'r> {
    reading: &'r Reading,
    p: u16,
    /// Messages that are not of this run.
    foreign: u64,
}

impl Telling<'_> {
    fn tell(&mut self, r: Option<u32>, message: &[u8], imap: Option<Imap>) {
        let body = body_start(message);
        let mark = read_mark(&message[..body]).filter(|mark| mark.run == self.reading.run);
        let Some(mark) = mark else {
            match bounce::read(&message[..body], &message[body..])
                .filter(|bounce| bounce.mark.run == self.reading.run)
            {
                Some(bounce) => {
                    let r =
                        bounce.recipient.and_then(|to| self.reading.recipients.get(&to).copied());
                    self.reading.journal.note(Event::Bounced {
                        m: bounce.mark.index,
                        r,
                        p: Some(self.p),
                    });
                }
                None => self.foreign += 1,
            }
            return;
        };
        let bad = sum(&message[body..]) != mark.sum;
        self.reading.journal.note(Event::Found(Found { m: mark.index, r, p: self.p, bad, imap }));
    }
}

impl store::Taker for Telling<'_> {
    fn folder(&mut self, owner: Option<u32>, facts: &store::FolderFacts) {
        let Some(r) = owner else { return };
        let store::FolderFacts { name, validity, next } = facts;
        let folder =
            Folder { r, p: self.p, folder: name.clone(), validity: *validity, next: *next };
        self.reading.journal.note(Event::Folder(folder));
    }

    fn message(&mut self, owner: Option<u32>, message: &[u8], imap: Option<Imap>) {
        self.tell(owner, message, imap);
    }
}

/// How many messages wait in the queue of a role; of one that a command tells of, those of this run.
pub(crate) async fn queue_length(world: &World, queue: &Queue, on: &Where) -> Result<u64, String> {
    if let Queue::Command(argv) = queue {
        return asked::ask(world, argv, on).await.map(|waiting| waiting.len() as u64);
    }
    let queue = queue.clone();
    let count = move || {
        let mut count = 0;
        let counted = read_queue(&queue, &mut |_| {
            count += 1;
            true
        });
        counted.map(|_| count)
    };
    tokio::task::spawn_blocking(count).await.map_err(|e| e.to_string())?
}

/// Where the body begins: after the first empty line.
pub(crate) fn body_start(message: &[u8]) -> usize {
    let mut start = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        start += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return start;
        }
    }
    message.len()
}

/// The mailbox of each recipient in a store.
pub(crate) fn mailboxes(
    maildirs: &str,
    layout: &str,
    recipients: &[String],
) -> Result<HashMap<PathBuf, u32>, String> {
    let text = format!("{maildirs}/{layout}");
    let pattern: Pattern = text.parse().map_err(|e| format!("the layout `{layout}`: {e}"))?;
    let path =
        |(at, address): (u32, &String)| (pattern.expand(address.as_bytes(), "".as_ref()), at);
    Ok((0..).zip(recipients).map(path).collect())
}

/// Of all mailboxes of a place over IMAP.
const IMAP: Duration = Duration::from_secs(600);
/// Larger messages are no part of any run.
const LONGEST: u64 = 64 << 20;
