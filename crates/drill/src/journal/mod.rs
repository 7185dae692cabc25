//! The journal of a run: JSON lines, each with the hash of the one before, on disk before what they announce happens. A
//! run is judged from it alone, and undone from it after a kill.

mod event;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use self::event::{
    Armed, Begin, Done, Event, Folder, Found, Imap, Intent, Line, Moment, Objectives, Place,
    PlaceKind, Seen, Survey,
};
pub use self::read::{BadJournal, Reader};
pub use self::write::{Journal, JournalFailed, Writer};

use sha2::{Digest, Sha256};

/// Of a line, without its end, in hexadecimal.
pub(crate) fn hash(line: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A journal of a million messages has some million lines: formatting them took longer than all else.
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(line) {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
