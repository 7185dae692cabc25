//! A pattern of addresses, `u{1..500}@example.test`: as many addresses as its ranges have numbers, made one at a time
//! and never all at once.

use std::collections::BTreeSet;

use smtp::{Address, BadAddress};

/// One or more addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Empty if there is no range.
    pieces: Vec<Piece>,
    first: Address,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Range { first: u64, count: u64, width: usize },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Braces without a range.
    #[error("braces hold a range of numbers from less to more, such as {{1..500}} or {{001..500}}")]
    Range,
    /// More than numbers go.
    #[error("it stands for more than 10^18 addresses")]
    TooMany,
    /// Its domains are looked at one by one.
    #[error("it stands for more than 10,000 domains")]
    TooManyDomains,
    /// What it stands for.
    #[error(transparent)]
    Address(#[from] BadAddress),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let pieces = pieces(text)?;
        let count = pieces.iter().try_fold(1_u64, |all, piece| match piece {
            Piece::Text(_) => Some(all),
            Piece::Range { count, .. } => all.checked_mul(*count).filter(|all| *all <= MOST),
        });
        let count = count.ok_or(BadPattern::TooMany)?;
        // Digits are letters of any part; only a length can go wrong between the first and the last.
        let first = Address::parse(&write(&pieces, 0))?;
        Address::parse(&write(&pieces, count - 1))?;
        let has_range = pieces.iter().any(|piece| matches!(piece, Piece::Range { .. }));
        let pieces = if has_range { pieces } else { Vec::new() };
        let pattern = Self { pieces, first, count };
        let of_domain: u64 = pattern.domain().iter().map(Piece::count).product();
        if of_domain > MOST_DOMAINS { Err(BadPattern::TooManyDomains) } else { Ok(pattern) }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The address of a number below the count.
    pub(super) fn address(&self, number: u64) -> Address {
        if self.pieces.is_empty() {
            return self.first.clone();
        }
        Address::parse(&write(&self.pieces, number)).unwrap_or_else(|_| self.first.clone())
    }

    pub(super) fn add_domains(&self, domains: &mut BTreeSet<String>) {
        let pieces = self.domain();
        if pieces.is_empty() {
            domains.insert(self.first.domain().to_owned());
            return;
        }
        let count: u64 = pieces.iter().map(Piece::count).product();
        domains.extend((0..count).map(|number| write(&pieces, number)));
    }

    /// The pieces behind the last `@`.
    fn domain(&self) -> Vec<Piece> {
        let at = |piece: &Piece| match piece {
            Piece::Text(text) => text.rfind('@'),
            Piece::Range { .. } => None,
        };
        let last =
            self.pieces.iter().enumerate().rev().find_map(|(i, piece)| Some((i, at(piece)?)));
        let Some((start, at)) = last else { return Vec::new() };
        let mut pieces = self.pieces[start..].to_vec();
        if let Some(Piece::Text(text)) = pieces.first_mut() {
            text.drain(..=at);
        }
        pieces
    }
}

impl Piece {
    fn count(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Range { count, .. } => *count,
        }
    }
}

/// The text of a number, whose last digits, so to say, are the last range.
fn write(pieces: &[Piece], number: u64) -> String {
    let (mut parts, mut rest) = (Vec::with_capacity(pieces.len()), number);
    for piece in pieces.iter().rev() {
        parts.push(rest % piece.count());
        rest /= piece.count();
    }
    let mut text = String::with_capacity(40);
    for (piece, part) in pieces.iter().zip(parts.iter().rev()) {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Range { first, width, .. } => {
                let digits = (first + part).to_string();
                (digits.len()..*width).for_each(|_| text.push('0'));
                text.push_str(&digits);
            }
        }
    }
    text
}

fn pieces(text: &str) -> Result<Vec<Piece>, BadPattern> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, more)) = rest.split_once('{') {
        let (inside, after) = more.split_once('}').ok_or(BadPattern::Range)?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(range(inside).ok_or(BadPattern::Range)?);
        rest = after;
    }
    if rest.contains('}') {
        return Err(BadPattern::Range);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn range(text: &str) -> Option<Piece> {
    let (low, high) = text.split_once("..")?;
    let number = |digits: &str| {
        let is_number = digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok())?
    };
    let (first, last) = (number(low)?, number(high)?);
    let width = if low.len() > 1 && low.starts_with('0') { low.len() } else { 0 };
    Some(Piece::Range { first, count: last.checked_sub(first)? + 1, width })
}

const MOST: u64 = 1_000_000_000_000_000_000;
const MOST_DOMAINS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domains(pattern: &Pattern) -> Vec<String> {
        let mut domains = BTreeSet::new();
        pattern.add_domains(&mut domains);
        domains.into_iter().collect()
    }

    #[test]
    fn a_pattern_stands_for_its_addresses() {
        for (text, count, first, last, of) in [
            ("a@x.test", 1, "a@x.test", "a@x.test", "x.test"),
            ("u{1..500}@x.test", 500, "u1@x.test", "u500@x.test", "x.test"),
            ("u{001..500}@x.test", 500, "u001@x.test", "u500@x.test", "x.test"),
            ("u{08..11}@x.test", 4, "u08@x.test", "u11@x.test", "x.test"),
            ("{0..9}{0..9}@x.test", 100, "00@x.test", "99@x.test", "x.test"),
            ("u{7..7}@d{1..2}.test", 2, "u7@d1.test", "u7@d2.test", "d1.test d2.test"),
            ("\"a@{1..2}\"@x.test", 2, "\"a@1\"@x.test", "\"a@2\"@x.test", "x.test"),
            ("postmaster", 1, "postmaster", "postmaster", ""),
            (
                "{1..999999999999999999}@x.test",
                999_999_999_999_999_999,
                "1@x.test",
                "999999999999999999@x.test",
                "x.test",
            ),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.count(), count, "{text}");
            assert_eq!(pattern.address(0).as_str(), first, "{text}");
            assert_eq!(pattern.address(count - 1).as_str(), last, "{text}");
            assert_eq!(domains(&pattern).join(" "), of, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = format!("{}{{1..10}}@x.test", "u".repeat(63));
        for (text, reason) in [
            ("u{1..5@x.test", BadPattern::Range),
            ("u1..5}@x.test", BadPattern::Range),
            ("u{5..1}@x.test", BadPattern::Range),
            ("u{a..b}@x.test", BadPattern::Range),
            ("u{1}@x.test", BadPattern::Range),
            ("u{..}@x.test", BadPattern::Range),
            ("u{-1..5}@x.test", BadPattern::Range),
            ("u{1..9999999999999999999}@x.test", BadPattern::Range),
            ("u{0..999999999}{0..9999999999}@x.test", BadPattern::TooMany),
            ("u@{1..10001}.test", BadPattern::TooManyDomains),
            ("u{1..5}", BadPattern::Address(BadAddress::Incomplete)),
            (&long, BadPattern::Address(BadAddress::TooLong)),
            ("", BadPattern::Address(BadAddress::Incomplete)),
        ] {
            assert_eq!(Pattern::parse(text), Err(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(
            text in "([a-c@.\"]|\\{[0-9]{1,3}\\.\\.[0-9]{1,19}\\}|x\\.test|\\PC){0,9}",
            number in any::<u64>(),
        ) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let address = pattern.address(number % pattern.count());
                let domains = domains(&pattern);
                prop_assert!(domains.iter().any(|domain| domain == address.domain()));
            }
        }
    }
}
