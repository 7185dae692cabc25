//! Reads mailboxes over IMAP, as their owners see them: INBOX, where what the drill sends is delivered, and the folders that
//! the scenario names, where filters put it.

use std::fmt::Display;

use load::deliver::ImapReader;
use maildir::encode_utf7;

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
        let failed = |why: &dyn Display| format!("the mailbox of {address}: {why}");
        let mut session = reading.log_in(address).await?;
        read_folder(&mut session, INBOX, *r, telling).await.map_err(|e| failed(&e))?;
        for folder in reading.folders() {
            // Many are made when they are first needed.
            if session.has(&encode_utf7(folder)).await.map_err(|e| failed(&e))? {
                let read = read_folder(&mut session, folder, *r, telling).await;
                read.map_err(|why| failed(&format!("{folder}: {why}")))?;
            }
        }
        session.log_out().await;
    }
    Ok(())
}

async fn read_folder(
    session: &mut ImapReader,
    folder: &str,
    r: u32,
    telling: &mut Telling<'_>,
) -> Result<(), String> {
    let opened = session.examine(&encode_utf7(folder)).await.map_err(|e| e.to_string())?;
    let (validity, next) = (opened.uid_validity, opened.uid_next);
    telling.folder(Some(r), &FolderFacts { name: folder.to_owned(), validity, next });
    let (mut count, mut unreadable) = (0_u32, None);
    let fetched = session.fetch(|message| {
        count = count.saturating_add(1);
        let imap = Imap {
            folder: folder.to_owned(),
            validity,
            uid: message.uid,
            flags: Some(flags(&message.flags)),
            date: message.date_seconds,
        };
        match message.body {
            Some(body) => telling.tell(Some(r), body, Some(imap)),
            None => drop(unreadable.get_or_insert(message.uid)),
        }
        true
    });
    fetched.await.map_err(|e| e.to_string())?;
    if let Some(uid) = unreadable {
        return Err(format!("message {uid} could not be read"));
    }
    // What the parser passed over would be as if it were not there.
    if count < opened.exists {
        return Err(format!("the server has {} messages, and gave {count}", opened.exists));
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
