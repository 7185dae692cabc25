//! What is looked for, and whether a message is it. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// Conditions that must all hold.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Part of From.
    pub from: Option<Text>,
    /// Part of To.
    pub to: Option<Text>,
    /// Part of Subject.
    pub subject: Option<Text>,
    /// The Message-ID, without angle brackets.
    pub message_id: Option<String>,
    /// Received at this time or later, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Received before this time.
    pub before_ns: Option<i64>,
}

/// A member's line in an index.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'l> {
    pub(super) sha256: &'l str,
    #[serde(borrow, default)]
    pub(super) message_id: Option<Field<'l>>,
    #[serde(borrow, default)]
    pub(super) from: Option<Field<'l>>,
    #[serde(borrow, default)]
    pub(super) to: Option<Field<'l>>,
    #[serde(borrow, default)]
    pub(super) subject: Option<Field<'l>>,
    #[serde(default)]
    pub(super) date: Option<i64>,
}

/// A text in a line, copied only if it is escaped there: inside an `Option`, serde copies a `Cow`.
#[derive(Debug)]
pub(super) struct Field<'l>(pub(super) Cow<'l, str>);

impl<'de: 'l, 'l> Deserialize<'de> for Field<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field(Cow::Owned(text.to_owned())))
    }
}

impl Query {
    /// Sets the Message-ID, which people write with or without angle brackets.
    pub fn set_message_id(&mut self, id: &str) {
        let id = id.trim();
        let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
        self.message_id = Some(inner.to_owned());
    }

    /// Whether a message received at `time_ns` may be it.
    pub(super) fn is_in_time(&self, time_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| time_ns >= since)
            && self.before_ns.is_none_or(|before| time_ns < before)
    }

    pub(super) fn fits(&self, line: &Line<'_>) -> bool {
        let has = |wanted: &Option<Text>, field: &Option<Field<'_>>| {
            let is_in = |text: &Text| field.as_ref().is_some_and(|field| text.is_in(&field.0));
            wanted.as_ref().is_none_or(is_in)
        };
        let message_id = line.message_id.as_ref().map(|id| &*id.0);
        self.message_id.as_ref().is_none_or(|id| message_id == Some(id))
            && has(&self.from, &line.from)
            && has(&self.to, &line.to)
            && has(&self.subject, &line.subject)
    }
}

/// A text that is looked for in others, whatever the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    folded: String,
}

impl Text {
    /// `text` in any case.
    pub fn new(text: &str) -> Self {
        Self { folded: fold(text).collect() }
    }

    fn is_in(&self, field: &str) -> bool {
        if !field.is_ascii() {
            return fold(field).collect::<String>().contains(&self.folded);
        }
        // Most fields; nothing is copied.
        let needle = self.folded.as_bytes();
        let Some(first) = needle.first() else { return true };
        let mut rest = field.as_bytes();
        while let Some(at) = memchr::memchr2(*first, first.to_ascii_uppercase(), rest) {
            rest = &rest[at..];
            let Some(candidate) = rest.get(..needle.len()) else { return false };
            if candidate.eq_ignore_ascii_case(needle) {
                return true;
            }
            rest = &rest[1..];
        }
        false
    }
}

/// By way of upper case, so that `ß` is `ss` and `ς` is `σ`. A dot above goes: it is all that is left
/// of the difference between the lower cases of `İ` and `I`.
fn fold(text: &str) -> impl Iterator<Item = char> {
    let upper = text.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).filter(|c| *c != '\u{307}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_does_not_count() {
        let table = [
            ("jürgen", "JÜRGEN <j@x.org>", true),
            ("STRASSE", "Hauptstraße 5", true),
            ("straße", "HAUPTSTRASSE", true),
            ("istanbul", "İSTANBUL", true),
            ("İstanbul", "istanbul", true),
            ("ΟΔΥΣΣΕΥΣ", "ὁ Ὀδυσσεύς οδυσσευς", true),
            ("x.org>", "J <j@X.ORG>", true),
            ("", "", true),
            ("a", "", false),
            ("@x.orgs", "j@x.org", false),
            ("ü", "u", false),
            ("abab", "aabab", true),
        ];
        for (wanted, field, is_in) in table {
            assert_eq!(Text::new(wanted).is_in(field), is_in, "{wanted} in {field}");
        }
    }

    #[test]
    fn a_message_id_is_exact_and_its_brackets_do_not_count() {
        let line = serde_json::from_str(r#"{"sha256":"x","size":1,"message_id":"A\"@b"}"#).unwrap();
        for (id, fits) in [("A\"@b", true), (" <A\"@b> ", true), ("a\"@b", false), ("A", false)] {
            let mut query = Query::default();
            query.set_message_id(id);
            assert_eq!(query.fits(&line), fits, "{id}");
        }
    }

    #[test]
    fn conditions_hold_together_and_a_field_that_is_missing_fits_none() {
        let line = r#"{"sha256":"x","size":1,"from":"Alice","subject":"caf\u00e9"}"#;
        let line = serde_json::from_str(line).unwrap();
        let text = |text: &str| Some(Text::new(text));
        let query = |from, to, subject| Query { from, to, subject, ..Query::default() };
        assert!(query(text("alice"), None, text("CAFÉ")).fits(&line));
        assert!(!query(text("alice"), None, text("tea")).fits(&line));
        assert!(!query(None, text(""), None).fits(&line));
        let query = Query { since_ns: Some(5), before_ns: Some(9), ..Query::default() };
        let times: Vec<i64> = (0..12).filter(|time| query.is_in_time(*time)).collect();
        assert_eq!(times, [5, 6, 7, 8]);
    }

    proptest! {
        #[test]
        fn plain_text_is_found_as_in_folded_text(wanted in "[aAbBß]{0,3}", field in "[aAbBcß]{0,9}") {
            let folded: String = fold(&field).collect();
            let is_in = folded.contains(&fold(&wanted).collect::<String>());
            prop_assert_eq!(Text::new(&wanted).is_in(&field), is_in);
        }
    }
}
