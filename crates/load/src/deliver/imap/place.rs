//! `imap://user@host:port/folder` (RFC 5092, no more of it than that): where mail is looked for. Without the password,
//! which has no place in a command line.

use std::fmt;

/// A folder of a user at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who logs in.
    pub user: String,
    /// A name or an address.
    pub host: String,
    /// Where IMAP is spoken.
    pub port: u16,
    /// As IMAP names it; ASCII.
    pub folder: String,
    /// Whether TLS comes before anything else (`imaps`).
    pub is_tls: bool,
}

/// Why a text names no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// It is of another form.
    #[error("it is none of imap://USER@HOST[:PORT][/FOLDER] and imaps://…")]
    Form,
    /// Anybody can read it where it stands.
    #[error("leave the password out of it, and give it by a file or the environment")]
    Password,
    /// What IMAP cannot send in quotes.
    #[error(
        "its user or folder has characters that IMAP does not take; folders are named in modified UTF-7"
    )]
    Characters,
}

impl Place {
    /// Parses one.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        let (scheme, rest) = text.split_once("://").ok_or(BadPlace::Form)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "imap" => false,
            "imaps" => true,
            _ => return Err(BadPlace::Form),
        };
        let (authority, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = authority.rsplit_once('@').ok_or(BadPlace::Form)?;
        if user.contains(':') {
            return Err(BadPlace::Password);
        }
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(BadPlace::Form)?,
            None => server.split_at(server.find(':').unwrap_or(server.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(BadPlace::Form)?,
            None if port.is_empty() => {
                if is_tls {
                    993
                } else {
                    143
                }
            }
            None => return Err(BadPlace::Form),
        };
        let (user, folder) = (decode(user)?, decode(folder.trim_end_matches('/'))?);
        if user.is_empty() || host.is_empty() {
            return Err(BadPlace::Form);
        }
        if !is_quotable(&user) || !is_quotable(&folder) {
            return Err(BadPlace::Characters);
        }
        let folder = if folder.is_empty() { "INBOX".to_owned() } else { folder };
        Ok(Self { user, host: host.to_owned(), port, folder, is_tls })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} at {}:{}", self.folder, self.user, self.host, self.port)
    }
}

/// In quotes, for a command.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether quotes can hold it (RFC 3501, 9).
pub(super) fn is_quotable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// `%41` is `A`.
fn decode(text: &str) -> Result<String, BadPlace> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, after) = rest.split_at_checked(2).ok_or(BadPlace::Form)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadPlace::Form);
        bytes.push((digit(hex[0])? * 16 + digit(hex[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| BadPlace::Characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_what_is_none() {
        let place = |user: &str, host: &str, port, folder: &str, is_tls| {
            let (user, host, folder) = (user.to_owned(), host.to_owned(), folder.to_owned());
            Ok(Place { user, host, port, folder, is_tls })
        };
        for (text, expected) in [
            ("imap://a@h", place("a", "h", 143, "INBOX", false)),
            ("IMAPS://a@x.test@h/", place("a@x.test", "h", 993, "INBOX", true)),
            ("imap://a%40x%2f@[::1]:1143/A%20b/c", place("a@x/", "::1", 1143, "A b/c", false)),
            ("imap://a@127.0.0.1:65535/x", place("a", "127.0.0.1", 65535, "x", false)),
            ("imap://a:secret@h", Err(BadPlace::Password)),
            ("imap://h", Err(BadPlace::Form)),
            ("imap://@h", Err(BadPlace::Form)),
            ("imap://a@", Err(BadPlace::Form)),
            ("imap://a@h:0", Err(BadPlace::Form)),
            ("imap://a@h:65536", Err(BadPlace::Form)),
            ("imap://a@[::1]1143", Err(BadPlace::Form)),
            ("imap://a@h/%4", Err(BadPlace::Form)),
            ("imap://a@h/%zz", Err(BadPlace::Form)),
            ("pop3://a@h", Err(BadPlace::Form)),
            ("imap://a@h/%0d%0aA%20LOGOUT", Err(BadPlace::Characters)),
            ("imap://a@h/Entwürfe", Err(BadPlace::Characters)),
            ("imap://a@h/%ff", Err(BadPlace::Characters)),
        ] {
            assert_eq!(Place::parse(text), expected, "{text}");
        }
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
