//! Sees messages in a folder of an IMAP server by asking again and again: what came since then was there when the server
//! said that there is more. On a thread of its own, so that a busy generator does not look late.

mod place;
mod reader;
mod wire;

use std::thread;
use std::time::{Duration, Instant};

use smtp::tls::Tls;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch as flag};
use tokio::time::{sleep, timeout};

pub use self::place::{BadPlace, Place};
pub use self::reader::{Fetched, Opened, Reader};
pub use self::wire::ImapError;
use self::wire::{FETCHED, Heard, Wire};
use super::{Judge, SEEN_MAX, Seen, Sight, Watch, WatchError};

/// A folder, and how it is looked at.
#[derive(Clone)]
pub struct Folder {
    /// Where it is.
    pub place: Place,
    /// The user's.
    pub password: String,
    /// For `imaps`; otherwise for STARTTLS, which is then a must. Without it only this host is looked at.
    pub tls: Option<Tls>,
    /// The pause between two looks: messages are seen so late at most, and as much later as a look takes.
    pub interval: Duration,
}

/// Watches a folder. When this returns, all that comes from then on is seen. A connection that breaks is made again,
/// and nothing is missed for it.
pub async fn watch(folder: Folder, judge: Judge) -> Result<Watch, WatchError> {
    let place = folder.place.to_string();
    let broken = |e| WatchError::Place(place.clone(), e);
    let (seen_to, seen) = mpsc::channel(SEEN_MAX);
    let (ready_to, ready) = oneshot::channel();
    let (ended_to, ended) = oneshot::channel();
    let (stop, stopping) = flag::channel(false);
    let resolution = folder.interval;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let run = {
        let place = place.clone();
        move || {
            let mut looking = Looking {
                folder,
                judge,
                seen: seen_to,
                stopping,
                since: None,
                sight: Sight::default(),
            };
            let ended = runtime.block_on(looking.run(ready_to));
            let ended = ended.map_err(|e| WatchError::Imap(place, e));
            let _ = ended_to.send(ended.map(|()| looking.sight));
        }
    };
    thread::Builder::new().name("imap".into()).spawn(run).map_err(broken)?;
    let stop = Box::new(move || {
        stop.send_replace(true);
    });
    let watch = Watch { seen, ended, stop, resolution };
    match ready.await {
        Ok(()) => Ok(watch),
        Err(_) => Err(watch.failure().await),
    }
}

struct Looking {
    folder: Folder,
    judge: Judge,
    seen: mpsc::Sender<Seen>,
    stopping: flag::Receiver<bool>,
    /// The folder's validity, and the UID that the next message has or a higher one.
    since: Option<(u32, u32)>,
    sight: Sight,
}

/// What a session knows.
struct Session {
    wire: Wire,
    exists: u32,
    /// When it was said that there is more, if that was not looked at.
    more: Option<Instant>,
    looked: Instant,
}

impl Looking {
    async fn run(&mut self, ready: oneshot::Sender<()>) -> Result<(), ImapError> {
        let mut session = self.begin().await?;
        let _ = ready.send(());
        loop {
            let is_over = self.pause(&session).await;
            match self.look(&mut session).await {
                Ok(()) if is_over || self.seen.is_closed() => {
                    let bye = session.wire.command("LOGOUT", "LOGOUT", &self.judge);
                    let _ = timeout(LAST_WORDS, bye).await;
                    return Ok(());
                }
                Ok(()) => {}
                Err(ImapError::AnotherFolder) => return Err(ImapError::AnotherFolder),
                Err(error) => session = self.begin_again(error).await?,
            }
        }
    }

    /// Waits for the next look. Gives whether it is the last.
    async fn pause(&mut self, session: &Session) -> bool {
        if session.more.is_none() && !*self.stopping.borrow() {
            tokio::select! {
                _ = self.stopping.changed() => {}
                () = sleep(self.folder.interval) => {}
            }
        }
        *self.stopping.borrow()
    }

    /// Makes a session. From the first on, messages are those that were not there.
    async fn begin(&mut self) -> Result<Session, ImapError> {
        let Folder { place, password, tls, .. } = &self.folder;
        let mut wire = Wire::connect(place, password, tls.as_ref(), &self.judge).await?;
        let examine = format!("EXAMINE {}", place::quoted(&place.folder));
        let (mut exists, mut validity, mut next) = (0, None, None);
        for heard in wire.command("EXAMINE", &examine, &self.judge).await? {
            match heard {
                Heard::Exists(count) => exists = count,
                Heard::Validity(uid) => validity = Some(uid),
                Heard::UidNext(uid) => next = Some(uid),
                _ => {}
            }
        }
        let (Some(validity), Some(next)) = (validity, next) else {
            return Err(ImapError::Protocol("no UIDVALIDITY or UIDNEXT for the folder".into()));
        };
        let (known, since) = *self.since.get_or_insert((validity, next));
        if known != validity {
            return Err(ImapError::AnotherFolder);
        }
        let now = Instant::now();
        Ok(Session { wire, exists, more: (since < next).then_some(now), looked: now })
    }

    /// After a session broke: tries until there is one, or the end is asked for and there is still none.
    async fn begin_again(&mut self, mut error: ImapError) -> Result<Session, ImapError> {
        self.sight.breaks += 1;
        loop {
            if self.seen.is_closed() {
                return Err(error);
            }
            let is_last = *self.stopping.borrow();
            match self.begin().await {
                Ok(session) => return Ok(session),
                Err(ImapError::AnotherFolder) => return Err(ImapError::AnotherFolder),
                Err(_) if is_last => return Err(error),
                Err(next) => error = next,
            }
            tokio::select! {
                _ = self.stopping.changed() => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    /// Asks whether there is more, and fetches it.
    async fn look(&mut self, session: &mut Session) -> Result<(), ImapError> {
        for heard in session.wire.command("NOOP", "NOOP", &self.judge).await? {
            session.hear(&heard);
        }
        let now = Instant::now();
        self.sight.slowest_look = self.sight.slowest_look.max(now - session.looked);
        session.looked = now;
        let (Some(at), Some((_, since))) = (session.more.take(), self.since) else { return Ok(()) };
        let exists = session.exists;
        // `*` is the last message, even if that is an old one (RFC 3501, 6.4.8).
        session.wire.say(&format!("UID FETCH {since}:* {FETCHED}")).await?;
        let mut next = since;
        let fetched = loop {
            match session.wire.next(&self.judge).await {
                Ok(Heard::Done(Ok(()))) => break Ok(()),
                Ok(Heard::Done(Err(why)) | Heard::Bye(why)) => {
                    break Err(ImapError::Refused("FETCH", why));
                }
                Ok(Heard::Message(number, uid, what)) if uid >= since => {
                    next = next.max(uid.saturating_add(1));
                    // Those that came since are the last.
                    let at = if number > exists { Instant::now() } else { at };
                    if self.seen.send(Seen { what, at }).await.is_err() {
                        break Ok(());
                    }
                }
                Ok(heard) => session.hear(&heard),
                Err(error) => break Err(error),
            }
        };
        // What was told is not told again, even if the connection broke.
        self.since = self.since.map(|(validity, _)| (validity, next));
        fetched
    }
}

impl Session {
    fn hear(&mut self, heard: &Heard) {
        match heard {
            Heard::Exists(count) => {
                if *count > self.exists {
                    self.more.get_or_insert_with(Instant::now);
                }
                self.exists = *count;
            }
            Heard::Expunged => self.exists = self.exists.saturating_sub(1),
            _ => {}
        }
    }
}

/// After a connection could not be made again.
const RETRY: Duration = Duration::from_millis(500);
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
