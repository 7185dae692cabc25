//! A scripted SMTP server inside the test: it answers after delays that the test names, and takes down by its own clock
//! when it heard each command and when it answered. What the generator claims is held against that.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Banner,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Body,
    Quit,
}

/// One command and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) phase: Phase,
    /// When all of the command was there; of the banner, when the connection was.
    pub(crate) heard: Instant,
    /// Before the first byte of the answer left.
    pub(crate) said: Instant,
}

/// What was sent: MAIL and RCPT as they came, and the lines after DATA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) commands: Vec<String>,
    pub(crate) text: String,
}

/// A connection from its begin to its end.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) messages: Vec<Message>,
}

/// How long to wait before the n-th answer of a kind, n from 1.
type Script = dyn Fn(Phase, u64) -> Duration + Send + Sync;

pub(crate) struct Peer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    accepts: JoinHandle<Vec<Session>>,
}

impl Peer {
    pub(crate) fn start(script: impl Fn(Phase, u64) -> Duration + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let (script, counts): (Arc<Script>, Arc<Counts>) = (Arc::new(script), Arc::default());
        let accepts = thread::spawn(move || {
            let mut sessions = Vec::new();
            loop {
                let (stream, _) = listener.accept().unwrap();
                let accepted = Instant::now();
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let (script, counts) = (Arc::clone(&script), Arc::clone(&counts));
                let conversation = Conversation::new(stream, script, counts);
                sessions.push(thread::spawn(move || conversation.hold(accepted)));
            }
            sessions.into_iter().map(|session| session.join().unwrap()).collect()
        });
        Self { address, is_over, accepts }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// All sessions, in the order in which they began, once each has ended.
    pub(crate) fn finish(self) -> Vec<Session> {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address).unwrap());
        self.accepts.join().unwrap()
    }
}

type Counts = Mutex<HashMap<Phase, u64>>;

struct Conversation {
    stream: TcpStream,
    script: Arc<Script>,
    counts: Arc<Counts>,
    inbound: Vec<u8>,
    session: Session,
}

impl Conversation {
    fn new(stream: TcpStream, script: Arc<Script>, counts: Arc<Counts>) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, script, counts, inbound: Vec::new(), session: Session::default() }
    }

    fn hold(mut self, accepted: Instant) -> Session {
        self.say(Phase::Banner, accepted, "220 peer.test ESMTP");
        let mut message = Message::default();
        while let Some((line, heard)) = self.hear("\r\n") {
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.say(Phase::Ehlo, heard, "250-peer.test\r\n250 8BITMIME"),
                "MAIL" | "RCPT" => {
                    let phase = if verb == "MAIL" { Phase::Mail } else { Phase::Rcpt };
                    message.commands.push(line);
                    self.say(phase, heard, "250 fine");
                }
                "DATA" => {
                    self.say(Phase::Data, heard, "354 go on");
                    let Some((text, heard)) = self.hear("\r\n.\r\n") else { break };
                    message.text = text;
                    self.session.messages.push(std::mem::take(&mut message));
                    self.say(Phase::Body, heard, "250 taken");
                }
                "QUIT" => {
                    self.say(Phase::Quit, heard, "221 bye");
                    break;
                }
                _ => panic!("nobody should say {line}"),
            }
        }
        self.session
    }

    /// All up to `end`, which is left out, and when it was there; `None` once the client has gone.
    fn hear(&mut self, end: &str) -> Option<(String, Instant)> {
        let end = end.as_bytes();
        let mut searched = 0;
        loop {
            let windows = self.inbound[searched..].windows(end.len());
            if let Some(at) = windows.into_iter().position(|window| window == end) {
                let heard = Instant::now();
                let rest = self.inbound.split_off(searched + at + end.len());
                let mut text = std::mem::replace(&mut self.inbound, rest);
                text.truncate(searched + at);
                // Whatever its charset: byte for byte, and back.
                return Some((text.into_iter().map(char::from).collect(), heard));
            }
            searched = (self.inbound.len() + 1).saturating_sub(end.len());
            let mut bytes = [0; 16 << 10];
            let count = self.stream.read(&mut bytes).unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.inbound.extend_from_slice(&bytes[..count]);
        }
    }

    fn say(&mut self, phase: Phase, heard: Instant, answer: &str) {
        let number = {
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(phase).or_default();
            *count += 1;
            *count
        };
        let delay = (self.script)(phase, number);
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        self.session.exchanges.push(Exchange { phase, heard, said: Instant::now() });
        // Who has gone hears nothing.
        let _ = self.stream.write_all(format!("{answer}\r\n").as_bytes());
    }
}
