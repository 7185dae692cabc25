//! Sees messages come into a mailbox, or a store of them, by inotify. One thread stamps events with our clock, at once;
//! another reads the files. What was there before is not seen, and no time of the file system is used.

mod noting;
mod reading;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, init};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use self::noting::note;
use self::reading::{Over, Reading};
use super::{Judge, SEEN_MAX, Seen, Sight, Watch, WatchError};

/// Watches a mailbox (a folder with `new` and `cur`) or a store of mailboxes, four folders deep at most; mailboxes
/// may come later. When this returns, all that comes from then on is seen.
pub async fn watch(root: &Path, judge: Judge) -> Result<Watch, WatchError> {
    let place = |e: Errno| WatchError::Place(root.display().to_string(), e.into());
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| match e {
        Errno::MFILE => WatchError::Instances,
        e => place(e),
    })?;
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(place)?);
    let (seen_to, seen) = mpsc::channel(SEEN_MAX);
    let (ready_to, ready) = oneshot::channel();
    let (ended_to, ended) = oneshot::channel();
    let run = {
        let (root, wake) = (root.to_owned(), Arc::clone(&wake));
        move || {
            let _ = ended_to.send(run(root, &inotify, &wake, judge, seen_to, ready_to));
        }
    };
    thread::Builder::new()
        .name("maildir".into())
        .spawn(run)
        .map_err(|e| WatchError::Place(root.display().to_string(), e))?;
    let watch =
        Watch { seen, ended, stop: Box::new(move || wake_up(&wake)), resolution: Duration::ZERO };
    match ready.await {
        Ok(()) => Ok(watch),
        Err(_) => Err(watch.failure().await),
    }
}

fn run(
    root: PathBuf,
    inotify: &OwnedFd,
    wake: &OwnedFd,
    judge: Judge,
    seen: mpsc::Sender<Seen>,
    ready: oneshot::Sender<()>,
) -> Result<Sight, WatchError> {
    let place = root.display().to_string();
    let (notes_to, notes) = sync_channel(NOTES_MAX);
    thread::scope(|scope| {
        let noting = thread::Builder::new()
            .name("maildir-clock".into())
            .spawn_scoped(scope, move || note(inotify, wake, &notes_to))
            .map_err(|e| WatchError::Place(place.clone(), e))?;
        let mut reading = Reading::new(root, inotify, judge, seen);
        let read = reading.start().and_then(|()| {
            let _ = ready.send(());
            notes.iter().try_for_each(|noted| reading.take(noted))?;
            reading.finish()
        });
        // If it is over before anybody asked for the end.
        wake_up(wake);
        drop(notes);
        let noted = noting.join().unwrap_or_else(|_| Err(io::Error::other("its thread broke")));
        match read {
            Err(Over::Failed(error)) => Err(error),
            Ok(()) | Err(Over::Unwanted) => {
                noted.map_err(|e| WatchError::Place(place, e))?;
                Ok(reading.sight)
            }
        }
    })
}

fn wake_up(wake: &OwnedFd) {
    // It fails only if it was woken four billion times.
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// Events that are stamped and not yet looked at. When they are this many, the kernel keeps the next, and if those
/// are too many for it, everything is looked through.
const NOTES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests;
