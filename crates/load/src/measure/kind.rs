//! The kinds of waits that are told apart, and their names, which are also the tags in a log of histograms.

use serde::{Deserialize, Serialize};

/// What took its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From the planned start to the final reply.
    Response,
    /// From the first byte of MAIL to the final reply.
    Service,
    /// From the planned start until a connection was free.
    QueueWait,
    /// From the planned start until the generator came to it.
    Lateness,
    /// Looking up a host.
    Dns,
    /// Until there was a connection.
    Connect,
    /// A full TLS handshake.
    TlsFull,
    /// A TLS handshake that resumed an earlier session.
    TlsResumed,
    /// Until the greeting.
    Banner,
    /// EHLO, LHLO or HELO.
    Ehlo,
    /// STARTTLS, without the handshake.
    #[serde(rename = "starttls")]
    StartTls,
    /// AUTH to its last reply.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT, once for each recipient.
    Rcpt,
    /// DATA, or the chunks of BDAT before the last.
    Data,
    /// From the first byte of the body to the reply to its end.
    Body,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// From the final reply until the message was found in a mailbox.
    Delivery,
}

impl Kind {
    /// All, in the order that reports have.
    pub const ALL: [Kind; 19] = [
        Kind::Response,
        Kind::Service,
        Kind::QueueWait,
        Kind::Lateness,
        Kind::Dns,
        Kind::Connect,
        Kind::TlsFull,
        Kind::TlsResumed,
        Kind::Banner,
        Kind::Ehlo,
        Kind::StartTls,
        Kind::Auth,
        Kind::Mail,
        Kind::Rcpt,
        Kind::Data,
        Kind::Body,
        Kind::Rset,
        Kind::Quit,
        Kind::Delivery,
    ];

    /// A word in lower case; phases of a conversation are called as `smtp` calls them.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Response => "response",
            Kind::Service => "service",
            Kind::QueueWait => "queue_wait",
            Kind::Lateness => "lateness",
            Kind::Dns => "dns",
            Kind::Connect => "connect",
            Kind::TlsFull => "tls_full",
            Kind::TlsResumed => "tls_resumed",
            Kind::Banner => "banner",
            Kind::Ehlo => "ehlo",
            Kind::StartTls => "starttls",
            Kind::Auth => "auth",
            Kind::Mail => "mail",
            Kind::Rcpt => "rcpt",
            Kind::Data => "data",
            Kind::Body => "body",
            Kind::Rset => "rset",
            Kind::Quit => "quit",
            Kind::Delivery => "delivery",
        }
    }

    /// The parts of a conversation, in its order.
    pub fn phases() -> impl Iterator<Item = Self> {
        use Kind::{Delivery, Lateness, QueueWait, Response, Service};
        let is_whole =
            |kind: &Kind| matches!(kind, Response | Service | QueueWait | Lateness | Delivery);
        Self::ALL.into_iter().filter(move |kind| !is_whole(kind))
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_place_and_is_found_by_its_name() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, Kind::named(kind.name())), (at, Some(kind)));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert_eq!(Kind::named("Response"), None);
    }

    #[test]
    fn phases_have_the_names_that_smtp_gives_them() {
        for phase in smtp::Phase::ALL {
            let is_known = Kind::named(phase.name()).is_some();
            assert_eq!(is_known, phase != smtp::Phase::Tls, "{}", phase.name());
        }
    }
}
