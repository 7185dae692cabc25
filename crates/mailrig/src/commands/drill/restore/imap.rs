//! What the scratch Dovecot shows of the restored mailboxes, against what the snapshot says that it should.

use std::collections::BTreeMap;

use load::deliver::{Fetched, ImapError, ImapReader, Opened, Place};
use maildir::encode_utf7;
use snapshot::hash::{Sum, hex, sha256};
use snapshot::progress::Progress;

use super::dovecot::{Server, User};
use super::files::{Shown, ShownMessage};
use super::tally::{At, Tally, What};

/// Logs in to each mailbox, and compares all of it; or why that cannot be done.
pub(super) fn compare(
    server: &Server,
    users: &[User],
    progress: &Progress,
) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut tally = Tally::default();
    for (number, user) in users.iter().enumerate() {
        let place = Place {
            user: Server::user(number),
            host: "127.0.0.1".to_owned(),
            port: server.port,
            folder: "INBOX".to_owned(),
            is_tls: false,
        };
        let asked = mailbox(&place, server, user, &mut tally, progress);
        runtime.block_on(asked).map_err(|e| {
            format!("{}: {e}; its log ends with: {}", user.mailbox, server.complaint())
        })?;
    }
    Ok(tally)
}

async fn mailbox(
    place: &Place,
    server: &Server,
    user: &User,
    tally: &mut Tally,
    progress: &Progress,
) -> Result<(), ImapError> {
    let mut session = ImapReader::log_in(place, &server.password, None).await?;
    for shown in &user.shown {
        let at = At { mailbox: &user.mailbox, folder: &shown.name };
        let opened = match session.examine(&imap_name(user, shown)).await {
            Ok(opened) => opened,
            Err(ImapError::Refused(_, why) | ImapError::Protocol(why)) => {
                tally.differs(at, BY_IMAP, What::Folder, ("the folder", why));
                continue;
            }
            Err(e) => return Err(e),
        };
        let mut seen = Vec::new();
        let each = |message: Fetched<'_>| {
            seen.push(Seen::of(&message));
            progress.check().is_ok()
        };
        let fetched = session.fetch(each).await;
        if progress.check().is_err() {
            return Ok(());
        }
        if let Err(e) = fetched {
            // So it ends the sessions of clients, too.
            let actual = format!("{e}; its log ends with: {}", server.complaint());
            tally.differs(at, BY_IMAP, What::Folder, ("the folder over IMAP", actual));
            session = ImapReader::log_in(place, &server.password, None).await?;
            continue;
        }
        hold(shown, opened, seen, at, tally);
    }
    Ok(())
}

fn imap_name(user: &User, shown: &Shown) -> String {
    let path = shown.path.to_string_lossy();
    let name = match (path.as_ref(), user.is_nested) {
        ("", _) => "INBOX",
        (path, true) => path,
        (path, false) => path.strip_prefix('.').unwrap_or(path),
    };
    if user.is_utf8 { encode_utf7(name) } else { name.to_owned() }
}

/// A message as the server showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    uid: u32,
    flags: Vec<String>,
    date_seconds: Option<i64>,
    size: Option<u32>,
    /// `None` for one that is too large to be read.
    sum: Option<Sum>,
}

impl Seen {
    fn of(message: &Fetched<'_>) -> Self {
        Self {
            uid: message.uid,
            flags: message.flags.clone(),
            date_seconds: message.date_seconds,
            size: message.size,
            sum: message.body.map(sha256),
        }
    }
}

/// Compares a folder: messages by UID, and those that the snapshot has no UID of by their content.
fn hold(shown: &Shown, opened: Opened, seen: Vec<Seen>, at: At<'_>, tally: &mut Tally) {
    tally.folders += 1;
    tally.messages += shown.messages.len() as u64;
    if let Some(validity) = shown.uid_validity
        && validity != opened.uid_validity
    {
        let numbers = (validity.to_string(), opened.uid_validity.to_string());
        tally.differs(at, BY_IMAP, What::UidValidity, numbers);
    }
    if shown.uid_validity.is_none() {
        tally.folders_without_uids += 1;
    }
    let mut left: BTreeMap<u32, Seen> = seen.into_iter().map(|seen| (seen.uid, seen)).collect();
    let (with_uid, without): (Vec<_>, Vec<_>) =
        shown.messages.iter().partition(|message| message.uid.is_some());
    for message in with_uid {
        let uid = message.uid.unwrap_or_default();
        tally.uids += 1;
        match left.remove(&uid) {
            Some(seen) => same(message, &seen, at, tally),
            None => tally.differs(at, &name(uid), What::Missing, ("the message", "nothing")),
        }
    }
    let mut by_content: BTreeMap<Option<Sum>, Vec<Seen>> = BTreeMap::new();
    for seen in left.into_values() {
        by_content.entry(seen.sum).or_default().push(seen);
    }
    for message in without {
        let copies = by_content.get_mut(&Some(message.wire.0));
        let found = copies.and_then(|copies| {
            let is_alike = |seen: &Seen| is_as(message, seen);
            let place = copies.iter().position(is_alike).or((!copies.is_empty()).then_some(0))?;
            Some(copies.swap_remove(place))
        });
        match found {
            Some(seen) => same(message, &seen, at, tally),
            None => {
                let text = (hex(&message.wire.0), "nothing");
                tally.differs(at, &message.file_name, What::Missing, text);
            }
        }
    }
    // A message that was already told of by its file is no news.
    let left = by_content.into_values().flatten().filter(|_| shown.is_whole);
    for seen in left {
        tally.differs(at, &name(seen.uid), What::Extra, ("nothing", "a message"));
    }
}

fn is_as(message: &ShownMessage, seen: &Seen) -> bool {
    message.flags.iter().eq(sorted(&seen.flags).iter())
        && Some(message.date_seconds) == seen.date_seconds
}

fn same(message: &ShownMessage, seen: &Seen, at: At<'_>, tally: &mut Tally) {
    let name = name(seen.uid);
    let (sum, size) = message.wire;
    match seen.sum {
        Some(other) if other != sum => {
            tally.differs(at, &name, What::Content, (hex(&sum), hex(&other)));
        }
        Some(_) => {}
        None if size <= READ_BYTES => {
            tally.differs(at, &name, What::Content, (hex(&sum), "nothing that can be read"));
        }
        None => tally.unhashed += 1,
    }
    let number = |number: Option<u64>| number.map_or("none".to_owned(), |n| n.to_string());
    let shown = seen.size.map(u64::from);
    if shown != Some(size) {
        tally.differs(at, &name, What::Size, (size.to_string(), number(shown)));
    }
    let flags = sorted(&seen.flags);
    if !message.flags.iter().eq(flags.iter()) {
        let join = |flags: Vec<String>| format!("({})", flags.join(" "));
        let expected = join(message.flags.iter().cloned().collect());
        tally.differs(at, &name, What::Flags, (expected, join(flags)));
    }
    if seen.date_seconds != Some(message.date_seconds) {
        let actual = seen.date_seconds.map_or("none".to_owned(), |date| date.to_string());
        tally.differs(at, &name, What::Date, (message.date_seconds.to_string(), actual));
    }
}

fn sorted(flags: &[String]) -> Vec<String> {
    let mut flags = flags.to_vec();
    flags.sort_unstable();
    flags.dedup();
    flags
}

fn name(uid: u32) -> Vec<u8> {
    format!("UID {uid} over IMAP").into_bytes()
}

const BY_IMAP: &[u8] = b"";

/// Up to this a session reads messages.
const READ_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn message(uid: Option<u32>, text: &str) -> ShownMessage {
        ShownMessage {
            file_name: b"cur/1:2,S".to_vec(),
            uid,
            flags: BTreeSet::from(["\\Seen".to_owned(), "todo".to_owned()]),
            date_seconds: 7,
            wire: (sha256(text.as_bytes()), text.len() as u64),
        }
    }

    fn seen(uid: u32, text: &str) -> Seen {
        let flags = vec!["todo".to_owned(), "\\Seen".to_owned()];
        let size = Some(text.len() as u32);
        Seen { uid, flags, date_seconds: Some(7), size, sum: Some(sha256(text.as_bytes())) }
    }

    fn held(messages: Vec<ShownMessage>, uid_validity: Option<u32>, seen: Vec<Seen>) -> Vec<What> {
        let (name, path) = ("INBOX".to_owned(), PathBuf::new());
        let shown = Shown { name, path, uid_validity, messages, is_whole: true };
        let mut tally = Tally::default();
        let opened = Opened { uid_validity: 9, uid_next: 5, exists: seen.len() as u32 };
        hold(&shown, opened, seen, At { mailbox: "ann", folder: "INBOX" }, &mut tally);
        tally.by_kind.into_keys().collect()
    }

    #[test]
    fn what_is_shown_as_it_should_be_differs_in_nothing() {
        let shown = || vec![message(Some(3), "a"), message(None, "b"), message(None, "b")];
        let all = || vec![seen(3, "a"), seen(4, "b"), seen(5, "b")];
        assert_eq!(held(shown(), Some(9), all()), []);
        assert_eq!(held(shown(), None, all()), []);
    }

    /// The twin.
    #[test]
    fn each_thing_that_a_client_would_see_is_a_difference() {
        let good = || vec![seen(3, "a"), seen(4, "b")];
        let with = |change: fn(&mut Vec<Seen>)| {
            let mut all = good();
            change(&mut all);
            all
        };
        for (expected, all) in [
            (vec![What::Content, What::Size], with(|all| all[0] = seen(3, "altered"))),
            (vec![What::Missing], with(|all| drop(all.remove(0)))),
            (vec![What::Missing, What::Extra], with(|all| all[0].uid = 7)),
            (vec![What::Missing, What::Extra], with(|all| all[1] = seen(4, "c"))),
            (vec![What::Extra], with(|all| all.push(seen(5, "b")))),
            (vec![What::Flags], with(|all| all[0].flags.clear())),
            (vec![What::Flags], with(|all| all[1].flags.clear())),
            (vec![What::Date], with(|all| all[0].date_seconds = Some(8))),
            (vec![What::Size], with(|all| all[0].size = Some(2))),
            (vec![What::Content], with(|all| all[0].sum = None)),
        ] {
            let shown = vec![message(Some(3), "a"), message(None, "b")];
            assert_eq!(held(shown, Some(9), all.clone()), expected, "{all:?}");
        }
        assert_eq!(
            held(vec![message(Some(3), "a")], Some(8), vec![seen(3, "a")]),
            [What::UidValidity]
        );
    }
}
