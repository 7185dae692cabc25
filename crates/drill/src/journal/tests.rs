//! A journal is read as it was written; a crash leaves all but its last line; who changes a byte is found out.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::*;

fn note(text: &str) -> Event {
    Event::Note { text: text.into() }
}

async fn write(path: &Path, lines: usize) {
    let (journal, writer) = Journal::create(path, Instant::now()).unwrap();
    for line in 0..lines {
        match line % 2 {
            0 => journal.commit(note(&format!("committed {line}"))).await.unwrap(),
            _ => journal.note(note(&format!("noted {line}"))),
        }
    }
    drop(journal);
    writer.finish().unwrap();
}

/// All events, and how the reading ended.
fn read(bytes: &[u8]) -> (Vec<Event>, Result<bool, BadJournal>) {
    let mut reader = Reader::new(bytes);
    let mut events = Vec::new();
    loop {
        match reader.next_event() {
            Ok(Some((_, event))) => events.push(event),
            Ok(None) => return (events, Ok(reader.is_cut())),
            Err(e) => return (events, Err(e)),
        }
    }
}

#[tokio::test]
async fn what_is_written_is_read_and_half_a_line_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    write(&path, 5).await;
    let bytes = fs::read(&path).unwrap();
    let (events, is_cut) = read(&bytes);
    assert_eq!((events.len(), is_cut.unwrap()), (5, false));
    assert_eq!((&events[0], &events[1]), (&note("committed 0"), &note("noted 1")));
    for length in 0..bytes.len() {
        let (some, is_cut) = read(&bytes[..length]);
        let whole = bytes[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(some, events[..whole]);
        let is_between = length == 0 || bytes[length - 1] == b'\n';
        assert_eq!(is_cut.unwrap(), !is_between, "{length}");
    }
}

#[tokio::test]
async fn who_goes_on_with_a_cut_journal_takes_the_half_line_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    write(&path, 3).await;
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"prev\":\"ab");
    fs::write(&path, &bytes).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    while reader.next_event().unwrap().is_some() {}
    let (length, prev) = reader.position();
    let (journal, writer) =
        Journal::resume(Journal::open(&path).unwrap(), &path, length, prev, Instant::now())
            .unwrap();
    journal.commit(Event::End).await.unwrap();
    drop(journal);
    writer.finish().unwrap();
    let (events, is_cut) = read(&fs::read(&path).unwrap());
    assert_eq!((events.len(), is_cut.unwrap(), events.last()), (4, false, Some(&Event::End)));
}

#[tokio::test]
async fn a_byte_that_somebody_changed_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    write(&path, 4).await;
    let bytes = fs::read(&path).unwrap();
    let last_line = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    // The last line's text is followed by nothing that could tell: the manifest has the hash of the whole.
    for at in 0..last_line {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(read(&changed).1.is_err(), "byte {at}");
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let without_one = [lines[0], lines[1], lines[3]].concat();
    assert!(matches!(read(&without_one).1, Err(BadJournal::Chain(3))));
    let in_other_order = [lines[0], lines[2], lines[1], lines[3]].concat();
    assert!(matches!(read(&in_other_order).1, Err(BadJournal::Chain(2))));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_to_whoever_must_be_sure() {
    let full = fs::File::options().append(true).open("/dev/full").unwrap();
    let path = Path::new("/dev/full");
    let (journal, writer) = Journal::begin(full, path, hash(b""), Instant::now()).unwrap();
    journal.note(note("lost"));
    let failed = journal.commit(note("not sure")).await.unwrap_err().to_string();
    assert!(failed.contains("/dev/full") && failed.contains("No space left"), "{failed}");
    drop(journal);
    assert!(writer.finish().is_err());
}

#[tokio::test]
async fn all_who_wait_at_one_time_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, writer) = Journal::create(&path, Instant::now()).unwrap();
    let commit = |n: u32| {
        let journal = journal.clone();
        tokio::spawn(async move { journal.commit(note(&n.to_string())).await })
    };
    // More than may wait in the queue.
    let waiting: Vec<_> = (0..10_000).map(commit).collect();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    drop(journal);
    writer.finish().unwrap();
    assert_eq!(read(&fs::read(&path).unwrap()).0.len(), 10_000);
}
