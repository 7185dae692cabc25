//! What became of every message after its 250: from accepted to visible, on the generator's own monotonic clock.
//! Watchers see copies and send them through a bounded channel to whoever holds the [`Account`].

mod account;
mod imap;
mod maildir;
mod said;
mod sink;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use self::account::Account;
pub use self::imap::{
    BadPlace, Fetched, Folder, ImapError, Opened, Place, Reader as ImapReader, watch as watch_imap,
};
pub use self::maildir::watch as watch_maildir;
pub use self::sink::{Sink, listen as listen_sink};
pub use self::tally::{Delivery, Sample, Samples};

/// Reads a whole message, and tells whose it is.
pub type Judge = Arc<dyn Fn(&[u8]) -> Judged + Send + Sync>;

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// This run's.
    Ours {
        /// Which.
        index: u64,
        /// Whether its body is the one that was sent.
        sum_ok: bool,
    },
    /// Another run's.
    Foreign,
    /// No run's.
    Other,
}

/// A copy that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub what: What,
    /// When it was there, on our clock.
    pub at: Instant,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A message.
    Message(Judged),
    /// A message that could not be read, and why.
    Unreadable(String),
}

/// Why nothing can be seen, or no more.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A place cannot be looked at.
    #[error("cannot watch {0}: {1}")]
    Place(String, std::io::Error),
    /// The kernel watches no more folders for this user.
    #[error(
        "cannot watch {0}: all watches of this user are taken ({1} here); raise fs.inotify.max_user_watches \
         to three for each mailbox and more, or name one mailbox"
    )]
    Watches(String, usize),
    /// The kernel has no more queues for this user.
    #[error("no inotify queue is left for this user; raise fs.inotify.max_user_instances")]
    Instances,
    /// A folder of an IMAP server cannot be looked at.
    #[error("cannot watch {0}: {1}")]
    Imap(String, ImapError),
    /// A watcher went away without a word.
    #[error("the watcher broke; its last words may be on standard error")]
    Broken,
}

/// How well was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// How often events were lost and everything was looked through instead. Nothing is missed then, but what
    /// came meanwhile was seen late.
    pub overflows: u64,
    /// How often a connection broke and was made again.
    pub breaks: u64,
    /// The longest time between two looks, where it is looked again and again. What came meanwhile was seen so late.
    pub slowest_look: Duration,
}

/// Something that sees copies, in threads or tasks of its own.
pub struct Watch {
    seen: mpsc::Receiver<Seen>,
    ended: oneshot::Receiver<Result<Sight, WatchError>>,
    stop: Box<dyn FnMut() + Send>,
    resolution: Duration,
}

impl Watch {
    /// The next copy; `None` when the watch is over, by itself or after [`Watch::stop`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Seen> {
        self.seen.recv().await
    }

    /// Asks for the end. What was there before is still seen: [`Watch::next`] is to be called until it has no more.
    pub fn stop(&mut self) {
        (self.stop)();
    }

    /// How late a copy may be seen by the nature of the watch, on top of what reading takes.
    pub fn resolution(&self) -> Duration {
        self.resolution
    }

    /// How it ended. What was not taken by then is dropped.
    pub async fn end(mut self) -> Result<Sight, WatchError> {
        self.stop();
        self.seen.close();
        (&mut self.ended).await.unwrap_or(Err(WatchError::Broken))
    }
}

impl Watch {
    /// Why it ended before it began.
    async fn failure(mut self) -> WatchError {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => WatchError::Broken,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies that were seen and not yet taken.
const SEEN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn ours(index: u64) -> What {
        What::Message(Judged::Ours { index, sum_ok: true })
    }

    /// Knows messages by their first line: `ours 7`, `broken 7`, `theirs`.
    pub(super) fn judge() -> Judge {
        Arc::new(|message| {
            let text = String::from_utf8_lossy(message);
            let line = text.lines().next().unwrap_or_default();
            let index = || line.split(' ').nth(1).unwrap().parse().unwrap();
            match line.split(' ').next() {
                Some("ours") => Judged::Ours { index: index(), sum_ok: true },
                Some("broken") => Judged::Ours { index: index(), sum_ok: false },
                Some("theirs") => Judged::Foreign,
                _ => Judged::Other,
            }
        })
    }
}
