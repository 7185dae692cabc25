//! Modified UTF-7 (RFC 3501, 5.1.3): how folder names that are not ASCII are written in IMAP and on
//! the disk. `&` begins UTF-16 in a base 64 whose last digit is `,` instead of `/`.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

/// Encodes a name that people wrote.
pub fn encode_utf7(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    let mut pending: Vec<u8> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut text, &mut pending);
            text.push(c);
            if c == '&' {
                text.push('-');
            }
        } else {
            let mut units = [0; 2];
            pending.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut text, &mut pending);
    text
}

fn flush(text: &mut String, pending: &mut Vec<u8>) {
    if !pending.is_empty() {
        text.push('&');
        BASE64.encode_string(&pending, text);
        text.push('-');
        pending.clear();
    }
}

/// Decodes a name; `None` if it is not of that form.
pub fn decode_utf7(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        name.push_str(&rest[..start]);
        let end = start + rest[start..].find('-')?;
        let encoded = &rest[start + 1..end];
        if encoded.is_empty() {
            name.push('&');
        } else {
            let bytes = BASE64.decode(encoded).ok().filter(|bytes| bytes.len() % 2 == 0)?;
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            for c in char::decode_utf16(units) {
                name.push(c.ok()?);
            }
        }
        rest = &rest[end + 1..];
    }
    name.push_str(rest);
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)).then_some(name)
}

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_written_as_imap_writes_them() {
        let table = [
            ("INBOX", "INBOX"),
            ("Müll", "M&APw-ll"),
            ("R&D", "R&-D"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe & Übriges", "Entw&APw-rfe &- &ANw-briges"),
            ("📨", "&2D3c6A-"),
            ("", ""),
        ];
        for (name, text) in table {
            assert_eq!(encode_utf7(name), text);
            assert_eq!(decode_utf7(text).as_deref(), Some(name));
        }
        for text in ["M&APw", "&A-", "&2D0-", "Müll", "&AP w-"] {
            assert_eq!(decode_utf7(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives(name: String) {
            let text = encode_utf7(&name);
            prop_assert_eq!(decode_utf7(&text), Some(name));
        }
    }
}
