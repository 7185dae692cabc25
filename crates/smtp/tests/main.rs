//! The client against peers that follow a script, to the byte.

mod peer;
mod scripted;
