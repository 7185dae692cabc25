//! Real S3 servers for tests.

pub(crate) mod garage;
pub(crate) mod moto;
pub(crate) mod process;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// What a client needs to use a server; a bucket named [`BUCKET`] is there.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) endpoint: String,
    pub(crate) region: &'static str,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// The bucket that every server starts with.
pub(crate) const BUCKET: &str = "vault";

/// Sends one HTTP request and returns the whole answer; for the control doors of test servers.
pub(crate) fn http(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let request = format!("{request}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    String::from_utf8_lossy(&answer).into_owned()
}
