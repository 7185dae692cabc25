//! `mailrig load` against mail servers that nobody here wrote: what it counts is what they logged, and what lies in
//! their mailboxes, message for message.

use crate::servers::process;

mod agree;
#[path = "../../servers/mail/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
pub(crate) mod mail;

mod needs_dovecot;
mod needs_exim;
mod needs_opensmtpd;
mod needs_postfix;
