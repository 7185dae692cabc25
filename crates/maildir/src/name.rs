//! File names of messages: `<base>[:2,<flags>]`. Dovecot compares names only up to the colon, so
//! the base name is the message's identity inside its folder and the rest is mutable state.

/// The part of a message's file name that never changes. A name that begins with a colon has no
/// base; the whole name stands for it then.
pub fn base_name(file_name: &[u8]) -> &[u8] {
    match memchr::memchr(b':', file_name) {
        Some(0) | None => file_name,
        Some(end) => &file_name[..end],
    }
}

/// The flags of a message's file name: the bytes after `:2,`, empty when there are none.
pub fn flags(file_name: &[u8]) -> &[u8] {
    let info = &file_name[base_name(file_name).len()..];
    info.strip_prefix(b":2,").unwrap_or_default()
}

/// Whether a base name has the form of Maildir's unique names, `<seconds>.<something>`. Others
/// (procmail's `msg.<inode>`) may be used again for another message and prove nothing.
pub fn is_unique_name(base: &[u8]) -> bool {
    let digits = base.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && base.get(digits) == Some(&b'.') && base.len() > digits + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_the_first_colon() {
        let table: [(&[u8], &[u8], &[u8]); 9] = [
            (b"1.M2P3.host,S=5:2,FS", b"1.M2P3.host,S=5", b"FS"),
            (b"1.M2P3.host", b"1.M2P3.host", b""),
            (b"1.M2P3.host:2,", b"1.M2P3.host", b""),
            (b"1.host:1,x", b"1.host", b""),
            (b"1.host:2,Sab,custom:x", b"1.host", b"Sab,custom:x"),
            (b":2,S", b":2,S", b""),
            (b"", b"", b""),
            (b"a\nb\xff:2,S", b"a\nb\xff", b"S"),
            (b"1.host:", b"1.host", b""),
        ];
        for (name, base, expected_flags) in table {
            assert_eq!(base_name(name), base, "{name:?}");
            assert_eq!(flags(name), expected_flags, "{name:?}");
        }
    }

    #[test]
    fn only_names_with_a_time_are_unique() {
        for name in ["1500000000.M1P2.host", "1.x", "1500000000.25_0.host,U=7"] {
            assert!(is_unique_name(name.as_bytes()), "{name}");
        }
        for name in ["msg.1234", "", "1500000000", "1500000000.", ".1", "x.1"] {
            assert!(!is_unique_name(name.as_bytes()), "{name}");
        }
    }
}
