//! Client and server on the wire: against peers that follow a script, and against each other.

mod controlled;
mod peer;
mod relayed;
mod scripted;
mod secured;
mod served;
mod told;
mod world;
