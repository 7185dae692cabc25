//! SMTP and LMTP on the wire. Nothing here trusts the peer: every reply is bounded, every wait has a
//! limit, and whatever was not said completely counts as unknown.

mod reply;

pub use reply::{BadReply, Enhanced, Reply, ReplyParser};
