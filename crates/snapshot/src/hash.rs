//! SHA-256, the one hash of the repository, so that `sha256sum` and S3 check what mailrig checks.

use sha2::{Digest, Sha256};

/// A SHA-256 sum.
pub type Sum = [u8; 32];

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

/// Lower-case hex, as `sha256sum` prints it.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Parses what [`hex`] wrote for a sum; `None` for anything else.
pub fn parse_sum(text: &str) -> Option<Sum> {
    let mut sum = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in sum.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(sum)
}
