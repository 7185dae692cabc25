//! Commands as bytes. What comes from outside went through a parser before (an [`Address`]) or is
//! encoded here, so that no command can hold another.

use crate::address::Address;
use crate::client::capabilities::Capabilities;
use crate::message::{Envelope, Recipient, Ret};
use crate::outcome::Failure;

/// What MAIL must say of the message.
pub(super) struct Traits {
    pub(super) size_bytes: u64,
    pub(super) is_8bit: bool,
}

/// Appends MAIL with the parameters that the server takes.
pub(super) fn mail(
    envelope: &Envelope,
    traits: &Traits,
    offered: &Capabilities,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(from) = &envelope.from {
        out.extend_from_slice(from.as_str().as_bytes());
    }
    out.push(b'>');
    if offered.size {
        out.extend_from_slice(b" SIZE=");
        out.extend_from_slice(traits.size_bytes.to_string().as_bytes());
    }
    if traits.is_8bit && offered.eight_bit_mime {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    let addresses = envelope.to.iter().map(|to| &to.address).chain(&envelope.from);
    if envelope.is_utf8 || addresses.into_iter().any(Address::is_utf8) {
        if !offered.smtputf8 {
            return Err(Failure::Unsupported(
                "an address or a header is not ASCII, and the server takes no SMTPUTF8",
            ));
        }
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offered.dsn {
        match envelope.ret {
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
            None => {}
        }
        if let Some(id) = &envelope.envelope_id {
            out.extend_from_slice(b" ENVID=");
            xtext(id.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends RCPT.
pub(super) fn rcpt(recipient: &Recipient, offered: &Capabilities, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(recipient.address.as_str().as_bytes());
    out.push(b'>');
    if let Some(notify) = recipient.notify.filter(|_| offered.dsn) {
        let wanted =
            [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
        let words: Vec<&str> =
            wanted.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, word)| *word).collect();
        let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
        out.extend_from_slice(b" NOTIFY=");
        out.extend_from_slice(words.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3461, 4: everything but printable ASCII without `+` and `=` as `+` and two hex digits.
fn xtext(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=') {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("+{byte:02X}").as_bytes());
        }
    }
}
