//! A session that reads what a folder of an IMAP server holds, and changes nothing in it but what it is told to remove.
//! Messages are handed over one by one: only one of them is in memory.

use imap_proto::{AttributeValue, Response};
use jiff::fmt::strtime;
use smtp::tls::Tls;

use super::place::{Place, is_quotable, quoted};
use super::wire::{Heard, ImapError, MESSAGE_BYTES, Wire, heard};
use crate::deliver::{Judge, Judged};

/// A session of a user.
pub struct Reader {
    wire: Wire,
    judge: Judge,
}

/// A folder as the server opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// UIDVALIDITY (RFC 3501, 2.3.1.1).
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: u32,
    /// Number of messages.
    pub exists: u32,
}

/// A message as the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched<'m> {
    /// UID.
    pub uid: u32,
    /// System flags and keywords, without `\Recent`, which is of sessions.
    pub flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970; `None` if it is no date.
    pub date_seconds: Option<i64>,
    /// RFC822.SIZE in bytes.
    pub size: Option<u32>,
    /// The whole message; `None` if there is none, or it has more than 64 MiB.
    pub body: Option<&'m [u8]>,
}

impl Reader {
    /// Connects, and logs in. `place` names the user and the server; its folder is not opened. Without `tls` only to this
    /// host.
    pub async fn log_in(
        place: &Place,
        password: &str,
        tls: Option<&Tls>,
    ) -> Result<Self, ImapError> {
        let judge: Judge = std::sync::Arc::new(|_| Judged::Other);
        let wire = Wire::connect(place, password, tls, &judge).await?;
        Ok(Self { wire, judge })
    }

    /// Whether there is a folder that can be opened (LIST). Its name may have no `*` or `%`, which stand for any.
    pub async fn has(&mut self, folder: &str) -> Result<bool, ImapError> {
        let line = format!("LIST \"\" {}", name(folder)?);
        let said = self.wire.command("LIST", &line, &self.judge).await?;
        Ok(said.contains(&Heard::Listed))
    }

    /// Opens a folder to read (EXAMINE): mail in `new` stays there, and nothing becomes seen.
    pub async fn examine(&mut self, folder: &str) -> Result<Opened, ImapError> {
        let line = format!("EXAMINE {}", name(folder)?);
        let (mut exists, mut validity, mut next) = (0, None, None);
        for heard in self.wire.command("EXAMINE", &line, &self.judge).await? {
            match heard {
                Heard::Exists(count) => exists = count,
                Heard::Validity(uid) => validity = Some(uid),
                Heard::UidNext(uid) => next = Some(uid),
                _ => {}
            }
        }
        let (Some(uid_validity), Some(uid_next)) = (validity, next) else {
            return Err(ImapError::Protocol("no UIDVALIDITY or UIDNEXT for the folder".into()));
        };
        Ok(Opened { uid_validity, uid_next, exists })
    }

    /// Reads all messages of the open folder; `each` is called with one after the other, and ends it early by `false`:
    /// then the session is of no more use.
    pub async fn fetch(&mut self, each: impl FnMut(Fetched<'_>) -> bool) -> Result<(), ImapError> {
        self.fetch_since(1, each).await
    }

    /// The same for messages from a UID on; the last one of the folder is among them, even if its UID is lower.
    pub async fn fetch_since(
        &mut self,
        uid: u32,
        mut each: impl FnMut(Fetched<'_>) -> bool,
    ) -> Result<(), ImapError> {
        self.wire.say(&format!("UID FETCH {uid}:* {PARTS}")).await?;
        loop {
            let judge = &self.judge;
            let next = self.wire.next_with(|response, tag| match response {
                Response::Fetch(_, parts) => match fetched(&parts) {
                    Some(message) => {
                        if each(message) {
                            Next::More
                        } else {
                            Next::Enough
                        }
                    }
                    None => Next::More,
                },
                other => Next::Said(heard(other, tag, judge)),
            });
            match next.await? {
                Some(Next::Enough) | Some(Next::Said(Heard::Done(Ok(())))) => return Ok(()),
                Some(Next::Said(Heard::Done(Err(why)) | Heard::Bye(why))) => {
                    return Err(ImapError::Refused("FETCH", why));
                }
                Some(Next::More | Next::Said(_)) | None => {}
            }
        }
    }
}

impl Reader {
    /// Removes messages of a folder for good, and no others, whoever marks them meanwhile (UID EXPUNGE, RFC 4315). It opens
    /// the folder to write: what lies in `new` goes to `cur`.
    pub async fn expunge(
        &mut self,
        folder: &str,
        uid_validity: u32,
        uids: &[u32],
    ) -> Result<(), ImapError> {
        let line = format!("SELECT {}", name(folder)?);
        let said = self.wire.command("SELECT", &line, &self.judge).await?;
        if !said.contains(&Heard::Validity(uid_validity)) {
            return Err(ImapError::AnotherFolder);
        }
        for some in uids.chunks(UIDS) {
            let set = some.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let store = format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)");
            self.wire.command("STORE", &store, &self.judge).await?;
            self.wire.command("EXPUNGE", &format!("UID EXPUNGE {set}"), &self.judge).await?;
        }
        Ok(())
    }

    /// Says goodbye, and does not wait for an answer.
    pub async fn log_out(mut self) {
        let _ = self.wire.say("LOGOUT").await;
    }
}

/// A folder's name for a command.
fn name(folder: &str) -> Result<String, ImapError> {
    is_quotable(folder).then(|| quoted(folder)).ok_or_else(|| {
        let why = "the folder's name has characters that quotes do not take".to_owned();
        ImapError::Protocol(why)
    })
}

enum Next {
    More,
    Enough,
    Said(Heard),
}

/// `None` for what tells of flags only.
fn fetched<'m>(parts: &'m [AttributeValue<'_>]) -> Option<Fetched<'m>> {
    let mut uid = None;
    let mut message =
        Fetched { uid: 0, flags: Vec::new(), date_seconds: None, size: None, body: None };
    let mut has_body = false;
    for part in parts {
        match part {
            AttributeValue::Uid(number) => uid = Some(*number),
            AttributeValue::Flags(flags) => {
                let flags = flags.iter().filter(|flag| !flag.eq_ignore_ascii_case("\\Recent"));
                message.flags = flags.map(ToString::to_string).collect();
            }
            AttributeValue::InternalDate(date) => message.date_seconds = seconds(date),
            AttributeValue::Rfc822Size(size) => message.size = Some(*size),
            AttributeValue::BodySection { section: None, data, .. } => {
                has_body = true;
                let body = data.as_deref();
                message.body = body.filter(|body| body.len() <= MESSAGE_BYTES);
            }
            _ => {}
        }
    }
    message.uid = uid.filter(|_| has_body)?;
    Some(message)
}

/// `07-Feb-2019 21:34:56 +0000` (RFC 3501, 9: date-time), the day perhaps with a space before it.
fn seconds(date: &str) -> Option<i64> {
    let parsed = strtime::parse("%d-%b-%Y %H:%M:%S %z", date.trim_start()).ok()?;
    Some(parsed.to_timestamp().ok()?.as_second())
}

/// In one command: lines of a thousand bytes are what each server takes (RFC 2683, 3.2.1.5).
const UIDS: usize = 80;
/// A byte more than is wanted tells of larger messages.
const PARTS: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.67108865>)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_any_zone() {
        for (text, expected) in [
            ("07-Feb-2019 21:34:56 +0000", Some(1_549_575_296)),
            (" 7-Feb-2019 21:34:56 +0000", Some(1_549_575_296)),
            ("07-Feb-2019 22:34:56 +0100", Some(1_549_575_296)),
            ("31-Dec-1969 23:59:59 +0000", Some(-1)),
            ("30-Feb-2019 21:34:56 +0000", None),
            ("2019-02-07 21:34:56", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_message_is_what_has_a_uid_and_a_body() {
        let line = b"* 1 FETCH (UID 7 FLAGS (\\Seen \\Recent todo) INTERNALDATE \" 7-Feb-2019 21:34:56 +0000\" RFC822.SIZE 5 BODY[]<0> {5}\r\na\r\nb\n)\r\n";
        let (_, response) = Response::parse(line).unwrap();
        let Response::Fetch(1, parts) = response else { panic!("{response:?}") };
        let expected = Fetched {
            uid: 7,
            flags: vec!["\\Seen".into(), "todo".into()],
            date_seconds: Some(1_549_575_296),
            size: Some(5),
            body: Some(b"a\r\nb\n"),
        };
        assert_eq!(fetched(&parts), Some(expected));
        for line in
            [&b"* 1 FETCH (FLAGS (\\Seen) UID 7)\r\n"[..], b"* 1 FETCH (BODY[] {1}\r\na)\r\n"]
        {
            let (_, response) = Response::parse(line).unwrap();
            let Response::Fetch(1, parts) = response else { panic!("{response:?}") };
            assert_eq!(fetched(&parts), None);
        }
    }
}
