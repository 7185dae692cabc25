//! A row of the table as reports show it and JSON has it, and back: shards read each other's.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smtp::{Enhanced, Phase};

use super::{Answer, Replies, Tally, WORDS, text_class};

/// One kind of answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The phase of the conversation, or "other" for all that had no place in the table.
    pub phase: String,
    /// The code of the reply, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What happened instead of a proper reply, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The enhanced code, such as 4.2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<String>,
    /// The first line without what varies; empty for replies that let the conversation go on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// How often.
    pub count: u64,
    /// When first, in milliseconds from the run's start.
    pub first_ms: u64,
    /// When last, in milliseconds from the run's start.
    pub last_ms: u64,
}

/// A row that no table of ours has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// Its phase.
    #[error("`{0}` is no phase of a conversation; is the result of a newer version?")]
    Phase(String),
    /// Its failure.
    #[error("`{0}` is no failure that is known; is the result of a newer version?")]
    Failure(String),
    /// Its enhanced code.
    #[error("`{0}` is no enhanced code such as 4.2.2")]
    Enhanced(String),
}

impl Row {
    pub(super) fn new(answer: &Answer, tally: Tally) -> Self {
        Self {
            phase: answer.phase.name().to_owned(),
            code: answer.code,
            failure: answer.failure.map(str::to_owned),
            enhanced: answer.enhanced.map(|enhanced| enhanced.to_string()),
            text: answer.text.clone(),
            ..Self::other(tally)
        }
    }

    pub(super) fn other(tally: Tally) -> Self {
        Self {
            phase: OTHER.to_owned(),
            code: None,
            failure: None,
            enhanced: None,
            text: String::new(),
            count: tally.count,
            first_ms: ms(tally.first),
            last_ms: ms(tally.last),
        }
    }

    fn tally(&self) -> Tally {
        let (first, last) = (self.first_ms, self.last_ms);
        let [first, last] = [first, last].map(Duration::from_millis);
        Tally { count: self.count, first, last }
    }

    fn answer(self) -> Result<Answer, BadRow> {
        let Some(phase) = Phase::ALL.into_iter().find(|phase| phase.name() == self.phase) else {
            return Err(BadRow::Phase(text_class(&self.phase)));
        };
        let failure = match self.failure {
            None => None,
            Some(word) => match WORDS.into_iter().find(|known| *known == word) {
                None => return Err(BadRow::Failure(text_class(&word))),
                known => known,
            },
        };
        let enhanced = match self.enhanced {
            None => None,
            Some(code) => match enhanced(&code) {
                None => return Err(BadRow::Enhanced(text_class(&code))),
                known => known,
            },
        };
        // Once more, because the file may have been written by anyone.
        Ok(Answer { phase, code: self.code, failure, enhanced, text: text_class(&self.text) })
    }
}

impl From<Replies> for Vec<Row> {
    fn from(replies: Replies) -> Self {
        replies.rows()
    }
}

impl TryFrom<Vec<Row>> for Replies {
    type Error = BadRow;

    fn try_from(rows: Vec<Row>) -> Result<Self, BadRow> {
        let mut replies = Replies::default();
        for row in rows {
            let tally = row.tally();
            if row.phase == OTHER {
                Tally::add(&mut replies.other, tally);
            } else {
                replies.add_tally(row.answer()?, tally);
            }
        }
        Ok(replies)
    }
}

fn enhanced(code: &str) -> Option<Enhanced> {
    let mut parts = code.split('.');
    let class = parts.next()?.parse().ok()?;
    let subject = parts.next()?.parse().ok()?;
    let detail = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Enhanced { class, subject, detail })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_stranger_are_refused_by_name() {
        let row = |key: &str, value: &str| {
            let mut row = serde_json::json!({
                "phase": "mail", "count": 1, "first_ms": 0, "last_ms": 0
            });
            row[key] = value.into();
            serde_json::from_value::<Replies>(serde_json::json!([row]))
        };
        assert_eq!(row("enhanced", "4.2.2").unwrap().rows()[0].enhanced.as_deref(), Some("4.2.2"));
        for (key, value) in
            [("phase", "lunch"), ("failure", "boredom"), ("enhanced", "4.2"), ("enhanced", "4.2.x")]
        {
            let error = row(key, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{value}` is no")), "{error}");
        }
    }
}
