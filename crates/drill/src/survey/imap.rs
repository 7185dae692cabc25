//! Reads mailboxes over IMAP, as their owners see them: INBOX, where what the drill sends is delivered.

use crate::journal::Imap;
use crate::reach::{INBOX, Reading};

use super::Telling;
use super::store::{FolderFacts, Taker as _};

/// Reads the mailboxes of these people.
pub(super) async fn read(
    reading: &Reading,
    people: &[(u32, String)],
    telling: &mut Telling<'_>,
) -> Result<(), String> {
    for (r, address) in people {
        let failed = |e: load::deliver::ImapError| format!("the mailbox of {address}: {e}");
        let mut session = reading.log_in(address).await?;
        let opened = session.examine(INBOX).await.map_err(failed)?;
        let (validity, next) = (opened.uid_validity, opened.uid_next);
        let facts = FolderFacts { name: INBOX.to_owned(), validity, next };
        telling.folder(Some(*r), &facts);
        let mut unreadable = None;
        let fetched = session.fetch(|message| {
            let imap = Imap {
                folder: INBOX.to_owned(),
                validity,
                uid: message.uid,
                flags: Some(flags(&message.flags)),
                date: message.date_seconds,
            };
            match message.body {
                Some(body) => telling.tell(Some(*r), body, Some(imap)),
                None => drop(unreadable.get_or_insert(message.uid)),
            }
            true
        });
        fetched.await.map_err(failed)?;
        session.log_out().await;
        if let Some(uid) = unreadable {
            return Err(format!("the mailbox of {address}: message {uid} could not be read"));
        }
    }
    Ok(())
}

/// As a store of Maildirs tells of them: letters for what the system knows, then keywords.
fn flags(flags: &[String]) -> String {
    let letter = |flag: &str| match flag.to_ascii_lowercase().as_str() {
        "\\draft" => Some('D'),
        "\\flagged" => Some('F'),
        "\\answered" => Some('R'),
        "\\seen" => Some('S'),
        "\\deleted" => Some('T'),
        _ => None,
    };
    let mut letters: Vec<char> = flags.iter().filter_map(|flag| letter(flag)).collect();
    letters.sort_unstable();
    let mut keywords: Vec<&str> =
        flags.iter().filter(|flag| !flag.starts_with('\\')).map(String::as_str).collect();
    keywords.sort_unstable();
    join(letters.into_iter().collect(), &keywords)
}

/// What a journal says of flags.
pub(super) fn join(letters: String, keywords: &[&str]) -> String {
    let words = [letters.as_str()].into_iter().filter(|letters| !letters.is_empty());
    words.chain(keywords.iter().copied()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_as_a_store_tells_of_them() {
        for (given, expected) in [
            (&["\\Seen", "work", "\\Answered", "a"][..], "RS a work"),
            (&[], ""),
            (&["\\Junk"], ""),
            (&["x"], "x"),
        ] {
            let given: Vec<String> = given.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(flags(&given), expected);
        }
    }
}
