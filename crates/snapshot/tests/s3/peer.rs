//! A peer that plays one step of a script for each request it gets, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use snapshot::store::s3::{S3, S3Options};

use crate::servers::{Access, BUCKET};

/// What the peer does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answers and closes.
    Answer(String),
    /// Reads the request and closes without an answer.
    Hang,
    /// Reads the request and keeps the connection open for good.
    Silence,
}

/// A listening script; a request beyond its end is answered with 418.
pub(crate) struct Peer {
    pub(crate) access: Access,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    pub(crate) fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let mut script = script.into_iter();
            let mut kept = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push(request);
                match script.next().unwrap_or_else(|| answer(418, "", "")) {
                    Step::Answer(text) => {
                        let _ = (&stream).write_all(text.as_bytes());
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                    Step::Hang => {}
                    Step::Silence => kept.push(stream),
                }
            }
        });
        let (id, secret) = ("AKIAIOSFODNN7EXAMPLE".into(), "secret".into());
        Self { access: Access { endpoint, region: "us-east-1", id, secret }, requests }
    }

    pub(crate) fn store(&self) -> S3 {
        super::open(&self.access, "")
    }

    pub(crate) fn store_with(&self, change: impl FnOnce(&mut S3Options)) -> S3 {
        let mut options = super::options(&self.access);
        change(&mut options);
        S3::open(BUCKET, "", &options).unwrap()
    }

    /// The heads of all requests so far, lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads head and body; gives the head.
fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(head)
}

/// An answer with headers (each ended by `\r\n`) and a body.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Step {
    let length = body.len();
    Step::Answer(format!(
        "HTTP/1.1 {status} Scripted\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ))
}

/// S3's way to refuse.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Step {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    answer(status, "Content-Type: application/xml\r\n", &body)
}

/// Success without a word.
pub(crate) fn done() -> Step {
    answer(200, "ETag: \"e\"\r\n", "")
}
