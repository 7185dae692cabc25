//! What became of a message, for each recipient, as the drill's checker must know it: accepted,
//! refused, or unknown. Where in doubt it is unknown: once a byte of the terminator has left, only
//! a complete reply tells.

use crate::phase::Phase;
use crate::reply::{BadReply, Reply};

/// What became of a message for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A complete 2yz to the end of the message: the server has it, once.
    Accepted(Reply),
    /// It must never appear: a complete reply said no, or nothing of the message's end was sent.
    Refused(Phase, Refusal),
    /// The end was sent, in part or whole, and no complete reply came: none or one may be there.
    Unknown(Failure),
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The server said so.
    Reply(Reply),
    /// The session ended before it could be told.
    Failure(Failure),
}

/// How a session ends that should have gone on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The time limit of a phase.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(std::time::Duration),
    /// The peer closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// Half a reply, then the end.
    #[error("the server closed the connection in the middle of a reply")]
    HalfReply,
    /// Not SMTP.
    #[error("the server sent {0}")]
    BadReply(BadReply),
    /// A reply to nothing.
    #[error("the server sent more replies than it was sent commands")]
    Unasked,
    /// A code that the command cannot have.
    #[error("the server answered what makes no sense here: {0}")]
    Unexpected(Reply),
    /// From the kernel.
    #[error("{0}")]
    Io(String),
    /// No connection could be begun, whatever the server does.
    #[error("this machine has no {} left for another connection", .0.name())]
    Exhausted(Resource),
    /// From TLS.
    #[error("{0}")]
    Tls(String),
    /// A dialogue of AUTH that went wrong on our side.
    #[error("{0}")]
    Sasl(String),
    /// The message needs what the server does not offer.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Something was not as asked: the session was broken off from our side.
    #[error("the transaction was given up: {0}")]
    GivenUp(String),
}

/// What a connection takes of our own machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Ports to connect from.
    Ports,
    /// File descriptors.
    Descriptors,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Resource::Ports => "port",
            Resource::Descriptors => "file descriptor",
        }
    }
}

impl Outcome {
    /// Whether the server has taken responsibility.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Outcome::Accepted(_))
    }

    /// The reply, if there was one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Outcome::Accepted(reply) | Outcome::Refused(_, Refusal::Reply(reply)) => Some(reply),
            _ => None,
        }
    }

    /// Whether trying again later may help, without a second copy.
    pub fn is_transient(&self) -> bool {
        match self {
            Outcome::Accepted(_) | Outcome::Unknown(_) => false,
            Outcome::Refused(_, Refusal::Reply(reply)) => reply.is_transient(),
            Outcome::Refused(_, Refusal::Failure(failure)) => {
                !matches!(failure, Failure::Unsupported(_))
            }
        }
    }
}
