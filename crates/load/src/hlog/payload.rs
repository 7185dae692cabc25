//! A histogram as text: Base64 of a head and a deflated histogram. It is looked at before the library decodes it,
//! because that believes any length it reads, and allocates it.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use crate::measure::{DIGITS, LONGEST_US, SHORTEST_US, empty};

/// Why a payload is no histogram of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadPayload {
    /// Or cut off.
    #[error("it is not Base64")]
    Base64,
    /// Another version of the format, or something else.
    #[error("it is no V2 deflated histogram; write the log in that format")]
    Format,
    /// The stream is damaged or longer than any histogram with our bounds.
    #[error("it cannot be inflated to {MOST_BYTES} bytes or less")]
    Inflate(#[source] io::Error),
    /// Bounds differ, so that buckets do.
    #[error(
        "it goes from {low} to {high} with {digits} digits; \
         expected {SHORTEST_US} to {LONGEST_US} with {DIGITS}, which mailrig writes"
    )]
    Bounds {
        /// The lowest value.
        low: u64,
        /// The highest.
        high: u64,
        /// Significant digits.
        digits: u32,
    },
    /// More buckets or more values than there can be, or half a number.
    #[error("its counts make no sense")]
    Counts,
}

/// Decodes payloads, with memory that it keeps.
pub(super) struct Decoder {
    deserializer: Deserializer,
    plain: Vec<u8>,
    buckets: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        let buckets = empty().distinct_values() as u64;
        Self { deserializer: Deserializer::new(), plain: Vec::new(), buckets }
    }
}

impl Decoder {
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<Histogram<u64>, BadPayload> {
        let bytes = STANDARD.decode(text).map_err(|_| BadPayload::Base64)?;
        let (head, deflated) = bytes.split_first_chunk::<8>().ok_or(BadPayload::Format)?;
        let (cookie, length) = head.split_at(4);
        let is_whole = u32_at(length, 0).is_some_and(|n| u64::from(n) == deflated.len() as u64);
        if u32_at(cookie, 0) != Some(DEFLATED_COOKIE) || !is_whole {
            return Err(BadPayload::Format);
        }
        self.plain.clear();
        let mut inflated = ZlibDecoder::new(deflated).take(MOST_BYTES + 1);
        inflated.read_to_end(&mut self.plain).map_err(BadPayload::Inflate)?;
        if self.plain.len() as u64 > MOST_BYTES {
            return Err(BadPayload::Inflate(io::ErrorKind::FileTooLarge.into()));
        }
        self.decode_plain()
    }

    fn decode_plain(&mut self) -> Result<Histogram<u64>, BadPayload> {
        let plain = &self.plain[..];
        let counts = plain.get(HEAD_BYTES..).ok_or(BadPayload::Format)?;
        let length = u32_at(plain, 4).map(u64::from);
        if u32_at(plain, 0) != Some(PLAIN_COOKIE) || length != Some(counts.len() as u64) {
            return Err(BadPayload::Format);
        }
        let digits = u32_at(plain, 12).ok_or(BadPayload::Format)?;
        let low = u64_at(plain, 16).ok_or(BadPayload::Format)?;
        let high = u64_at(plain, 24).ok_or(BadPayload::Format)?;
        if (low, high, digits) != (SHORTEST_US, LONGEST_US, u32::from(DIGITS)) {
            return Err(BadPayload::Bounds { low, high, digits });
        }
        check_counts(counts, self.buckets).ok_or(BadPayload::Counts)?;
        self.deserializer.deserialize(&mut &plain[..]).map_err(|_| BadPayload::Format)
    }
}

/// Walks over the numbers: a count for the next bucket, or below zero how many buckets have none.
fn check_counts(mut bytes: &[u8], buckets: u64) -> Option<()> {
    let (mut at, mut total) = (0_u64, 0_u64);
    while !bytes.is_empty() {
        let (number, rest) = split_number(bytes)?;
        bytes = rest;
        if number < 0 {
            at = at.checked_add(number.unsigned_abs())?;
        } else {
            at = at.checked_add(1)?;
            total = total.checked_add(number.unsigned_abs())?;
        }
        if at > buckets || total > MOST_COUNTED {
            return None;
        }
    }
    Some(())
}

/// A ZigZag LEB128 number of 64 bits in 9 bytes at most, the last of which has 8.
fn split_number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        let is_last = at == 8 || byte & 0x80 == 0;
        let bits = if at == 8 { *byte } else { byte & 0x7f };
        number |= u64::from(bits) << (7 * at);
        if is_last {
            let value = (number >> 1) as i64 ^ -((number & 1) as i64);
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

const DEFLATED_COOKIE: u32 = 0x1c84_9314;

const PLAIN_COOKIE: u32 = 0x1c84_9313;

const HEAD_BYTES: usize = 40;

/// A histogram with our bounds has 23,552 buckets; a count takes 9 bytes at most.
const MOST_BYTES: u64 = 256 * 1024;

/// In one interval. So no sum of logs can overflow.
const MOST_COUNTED: u64 = 1 << 36;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use hdrhistogram::serialization::{Serializer as _, V2Serializer};
    use proptest::prelude::*;
    use std::io::Write;

    fn plain(values: &[(u64, u64)]) -> Vec<u8> {
        let mut histogram = empty();
        for (us, count) in values {
            histogram.record_n(*us, *count).unwrap();
        }
        let mut plain = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut plain).unwrap();
        plain
    }

    fn text(plain: &[u8]) -> String {
        let mut deflated = ZlibEncoder::new(Vec::new(), Compression::fast());
        deflated.write_all(plain).unwrap();
        let deflated = deflated.finish().unwrap();
        let length = u32::try_from(deflated.len()).unwrap();
        let head = [DEFLATED_COOKIE.to_be_bytes(), length.to_be_bytes()];
        STANDARD.encode([head.as_flattened(), &deflated].concat())
    }

    fn refusal(plain: &[u8]) -> String {
        Decoder::default().decode(text(plain).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_fullest_histogram_fits() {
        let values: Vec<_> = (0..empty().distinct_values() as u64)
            .scan(0, |us, _| {
                let this = *us;
                *us = empty().next_non_equivalent(this);
                Some((this, 1 << 20))
            })
            .take_while(|(us, _)| *us <= LONGEST_US)
            .collect();
        let histogram = Decoder::default().decode(text(&plain(&values)).as_bytes()).unwrap();
        assert_eq!(histogram.len(), (values.len() as u64) << 20);
    }

    #[test]
    fn other_bounds_are_refused_and_named() {
        let mut other = Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 5).unwrap();
        other.record(7).unwrap();
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&other, &mut bytes).unwrap();
        let expected = "it goes from 1 to 9223372036854775807 with 5 digits; \
                        expected 1 to 3600000000 with 3, which mailrig writes";
        assert_eq!(refusal(&bytes), expected);
    }

    #[test]
    fn lengths_and_counts_are_not_believed() {
        let valid = plain(&[(5, 3)]);
        let with = |at: usize, bytes: &[u8]| {
            let mut plain = valid.clone();
            plain[at..at + bytes.len()].copy_from_slice(bytes);
            refusal(&plain)
        };
        assert!(with(4, &u32::MAX.to_be_bytes()).starts_with("it is no V2"));
        assert!(with(32, &2.0_f64.to_be_bytes()).starts_with("it is no V2"));
        assert!(refusal(&vec![0; 50_000_000]).starts_with("it cannot be inflated"));
        // Below the smallest number, beyond the last bucket, more than ever happened, half a number.
        for counts in [&[0xff; 9][..], &[0xff, 0xff, 0x7f], &[0xfe; 9], &[0x80]] {
            let mut plain = valid[..HEAD_BYTES].to_vec();
            plain[4..8].copy_from_slice(&(counts.len() as u32).to_be_bytes());
            plain.extend_from_slice(counts);
            assert_eq!(refusal(&plain), "its counts make no sense", "{counts:x?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            values in prop::collection::vec((0..LONGEST_US, 1_u64..1000), 0..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            is_head_kept: bool,
        ) {
            let mut plain = plain(&values);
            let from = if is_head_kept { HEAD_BYTES } else { 0 };
            let length = plain.len() - from;
            for (at, byte) in changes.iter().filter(|_| length > 0) {
                plain[from + at.index(length)] = *byte;
            }
            if let Ok(histogram) = Decoder::default().decode(text(&plain).as_bytes()) {
                prop_assert!(histogram.value_at_quantile(0.999) <= histogram.max());
                prop_assert!(empty().add(&histogram).is_ok());
            }
        }
    }
}
