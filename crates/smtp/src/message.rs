//! A message as it goes over the wire: made once, sent to many. Its dots are stuffed beforehand, so
//! that sending costs no look at its bytes.

use std::sync::Arc;

use crate::address::Address;
use crate::stuffing;

/// The bytes of a message, or of the part that many messages share.
#[derive(Debug, Clone)]
pub struct Content {
    /// As given, with its last line made whole.
    raw: Arc<[u8]>,
    /// With its dots stuffed, where that makes a difference.
    stuffed: Option<Arc<[u8]>>,
    is_8bit: bool,
}

impl Content {
    /// Of whole lines that end in CR LF; the last is made whole if it is not.
    pub fn new(bytes: &[u8]) -> Self {
        let mut wire = Vec::new();
        stuffing::stuff(bytes, &mut wire);
        let is_whole = bytes.is_empty() || bytes.ends_with(b"\r\n");
        let raw: Arc<[u8]> = if is_whole { bytes.into() } else { [bytes, b"\r\n"].concat().into() };
        let stuffed = (wire.len() != raw.len()).then(|| wire.into());
        Self { is_8bit: !bytes.is_ascii(), raw, stuffed }
    }

    pub(crate) fn stuffed(&self) -> &[u8] {
        self.stuffed.as_ref().unwrap_or(&self.raw)
    }

    /// The bytes, without stuffing.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Size in bytes, without stuffing.
    pub fn size_bytes(&self) -> u64 {
        self.raw.len() as u64
    }

    pub(crate) fn is_8bit(&self) -> bool {
        self.is_8bit
    }
}

/// Who it is from and for.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The reverse path; `None` is `<>`, of bounces.
    pub from: Option<Address>,
    /// At least one.
    pub to: Vec<Recipient>,
    /// What to return in a notification (RFC 3461: `RET`).
    pub ret: Option<Ret>,
    /// An id of the sender's own (RFC 3461: `ENVID`); printable ASCII.
    pub envelope_id: Option<String>,
    /// Whether the message itself needs SMTPUTF8 (RFC 6531); its addresses tell for themselves.
    pub is_utf8: bool,
}

/// A recipient.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The forward path.
    pub address: Address,
    /// Notifications (RFC 3461: `NOTIFY`), such as `SUCCESS,FAILURE`.
    pub notify: Option<Notify>,
}

impl From<Address> for Recipient {
    fn from(address: Address) -> Self {
        Self { address, notify: None }
    }
}

/// How much of a message comes back with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// When to notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// Of success.
    pub success: bool,
    /// Of failure.
    pub failure: bool,
    /// Of delay.
    pub delay: bool,
}
