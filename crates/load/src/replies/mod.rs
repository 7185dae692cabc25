//! What servers answered: counted by phase, code, enhanced code and the class of the text, in a table of bounded size.
//! A reply that goes on has no text here: there are 50,000 in a second, and nobody asks what they said.

mod class;
mod row;

pub use class::text_class;
pub use row::{BadRow, Row};

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smtp::{Enhanced, Failure, Outcome, Phase, Refusal, Reply};

/// Answers and how often they came. In JSON it is the list of its rows.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<Row>", try_from = "Vec<Row>")]
pub struct Replies {
    table: Vec<(Answer, Tally)>,
    places: HashMap<Answer, usize>,
    /// Places of replies that let the conversation go on: few, found without hashing.
    positive: Vec<usize>,
    /// What came when the table was full.
    other: Option<Tally>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Answer {
    phase: Phase,
    code: Option<u16>,
    /// A word of [`word_of`], where there was no proper reply.
    failure: Option<&'static str>,
    enhanced: Option<Enhanced>,
    text: String,
}

/// How often, and when. Times run from the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    count: u64,
    first: Duration,
    last: Duration,
}

impl Replies {
    /// Counts what became of a message, `at` this time from the run's start.
    pub fn record(&mut self, outcome: &Outcome, at: Duration) {
        match outcome {
            Outcome::Accepted(reply) => self.record_positive(Phase::Body, reply, at),
            Outcome::Refused(phase, refusal) => self.record_refusal(*phase, refusal, at),
            Outcome::Unknown(failure) => self.record_failure(Phase::Body, failure, at),
        }
    }

    /// Counts a refusal.
    pub fn record_refusal(&mut self, phase: Phase, refusal: &Refusal, at: Duration) {
        match refusal {
            Refusal::Failure(failure) => self.record_failure(phase, failure, at),
            Refusal::Reply(reply) => {
                let text = text_class(reply.first_line());
                self.count(Answer { text, ..Answer::of(phase, reply) }, at);
            }
        }
    }

    /// Counts a session that ended before its time.
    pub fn record_failure(&mut self, phase: Phase, failure: &Failure, at: Duration) {
        let answer = match failure {
            Failure::Unexpected(reply) => {
                Answer { text: text_class(reply.first_line()), ..Answer::of(phase, reply) }
            }
            _ => {
                let text = failure.to_string();
                // The kernel's number says nothing that the words before it do not.
                let words = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
                Answer { phase, code: None, failure: None, enhanced: None, text: text_class(words) }
            }
        };
        self.count(Answer { failure: Some(word_of(failure)), ..answer }, at);
    }

    /// Counts a reply that lets the conversation go on, whatever its text.
    pub fn record_positive(&mut self, phase: Phase, reply: &Reply, at: Duration) {
        for &place in &self.positive {
            let (answer, tally) = &mut self.table[place];
            if (answer.phase, answer.code) == (phase, Some(reply.code))
                && answer.enhanced == reply.enhanced
            {
                *tally = tally.and(Tally::once(at));
                return;
            }
        }
        let place = self.add_tally(Answer::of(phase, reply), Tally::once(at));
        if self.positive.len() < MOST_POSITIVE {
            self.positive.extend(place);
        }
    }

    /// Adds what another recorder has.
    pub fn add(&mut self, other: &Replies) {
        for (answer, tally) in other.sorted() {
            self.add_tally(answer.clone(), *tally);
        }
        if let Some(tally) = other.other {
            Tally::add(&mut self.other, tally);
        }
    }

    /// All rows, what came most often first; what had no place in the table is the last.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.sorted().into_iter().map(|(answer, tally)| Row::new(answer, *tally)).collect();
        rows.extend(self.other.map(Row::other));
        rows
    }

    /// How many answers were counted.
    pub fn total(&self) -> u64 {
        let tallies = self.table.iter().map(|(_, tally)| tally).chain(&self.other);
        tallies.fold(0, |sum, tally| sum.saturating_add(tally.count))
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.other.is_none()
    }

    /// What came most often first, so that a full table leaves out what is rare.
    fn sorted(&self) -> Vec<&(Answer, Tally)> {
        let mut answers: Vec<_> = self.table.iter().collect();
        answers.sort_unstable_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
        answers
    }

    fn count(&mut self, answer: Answer, at: Duration) {
        self.add_tally(answer, Tally::once(at));
    }

    /// The place in the table, if it has one.
    fn add_tally(&mut self, answer: Answer, tally: Tally) -> Option<usize> {
        if let Some(&place) = self.places.get(&answer) {
            self.table[place].1 = self.table[place].1.and(tally);
            return Some(place);
        }
        if self.table.len() == MOST_ROWS {
            Tally::add(&mut self.other, tally);
            return None;
        }
        let place = self.table.len();
        self.table.push((answer.clone(), tally));
        self.places.insert(answer, place);
        Some(place)
    }
}

impl Answer {
    /// Without text.
    fn of(phase: Phase, reply: &Reply) -> Self {
        let code = Some(reply.code);
        Self { phase, code, failure: None, enhanced: reply.enhanced, text: String::new() }
    }
}

impl Tally {
    fn once(at: Duration) -> Self {
        Self { count: 1, first: at, last: at }
    }

    fn and(self, other: Tally) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    fn add(sum: &mut Option<Tally>, tally: Tally) {
        *sum = Some(sum.map_or(tally, |known| known.and(tally)));
    }
}

/// A failure in a word.
fn word_of(failure: &Failure) -> &'static str {
    let at = match failure {
        Failure::Timeout(_) => 0,
        Failure::Closed => 1,
        Failure::HalfReply => 2,
        Failure::BadReply(_) => 3,
        Failure::Unasked => 4,
        Failure::Unexpected(_) => 5,
        Failure::Io(_) => 6,
        Failure::Tls(_) => 7,
        Failure::Sasl(_) => 8,
        Failure::Unsupported(_) => 9,
        Failure::GivenUp(_) => 10,
        Failure::Exhausted(_) => 11,
    };
    WORDS[at]
}

const WORDS: [&str; 12] = [
    "timeout",
    "closed",
    "half_reply",
    "bad_reply",
    "unasked",
    "unexpected",
    "io",
    "tls",
    "sasl",
    "unsupported",
    "given_up",
    "exhausted",
];

/// More different answers than a person reads, and few enough for every worker to have its own table.
const MOST_ROWS: usize = 1000;

/// A conversation has about ten.
const MOST_POSITIVE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply {
            code,
            enhanced: Some(Enhanced { class: 4, subject: 7, detail: 1 }),
            text: text.into(),
        }
    }

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn alike_answers_are_one_row_with_its_first_and_last_time() {
        let mut replies = Replies::default();
        for (at, id) in [(5, "4BF2C1A0E3"), (2, "4BF2C1A0E4"), (9, "0")] {
            let text = format!("try later {id}\nsecond line {at}");
            let refusal = Refusal::Reply(reply(450, &text));
            replies.record(&Outcome::Refused(Phase::Rcpt, refusal), s(at));
        }
        for at in 0..5 {
            let text = format!("queued as {at}{at}");
            replies.record(&Outcome::Accepted(reply(250, &text)), s(at));
        }
        replies.record(&Outcome::Unknown(Failure::Timeout(s(300))), s(7));
        let found: Vec<_> = replies
            .rows()
            .into_iter()
            .map(|row| (row.phase, row.code, row.failure, row.text, row.count, row.last_ms))
            .collect();
        let row = |phase: &str, code, failure: Option<&str>, text: &str, count, last_ms| {
            (phase.into(), code, failure.map(Into::into), text.into(), count, last_ms)
        };
        let expected = [
            row("body", Some(250), None, "", 5, 4000),
            row("rcpt", Some(450), None, "try later {id}", 2, 5000),
            row("rcpt", Some(450), None, "try later 0", 1, 9000),
            row("body", None, Some("timeout"), "no answer within {n} s", 1, 7000),
        ];
        assert_eq!(found, expected);
        assert_eq!((replies.total(), replies.rows()[1].first_ms), (9, 2000));
    }

    #[test]
    fn every_failure_has_its_word() {
        let bad = smtp::BadReply::NotAReply;
        let table = [
            (Failure::Timeout(s(1)), "timeout", None),
            (Failure::Closed, "closed", None),
            (Failure::HalfReply, "half_reply", None),
            (Failure::BadReply(bad), "bad_reply", None),
            (Failure::Unasked, "unasked", None),
            (Failure::Unexpected(reply(354, "go")), "unexpected", Some(354)),
            (Failure::Io("connection refused (os error 111)".into()), "io", None),
            (Failure::Tls("x".into()), "tls", None),
            (Failure::Sasl("x".into()), "sasl", None),
            (Failure::Unsupported("x"), "unsupported", None),
            (Failure::GivenUp("x".into()), "given_up", None),
        ];
        for (failure, word, code) in table {
            let mut replies = Replies::default();
            replies.record_failure(Phase::Mail, &failure, s(0));
            let row = &replies.rows()[0];
            assert_eq!((row.failure.as_deref(), row.code), (Some(word), code));
            assert!(!row.text.is_empty());
        }
    }

    #[test]
    fn a_full_table_keeps_counting_what_it_has_and_puts_the_rest_into_one_row() {
        let mut replies = Replies::default();
        let refuse = |replies: &mut Replies, n: u64| {
            let letters: String =
                n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            replies.record_refusal(Phase::Mail, &Refusal::Reply(reply(550, &letters)), s(n));
        };
        for n in 0..3000 {
            refuse(&mut replies, n);
        }
        refuse(&mut replies, 1);
        let rows = replies.rows();
        assert_eq!((rows.len(), replies.total()), (MOST_ROWS + 1, 3001));
        assert_eq!((rows[0].text.as_str(), rows[0].count), ("b", 2));
        let other = rows.last().unwrap();
        assert_eq!((other.phase.as_str(), other.count), ("other", 2000));
        assert_eq!((other.first_ms, other.last_ms), (1_000_000, 2_999_000));
        // And so does a sum of full tables.
        let mut sum = replies.clone();
        sum.add(&replies);
        assert_eq!((sum.rows().len(), sum.total()), (MOST_ROWS + 1, 6002));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole_and_json_gives_them_back(
            answers in prop::collection::vec((0..12_usize, 400_u16..404, "[a-c]", 0..99_u64), 0..60),
            parts in 1_usize..5,
        ) {
            let mut whole = Replies::default();
            let mut part = vec![Replies::default(); parts];
            for (at, (phase, code, text, time)) in answers.iter().enumerate() {
                let refusal = Refusal::Reply(reply(*code, text));
                for replies in [&mut whole, &mut part[at % parts]] {
                    replies.record_refusal(Phase::ALL[*phase], &refusal, s(*time));
                }
            }
            let mut sum = Replies::default();
            for part in &part {
                let json = serde_json::to_string(part).unwrap();
                sum.add(&serde_json::from_str(&json).unwrap());
            }
            prop_assert_eq!(sum.rows(), whole.rows());
        }
    }
}
