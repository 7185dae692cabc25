//! Who messages are from and for: patterns with weights, from an argument or a file. They are picked by number, so that
//! a million recipients cost no more than one.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use smtp::Address;

use super::pattern::{BadPattern, Pattern};
use crate::random::Random;

/// Addresses to pick from.
#[derive(Debug, Clone)]
pub struct Addresses {
    patterns: Vec<Pattern>,
    /// The weights up to and with each pattern.
    weights: Vec<f64>,
    /// The addresses up to and with each pattern.
    counts: Vec<u64>,
}

/// How many recipients a message has: `3`, or `1-5`, each as likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMessage {
    low: u64,
    high: u64,
}

/// Why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum BadAddresses {
    /// One of them.
    #[error("{place}`{text}`: {reason}")]
    Pattern {
        /// `FILE:LINE: `, or nothing.
        place: String,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        reason: BadPattern,
    },
    /// A weight that cannot be used.
    #[error(
        "{place}`{text}`: a weight is a number from 0.000001 to 1000000, as in 3*u{{1..9}}@a.test"
    )]
    Weight {
        /// `FILE:LINE: `, or nothing.
        place: String,
        /// What stands there.
        text: String,
    },
    /// Nothing at all.
    #[error(
        "{0} has no address; expected one or a pattern such as u{{1..500}}@example.test a line"
    )]
    Empty(String),
    /// More than is sensible.
    #[error("{0} is larger than 64 MiB; a pattern such as u{{1..500}}@example.test needs one line")]
    TooLarge(PathBuf),
    /// The file.
    #[error("{path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Why a text is no number of recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected recipients per message from 1 to 1000, such as 3 or 1-5")]
pub struct BadPerMessage;

impl Addresses {
    /// From a text such as `u{1..500}@example.test` or `3*u{1..9}@a.test,b@b.test`. A pattern
    /// without a weight has 1, however many addresses it stands for.
    pub fn parse(text: &str) -> Result<Self, BadAddresses> {
        let mut addresses = Self::none();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            addresses.add(item, String::new)?;
        }
        addresses.unless_empty(|| format!("`{text}`"))
    }

    /// From a file with one pattern a line, with or without weight. What follows `#` at the start
    /// of a line or after a space is a comment.
    pub fn read(path: &Path) -> Result<Self, BadAddresses> {
        let read = || {
            let mut text = String::new();
            std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        let text =
            read().map_err(|error| BadAddresses::Unreadable { path: path.to_owned(), error })?;
        if text.len() as u64 > FILE_BYTES {
            return Err(BadAddresses::TooLarge(path.to_owned()));
        }
        Self::parse_lines(&text, &path.display().to_string())
    }

    fn parse_lines(text: &str, name: &str) -> Result<Self, BadAddresses> {
        let mut addresses = Self::none();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = if line.starts_with('#') { "" } else { line };
            let item = line.split_once(" #").map_or(line, |(item, _)| item).trim();
            if !item.is_empty() {
                addresses.add(item, || format!("{name}:{}: ", number + 1))?;
            }
        }
        addresses.unless_empty(|| name.to_owned())
    }

    /// How many there are; those that two patterns share count twice.
    pub fn count(&self) -> u64 {
        self.counts.last().copied().unwrap_or(0)
    }

    /// Their domains, each once; empty for `postmaster` alone.
    pub fn domains(&self) -> BTreeSet<String> {
        let mut domains = BTreeSet::new();
        self.patterns.iter().for_each(|pattern| pattern.add_domains(&mut domains));
        domains
    }

    /// The next one.
    pub fn pick(&self, random: &mut Random) -> Address {
        let all = self.weights.last().copied().unwrap_or(0.0);
        let at = random.unit() * all;
        let chosen = self.weights.partition_point(|weight| *weight <= at);
        let pattern = &self.patterns[chosen.min(self.patterns.len() - 1)];
        pattern.address(random.below(pattern.count()))
    }

    /// So many different ones; fewer if there are not as many.
    pub fn pick_distinct(&self, random: &mut Random, count: u64) -> Vec<Address> {
        let count = count.min(self.count()) as usize;
        let mut picked = Vec::with_capacity(count);
        let mut add = |address: Address| {
            if picked.len() < count && !picked.contains(&address) {
                picked.push(address);
            }
            picked.len() == count
        };
        if (0..2 * count).any(|_| add(self.pick(random))) {
            return picked;
        }
        // Most of the weight is on a few: the others in turn.
        let start = random.below(self.count());
        let turns = self.count().min(64 * count as u64);
        let _ = (0..turns).any(|turn| add(self.nth((start + turn) % self.count())));
        picked
    }

    /// The address of a number below the count.
    pub fn nth(&self, number: u64) -> Address {
        let chosen = self.counts.partition_point(|count| *count <= number);
        let chosen = chosen.min(self.patterns.len() - 1);
        let before = if chosen == 0 { 0 } else { self.counts[chosen - 1] };
        let pattern = &self.patterns[chosen];
        pattern.address(number.saturating_sub(before) % pattern.count())
    }

    fn none() -> Self {
        Self { patterns: Vec::new(), weights: Vec::new(), counts: Vec::new() }
    }

    fn add(&mut self, item: &str, place: impl Fn() -> String) -> Result<(), BadAddresses> {
        let (weight, text) = match item.split_once('*') {
            Some((weight, text)) if weight.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                (weight.parse().unwrap_or(f64::NAN), text)
            }
            _ => (1.0, item),
        };
        if !(1e-6..=1e6).contains(&weight) {
            return Err(BadAddresses::Weight { place: place(), text: item.to_owned() });
        }
        let pattern = Pattern::parse(text).map_err(|reason| BadAddresses::Pattern {
            place: place(),
            text: item.to_owned(),
            reason,
        })?;
        self.weights.push(self.weights.last().unwrap_or(&0.0) + weight);
        self.counts.push(self.count().saturating_add(pattern.count()));
        self.patterns.push(pattern);
        Ok(())
    }

    fn unless_empty(self, name: impl Fn() -> String) -> Result<Self, BadAddresses> {
        if self.patterns.is_empty() { Err(BadAddresses::Empty(name())) } else { Ok(self) }
    }
}

impl FromStr for Addresses {
    type Err = BadAddresses;

    fn from_str(text: &str) -> Result<Self, BadAddresses> {
        Self::parse(text)
    }
}

impl PerMessage {
    /// One.
    pub const ONE: Self = Self { low: 1, high: 1 };

    /// So many, within what one message can have.
    pub fn exactly(count: u64) -> Self {
        let count = count.clamp(1, MOST_PER_MESSAGE);
        Self { low: count, high: count }
    }

    /// The most that a message may get.
    pub fn most(self) -> u64 {
        self.high
    }

    pub(super) fn pick(self, random: &mut Random) -> u64 {
        self.low + random.below(self.high - self.low + 1)
    }
}

impl FromStr for PerMessage {
    type Err = BadPerMessage;

    fn from_str(text: &str) -> Result<Self, BadPerMessage> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<u64>().map_err(|_| BadPerMessage);
        let (low, high) = (number(low)?, number(high)?);
        let is_sensible = (1..=high).contains(&low) && high <= MOST_PER_MESSAGE;
        is_sensible.then_some(Self { low, high }).ok_or(BadPerMessage)
    }
}

impl fmt::Display for PerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low == self.high {
            true => write!(f, "{}", self.low),
            false => write!(f, "{}-{}", self.low, self.high),
        }
    }
}

const FILE_BYTES: u64 = 64 << 20;

/// More than any server takes of a stranger.
const MOST_PER_MESSAGE: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn texts(addresses: &[Address]) -> Vec<&str> {
        addresses.iter().map(Address::as_str).collect()
    }

    #[test]
    fn weights_are_those_of_patterns_and_picks_repeat() {
        let addresses = Addresses::parse("3*u{1..9}@a.test, 1*b@b.test").unwrap();
        assert_eq!(addresses.count(), 10);
        let picks = |seed| {
            let mut random = Random::new(seed, 0);
            (0..20_000).map(|_| addresses.pick(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
        let mut counts = BTreeMap::new();
        picks(1).iter().for_each(|address| *counts.entry(address.to_string()).or_insert(0) += 1);
        assert_eq!(counts.len(), 10);
        for (address, count) in counts {
            let expected = if address == "b@b.test" { 5000.0 } else { 15_000.0 / 9.0 };
            let off = (f64::from(count) - expected) / f64::sqrt(expected);
            assert!(off.abs() < 5.0, "{address}: {count} and not {expected}");
        }
    }

    #[test]
    fn a_message_has_distinct_recipients() {
        for (text, wanted, got) in [
            ("u{1..1000}@a.test", 20, 20),
            ("u{1..5}@a.test", 5, 5),
            ("u{1..5}@a.test", 9, 5),
            ("1000000*a@a.test,0.001*b@a.test", 2, 2),
            ("a@a.test,a@a.test", 2, 1),
            ("u{1..999999999999999999}@a.test,v{1..999999999999999999}@a.test", 3, 3),
        ] {
            let addresses = Addresses::parse(text).unwrap();
            let picked = addresses.pick_distinct(&mut Random::new(1, 1), wanted);
            let distinct: BTreeSet<&str> = texts(&picked).into_iter().collect();
            assert_eq!((picked.len(), distinct.len()), (got, got), "{text}");
        }
    }

    #[test]
    fn a_file_has_one_pattern_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("to");
        std::fs::write(&path, "# who\r\n\r\n2*u{1..3}@a.test # many\n  b#c@b.test\n").unwrap();
        let addresses = Addresses::read(&path).unwrap();
        let all: Vec<Address> =
            (0..addresses.count()).map(|number| addresses.nth(number)).collect();
        assert_eq!(texts(&all), ["u1@a.test", "u2@a.test", "u3@a.test", "b#c@b.test"]);
        assert_eq!(addresses.domains().into_iter().collect::<Vec<_>>(), ["a.test", "b.test"]);
        for (text, reason) in [
            ("a@a.test\nb@\n", "to:2: `b@`: an address is LOCAL@DOMAIN"),
            ("0*a@a.test", "to:1: `0*a@a.test`: a weight is"),
            ("# none\n", "to has no address"),
            ("u{9..1}@a.test", "to:1: `u{9..1}@a.test`: braces hold a range"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Addresses::read(&path).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        let error = Addresses::read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none cannot be read: No such file"), "{error}");
    }

    #[test]
    fn recipients_per_message_are_a_number_or_a_range() {
        for text in ["1", "5", "1-5", "1000"] {
            assert_eq!(text.parse::<PerMessage>().unwrap().to_string(), text);
        }
        for text in ["", "0", "0-3", "5-1", "1-", "1001", "-1", "a", "1-2-3"] {
            assert!(text.parse::<PerMessage>().is_err(), "{text}");
        }
        let range: PerMessage = "1-5".parse().unwrap();
        let mut random = Random::new(1, 0);
        let picks: BTreeSet<u64> = (0..1000).map(|_| range.pick(&mut random)).collect();
        assert_eq!(picks.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "([0-9.*,@#]|u\\{1\\.\\.[0-9]{1,18}\\}@a\\.test|\\PC|\n){0,9}") {
            let parsed = [Addresses::parse(&text), Addresses::parse_lines(&text, "x")];
            for addresses in parsed.into_iter().flatten() {
                addresses.pick_distinct(&mut Random::new(1, 1), 3);
            }
        }
    }
}
