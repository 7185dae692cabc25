//! SMTP and LMTP on the wire. Nothing here trusts the peer: every reply is bounded, every wait has a
//! limit, and whatever was not said completely counts as unknown.

mod address;
pub mod client;
mod deadline;
mod message;
mod outcome;
mod phase;
pub mod proxy;
mod reply;
pub mod sasl;
pub mod server;
mod stream;
mod stuffing;
pub mod tls;

pub use address::{Address, BadAddress};
pub use message::{Content, Envelope, Notify, Recipient, Ret};
pub use outcome::{Failure, Outcome, Refusal, Resource};
pub use phase::{Phase, Stamp};
pub use reply::{BadReply, Enhanced, Reply, ReplyParser};
pub use stuffing::{LineEnds, TERMINATOR, Unstuffer, stuff};
