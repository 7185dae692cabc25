//! A whole dialogue through the proxy without sockets or time: for the fuzzer, and for tests of what is no dialogue. Both
//! sides speak at once and wait for nothing, which is more than any real ones do.

use std::time::Instant;

use super::faults::Faults;
use super::middle::{End, Middle, Way};
use super::pipe::{Due, Pipe};
use super::rule::Rule;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// What the server was told.
    pub to_server: Vec<u8>,
    /// What the client was told.
    pub to_client: Vec<u8>,
    /// Whether a rule ended it, and whether by RST.
    pub ended: Option<bool>,
    /// Whether both ways came to their end, or a rule ended it; not so where a rule waits.
    pub is_over: bool,
}

/// Feeds both ways in turns, in pieces of these lengths, of which one at least is not zero, until all is said.
pub fn through(rules: Vec<Rule>, client: &[u8], server: &[u8], cuts: &[usize]) -> Through {
    let now = Instant::now();
    let mut middle = Middle::new(Faults::new(rules).into());
    let mut end = middle.open(now);
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let (mut client, mut server) = (client, server);
    // Each turn reads a byte of one side at least, as long as it has room.
    for cut in cuts.iter().cycle().take(client.len() + server.len() + 10) {
        if end.is_some() {
            break;
        }
        read(&mut middle.up, &mut client, *cut);
        read(&mut middle.down, &mut server, *cut);
        end = middle.advance(now);
        drain(&mut middle.up.pipe, &mut to_server, now);
        drain(&mut middle.down.pipe, &mut to_client, now);
        if middle.up.pipe.is_ending && middle.down.pipe.is_ending {
            break;
        }
    }
    let is_over = end.is_some() || (middle.up.pipe.is_ending && middle.down.pipe.is_ending);
    Through { to_server, to_client, ended: end.map(|end| end == End::Reset), is_over }
}

fn read(way: &mut Way, from: &mut &[u8], most: usize) {
    let room = INPUT_BYTES.saturating_sub(way.input.len());
    let (piece, rest) = from.split_at(most.min(from.len()).min(room));
    way.input.extend_from_slice(piece);
    *from = rest;
    way.is_ended = from.is_empty();
}

fn drain(pipe: &mut Pipe, to: &mut Vec<u8>, now: Instant) {
    while let Due::Now(bytes) = pipe.due(now) {
        let length = bytes.len();
        to.extend_from_slice(bytes);
        pipe.took(length, now);
    }
}

/// As a session has it.
const INPUT_BYTES: usize = 16 * 1024;
