//! The class of a text: what is left when everything that differs between two messages is taken out. Two texts of one
//! class have one cause; it may be that one cause has two classes, and no harm is done.

use std::net::IpAddr;

/// The first line of a text with addresses, numbers of two digits or more, identifiers, IP addresses and what stands
/// between quotes replaced by `{address}` and the like, without control characters, and of 120 characters at most.
pub fn text_class(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(MOST_READ).collect();
    let mut class = replaced(&line);
    // What is left beside a `{n}` may look like an address of its own; a class of a class is itself.
    for _ in 0..MOST_CHARS {
        let again = replaced(&class);
        if again == class {
            break;
        }
        class = again;
    }
    class
}

fn replaced(line: &str) -> String {
    let mut class = String::with_capacity(MOST_CHARS);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = quoted(rest, class.chars().next_back()) {
            class.push_str("{quoted}");
            rest = after;
        } else if is_delimiter(c) {
            push_delimiter(&mut class, c);
            rest = &rest[c.len_utf8()..];
        } else {
            let end = rest.find(|c| is_delimiter(c) || c == '"').unwrap_or(rest.len()).max(1);
            let (word, after) = rest.split_at(rest.ceil_char_boundary(end));
            push_word(&mut class, word);
            rest = after;
        }
    }
    let class = class.trim();
    let end = class.char_indices().nth(MOST_CHARS).map_or(class.len(), |(at, _)| at);
    class[..end].trim_end().to_owned()
}

/// What follows a string in quotes that begins here. An apostrophe within a word opens none.
fn quoted(text: &str, before: Option<char>) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    if quote != '"' && before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let inside = &text[1..];
    // `like this', too.
    let end = inside.find(|c| c == quote || (quote == '`' && c == '\''))?;
    Some(&inside[end + 1..])
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "<>()[],;=|{}'`".contains(c)
}

/// One space for any number of blanks and of what cannot be shown.
fn push_delimiter(class: &mut String, c: char) {
    if !c.is_whitespace() && !c.is_control() {
        class.push(c);
    } else if !class.ends_with(' ') {
        class.push(' ');
    }
}

fn push_word(class: &mut String, word: &str) {
    let core = word.trim_end_matches(['.', ':', '!', '?']);
    let end = &word[core.len()..];
    if core.contains('@') {
        class.push_str("{address}");
    } else if is_ip(core) {
        class.push_str("{ip}");
    } else if let Some((scheme @ ("http" | "https"), rest)) = core.split_once("://") {
        // The host says whose list it is, the path which message.
        class.push_str(scheme);
        class.push_str("://");
        push_numbers(class, rest.split(['/', '?', '#']).next().unwrap_or_default());
    } else if let Some((before, after)) = core.split_once(':') {
        push_word(class, before);
        class.push(':');
        push_word(class, after);
    } else if is_id(core) {
        class.push_str("{id}");
    } else {
        push_numbers(class, core);
    }
    class.push_str(end);
}

/// With a port or without, and with the word that IPv6 has in SMTP.
fn is_ip(word: &str) -> bool {
    let is_one = |text: &str| text.parse::<IpAddr>().is_ok();
    let bare = word.strip_prefix("IPv6:").unwrap_or(word);
    is_one(bare) || bare.rsplit_once(':').is_some_and(|(ip, _)| ip.contains('.') && is_one(ip))
}

/// Whether it looks like the identifier of a message or a session: letters and digits that alternate. One change from
/// one to the other is also in RFC5321 and sha256.
fn is_id(word: &str) -> bool {
    let is_of_ids = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/');
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    if word.len() < SHORTEST_ID || digits == 0 || letters == 0 || !word.chars().all(is_of_ids) {
        return false;
    }
    if word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return true;
    }
    // Names of hosts have digits, too, but their parts are words.
    let parts = word.split(['.', '-', '_', '+', '/']);
    parts.map(changes).max().unwrap_or_default() >= 2
}

/// How often digits follow letters, or letters digits.
fn changes(part: &str) -> usize {
    let bytes = part.as_bytes();
    bytes.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count()
}

/// One digit alone may be a level, a part of a code: it stays.
fn push_numbers(class: &mut String, word: &str) {
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 1 {
            class.push_str("{n}");
        } else {
            class.push_str(&rest[..digits]);
        }
        rest = &rest[digits..];
        let other = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        class.push_str(&rest[..other]);
        rest = &rest[other..];
    }
}

/// A line of a report.
const MOST_CHARS: usize = 120;

/// What a class is made from: replacing makes texts shorter.
const MOST_READ: usize = 400;

/// Postfix has identifiers of 6 digits and letters, and more.
const SHORTEST_ID: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_varies_is_taken_out() {
        let table = [
            ("Ok: queued as 4BF2C1A0E3", "Ok: queued as {id}"),
            ("Ok: queued as 4XkQ2b1CzzJ9\nmore", "Ok: queued as {id}"),
            ("OK id=1uEzTN-00000000Ab3-2CdE", "OK id={id}"),
            ("2024 OK d9443c01a7336-2119bdsi4.12 - gsmtp", "{n} OK {id} - gsmtp"),
            (
                "<bob@x.test>: Recipient address rejected: User unknown in local recipient table",
                "<{address}>: Recipient address rejected: User unknown in local recipient table",
            ),
            ("mailbox of bob@x.test is full.", "mailbox of {address} is full."),
            ("Client host [192.0.2.7] blocked", "Client host [{ip}] blocked"),
            ("from 192.0.2.7:2525, [IPv6:2001:db8::1], 2001:db8::2", "from {ip}, [{ip}], {ip}"),
            (
                "blocked using zen.test; https://www.zen.test/query/ip/192.0.2.7",
                "blocked using zen.test; https://www.zen.test",
            ),
            ("Service unavailable, retry in 300 s", "Service unavailable, retry in {n} s"),
            ("too much mail, level 3 of 5", "too much mail, level 3 of 5"),
            ("4.7.1 Try again, see RFC5321", "4.7.1 Try again, see RFC{n}"),
            ("can't open \"a b.txt\" or 'c d'", "can't open {quoted} or {quoted}"),
            ("relay `x' denied", "relay {quoted} denied"),
            ("it's 'half", "it's 'half"),
            ("message size 10485761 exceeds 10240000", "message size {n} exceeds {n}"),
            ("Greylisted  for\t5\u{7f}minutes\u{fffd}", "Greylisted for 5 minutes\u{fffd}"),
            ("mx17.x.test too busy", "mx{n}.x.test too busy"),
            ("Connection refused (os error 111)", "Connection refused (os error {n})"),
            ("::f12:// x", "{ip}{n}:// x"),
            ("~12a1b2c3", "~{n}{id}"),
            ("größe \u{e9}\"ü\"", "größe é{quoted}"),
            ("", ""),
        ];
        for (text, class) in table {
            assert_eq!(text_class(text), class, "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(text_class(&"ä ".repeat(500)).chars().count(), MOST_CHARS - 1);
    }

    proptest! {
        #[test]
        fn classes_are_short_and_have_nothing_to_count(text in "\\PC{0,60}|[ -~\\n\\t]{0,300}|([\"'` a1f@:/.<]|://|12){0,80}") {
            let class = text_class(&text);
            prop_assert!(class.chars().count() <= MOST_CHARS);
            prop_assert!(!class.contains(|c: char| c.is_control()), "{class:?}");
            let numbers = class.as_bytes().windows(2);
            let mut numbers = numbers.filter(|pair| pair.iter().all(u8::is_ascii_digit));
            prop_assert!(numbers.next().is_none(), "{class:?}");
            // Results that are read back are classed once more.
            prop_assert_eq!(text_class(&class), class);
        }

        #[test]
        fn a_number_and_an_address_make_no_difference(a in 10_u64.., b in 10_u64..) {
            let text = |n| format!("550 <u{n}@x.test> sent {n} of {n} bytes, id {n:012x}z1");
            prop_assert_eq!(text_class(&text(a)), text_class(&text(b)));
        }
    }
}
