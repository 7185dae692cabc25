//! Messages whose bytes are hard to get across, and how they must lie in a mailbox.

use std::fs;
use std::path::Path;

use crate::world::eventually;

/// A message, with a subject that no other one has.
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) bytes: Vec<u8>,
}

/// One of each kind. `series` makes their subjects differ from those of other series.
pub(crate) fn letters(series: &str) -> Vec<Letter> {
    let longest = [&b"."[..], &[b'x'; 997], b"\r\n"].concat();
    let bytes: Vec<u8> = (0x01..=0xff).filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let large = b".From here on it is long, and has to go in pieces.\r\n".repeat(50_000);
    let bodies = [
        ("dots", &b".\r\n..\r\n.x\r\n...\r\n\r\nFrom here\r\n.\r\n"[..]),
        ("longest line", &longest),
        ("all bytes", &[&bytes[..], b"\r\n"].concat()),
        ("no body", b""),
        ("large", &large),
    ];
    bodies.map(|(kind, body)| letter(&format!("{series}: {kind}"), body)).into()
}

pub(crate) fn letter(subject: &str, body: &[u8]) -> Letter {
    let header = format!(
        "From: Sender <s@client.test>\r\nTo: Receiver <a@x.test>\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{}@client.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        subject.replace([' ', ':', ',', '(', ')'], "-")
    );
    Letter { subject: subject.to_owned(), bytes: [header.as_bytes(), body].concat() }
}

/// Waits until a Maildir has these letters. It must have each once, byte for byte, and no others.
pub(crate) async fn arrived(mailbox: &Path, letters: &[&Letter]) {
    let new = mailbox.join("new");
    let count = || fs::read_dir(&new).map_or(0, Iterator::count);
    eventually(&format!("mail in {}", mailbox.display()), letters.len(), count).await;
    let files = fs::read_dir(&new).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let files: Vec<Vec<u8>> = files.collect();
    for letter in letters {
        let lines = without_cr(&letter.bytes);
        let copies = files.iter().filter(|file| file.ends_with(&lines)).count();
        assert_eq!(copies, 1, "copies of {:?} in {}", letter.subject, mailbox.display());
    }
    assert_eq!(files.len(), letters.len(), "messages in {}", mailbox.display());
}

fn without_cr(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| *byte != b'\r').collect()
}
