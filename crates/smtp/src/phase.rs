//! The phase clock: when each phase of a conversation began and ended, on the monotonic clock. Where
//! commands go together (RFC 2920) they begin together, and each ends with its own reply.

use std::time::{Duration, Instant};

/// A part of a conversation that a server can be slow in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Until there is a connection.
    Connect,
    /// A TLS handshake, full or resumed.
    Tls,
    /// From the connection (or the handshake of implicit TLS) to the greeting.
    Banner,
    /// EHLO or LHLO, and HELO where that is refused.
    Ehlo,
    /// STARTTLS, without the handshake.
    StartTls,
    /// AUTH to its last reply.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT, once for each recipient.
    Rcpt,
    /// DATA, or the chunks of BDAT before the last.
    Data,
    /// From the first byte of the body to the reply to its end; LMTP: one for each recipient.
    Body,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
}

impl Phase {
    /// All, in the order of a conversation.
    pub const ALL: [Phase; 12] = [
        Phase::Connect,
        Phase::Tls,
        Phase::Banner,
        Phase::Ehlo,
        Phase::StartTls,
        Phase::Auth,
        Phase::Mail,
        Phase::Rcpt,
        Phase::Data,
        Phase::Body,
        Phase::Rset,
        Phase::Quit,
    ];

    /// A word in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Banner => "banner",
            Phase::Ehlo => "ehlo",
            Phase::StartTls => "starttls",
            Phase::Auth => "auth",
            Phase::Mail => "mail",
            Phase::Rcpt => "rcpt",
            Phase::Data => "data",
            Phase::Body => "body",
            Phase::Rset => "rset",
            Phase::Quit => "quit",
        }
    }
}

/// One phase that ended, well or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which.
    pub phase: Phase,
    /// Before its first byte was written, or the wait for the peer began.
    pub start: Instant,
    /// After its reply was read, or the failure was noticed.
    pub end: Instant,
}

impl Stamp {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }
}
