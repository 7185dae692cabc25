//! Addresses as they stand in MAIL and RCPT (RFC 5321, 4.1.2; RFC 6531): parsed strictly, so that
//! what is printed into a command is one address and nothing else.

use std::fmt;

/// `local-part@domain`, or `postmaster`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// As on the wire.
    text: String,
    /// Where the `@` is; the end if there is none.
    at: usize,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Nothing after or before the `@`.
    #[error("an address is LOCAL@DOMAIN")]
    Incomplete,
    /// More than 64 or 255 octets (RFC 5321, 4.5.3.1).
    #[error("a local part has 64 octets at most, a domain 255")]
    TooLong,
    /// Neither a dot-string nor a quoted string.
    #[error("its local part is neither words with dots between them nor a quoted string")]
    LocalPart,
    /// Neither labels nor an address literal.
    #[error("its domain is neither labels with dots between them nor an address in brackets")]
    Domain,
}

impl Address {
    /// Parses one; `postmaster` needs no domain (RFC 5321, 4.1.1.3).
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Ok(Self { text: text.to_owned(), at: text.len() });
        }
        let at = local_part(text)?;
        let domain = text[at..].strip_prefix('@').ok_or(BadAddress::Incomplete)?;
        if at == 0 || domain.is_empty() {
            return Err(BadAddress::Incomplete);
        }
        if at > LOCAL_PART_OCTETS || domain.len() > DOMAIN_OCTETS {
            return Err(BadAddress::TooLong);
        }
        if !is_domain(domain) {
            return Err(BadAddress::Domain);
        }
        Ok(Self { text: text.to_owned(), at })
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is before the `@`, without quotes and the backslashes inside them.
    pub fn local_part(&self) -> String {
        let local = &self.text[..self.at];
        let Some(quoted) = local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) else {
            return local.to_owned();
        };
        let (mut plain, mut chars) = (String::new(), quoted.chars());
        while let Some(c) = chars.next() {
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        plain
    }

    /// What is after the `@`; empty for `postmaster`.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether only SMTPUTF8 can carry it.
    pub fn is_utf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The end of a local part.
fn local_part(text: &str) -> Result<usize, BadAddress> {
    let Some(quoted) = text.strip_prefix('"') else {
        let at = text.find('@').unwrap_or(text.len());
        let is_word = |word: &str| !word.is_empty() && word.chars().all(is_atext);
        return if text[..at].split('.').all(is_word) {
            Ok(at)
        } else if at == 0 {
            Err(BadAddress::Incomplete)
        } else {
            Err(BadAddress::LocalPart)
        };
    };
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(at + 2),
            '\\' if chars.next().is_some_and(|(_, c)| matches!(c, ' '..='~')) => {}
            '\\' => return Err(BadAddress::LocalPart),
            ' '..='~' => {}
            c if c.is_ascii() || c.is_control() => return Err(BadAddress::LocalPart),
            _ => {}
        }
    }
    Err(BadAddress::LocalPart)
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[') {
        // What is inside is the server's business, but it stays one word.
        let inner = literal.strip_suffix(']').unwrap_or_default();
        let is_inner = |c: char| matches!(c, '!'..='Z' | '^'..='~') && !matches!(c, '<' | '>');
        return !inner.is_empty() && inner.chars().all(is_inner);
    }
    // An underscore is no letter of a host name, and yet is in some.
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_wide(c);
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.chars().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn is_wide(c: char) -> bool {
    !c.is_ascii() && c.is_alphanumeric()
}

const LOCAL_PART_OCTETS: usize = 64;
const DOMAIN_OCTETS: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, local, domain) in [
            ("a@example.org", "a", "example.org"),
            ("a.b+c/d=e@mx_1.example.org", "a.b+c/d=e", "mx_1.example.org"),
            ("\"a b\"@x.org", "a b", "x.org"),
            ("\"a@b\\\"c\\\\\"@x.org", "a@b\"c\\", "x.org"),
            ("\"\"@x.org", "", "x.org"),
            ("\"../../etc\"@x.org", "../../etc", "x.org"),
            ("ä.ö@bücher.example", "ä.ö", "bücher.example"),
            ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
            ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
            ("Postmaster", "Postmaster", ""),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((&*address.local_part(), address.domain()), (local, domain), "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@x.org", "a".repeat(65));
        let wide = format!("a@{}org", "x.".repeat(127));
        for (text, reason) in [
            ("", BadAddress::Incomplete),
            ("a", BadAddress::Incomplete),
            ("a@", BadAddress::Incomplete),
            ("@x.org", BadAddress::Incomplete),
            (&long, BadAddress::TooLong),
            (&wide, BadAddress::TooLong),
            ("a..b@x.org", BadAddress::LocalPart),
            (".a@x.org", BadAddress::LocalPart),
            ("a b@x.org", BadAddress::LocalPart),
            ("a>b@x.org", BadAddress::LocalPart),
            ("a\r\nb@x.org", BadAddress::LocalPart),
            ("a\u{a0}b@x.org", BadAddress::LocalPart),
            ("\"a@x.org", BadAddress::LocalPart),
            ("\"a\\\r\n\"@x.org", BadAddress::LocalPart),
            ("\"a\"b@x.org", BadAddress::Incomplete),
            ("a@x..org", BadAddress::Domain),
            ("a@x.org.", BadAddress::Domain),
            ("a@-x.org", BadAddress::Domain),
            ("a@x.org>", BadAddress::Domain),
            ("a@x.org b", BadAddress::Domain),
            ("a@b@x.org", BadAddress::Domain),
            ("a@[]", BadAddress::Domain),
            ("a@[1]2", BadAddress::Domain),
            ("a@[1>]", BadAddress::Domain),
        ] {
            assert_eq!(Address::parse(text), Err(reason), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_address_never_leaves_its_command(text in "\\PC{0,20}|[a\"\\\\ @.<>\r\n]{0,12}") {
            if let Ok(address) = Address::parse(&text) {
                let printed = address.to_string();
                prop_assert!(!printed.contains(['\r', '\n', '\0']));
                // Outside quotes nothing ends a path.
                prop_assert!(printed.starts_with('"') || !printed.contains(['<', '>', ' ']));
            }
        }
    }
}
