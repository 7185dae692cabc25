//! Client and server on the wire: against peers that follow a script, and against each other.

mod peer;
mod scripted;
mod served;
