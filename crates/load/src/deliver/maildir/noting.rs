//! Takes events from the kernel and stamps them; nothing else, so that stamps are not late when files are large.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{ReadFlags, Reader};
use rustix::io::Errno;

/// What the kernel told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// Something has come into a watched folder.
    Came {
        /// The folder, by its watch.
        watch: i32,
        name: OsString,
        is_folder: bool,
        at: Instant,
    },
    /// A watched folder is no more.
    Gone(i32),
    /// Events were lost.
    Lost(Instant),
}

/// Stamps events until woken, and then those that are there, or until nobody takes them any more.
pub(super) fn note(inotify: &OwnedFd, wake: &OwnedFd, to: &SyncSender<Noted>) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    loop {
        let mut both = [PollFd::new(inotify, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut both, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        let is_over = !both[1].revents().is_empty();
        if !drain(inotify, &mut buffer, to)? || is_over {
            return Ok(());
        }
    }
}

/// Stamps what is there. Gives whether anybody takes it.
fn drain(
    inotify: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    to: &SyncSender<Noted>,
) -> io::Result<bool> {
    let mut reader = Reader::new(inotify, buffer);
    let mut at = Instant::now();
    loop {
        let is_read = reader.is_buffer_empty();
        let event = match reader.next() {
            Err(Errno::WOULDBLOCK) => return Ok(true),
            Err(Errno::INTR) => continue,
            event => event?,
        };
        if is_read {
            at = Instant::now();
        }
        let flags = event.events();
        let noted = if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            Noted::Lost(at)
        } else if flags.contains(ReadFlags::IGNORED) {
            Noted::Gone(event.wd())
        } else if let Some(name) = event.file_name() {
            let name = OsString::from_vec(name.to_bytes().to_vec());
            let is_folder = flags.contains(ReadFlags::ISDIR);
            Noted::Came { watch: event.wd(), name, is_folder, at }
        } else {
            continue;
        };
        if to.send(noted).is_err() {
            return Ok(false);
        }
    }
}

const BUFFER_BYTES: usize = 64 * 1024;
