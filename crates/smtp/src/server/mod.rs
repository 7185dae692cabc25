//! The embedded server.

mod body;
mod command;
mod dialogue;
mod faults;
mod keep;
mod lines;

pub use command::{BadCommand, Command, Hello, MailParameters, RcptParameters, parse};
pub use dialogue::{Answer, Dialogue, Policy, Step, Transaction};
pub use faults::{Act, At, BadRules, Faults, Moment};
pub use keep::{NoMailbox, NotKept, Store};
pub use lines::{LINE_BYTES, Line, Lines};
