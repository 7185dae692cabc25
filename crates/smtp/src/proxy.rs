//! The PROXY protocol, versions 1 and 2: who the client is, told by a load balancer before anything else. On both
//! sides `ppp` knows the format; this knows how much to read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::HeaderResult;
use ppp::v2::{Addresses, Builder, Command, Protocol};

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// Bytes that it takes.
    pub length: usize,
    /// The client; `None` if the balancer speaks for itself (health checks) or does not know.
    pub client: Option<SocketAddr>,
}

/// Which form of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Reads a header at the beginning of `bytes`; `None` if it is not complete.
pub fn parse(bytes: &[u8]) -> Result<Option<Proxied>, &'static str> {
    let Some(length) = length(bytes)? else { return Ok(None) };
    match HeaderResult::parse(&bytes[..length]) {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                ppp::v1::Addresses::Tcp4(a) => {
                    Some(SocketAddr::from((a.source_address, a.source_port)))
                }
                ppp::v1::Addresses::Tcp6(a) => {
                    Some(SocketAddr::from((a.source_address, a.source_port)))
                }
                ppp::v1::Addresses::Unknown => None,
            };
            Ok(Some(Proxied { length, client }))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match (header.command, header.addresses) {
                (Command::Local, _) => None,
                (_, Addresses::IPv4(a)) => {
                    Some(SocketAddr::from((a.source_address, a.source_port)))
                }
                (_, Addresses::IPv6(a)) => {
                    Some(SocketAddr::from((a.source_address, a.source_port)))
                }
                _ => None,
            };
            Ok(Some(Proxied { length, client }))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(NONE),
    }
}

/// How long a header is; `None` as long as that cannot be told, or not all of it is there. `ppp` refuses some that
/// are merely not complete.
fn length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let begins = |prefix: &[u8]| bytes.iter().zip(prefix).all(|(byte, prefix)| byte == prefix);
    let length = if begins(SIGNATURE) {
        let Some([high, low]) = bytes.get(14..16) else { return Ok(None) };
        16 + usize::from(u16::from_be_bytes([*high, *low]))
    } else if begins(b"PROXY ") {
        match memchr::memchr(b'\n', bytes) {
            Some(end) => end + 1,
            None if bytes.len() < LINE_BYTES_MAX => return Ok(None),
            None => return Err(NONE),
        }
    } else {
        return Err(NONE);
    };
    if length > HEADER_BYTES_MAX {
        return Err("a PROXY header that is too long");
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// A header for a connection of `client` to `server`.
pub fn header(version: Version, client: SocketAddr, server: SocketAddr) -> io::Result<Vec<u8>> {
    // An address of each family has no form in either version.
    let (client, server) = match (client.ip(), server.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (client, server),
        _ => (v6(client), v6(server)),
    };
    match version {
        Version::V1 => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.ip(), server.ip());
            let (from_port, to_port) = (client.port(), server.port());
            Ok(format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes())
        }
        Version::V2 => Builder::with_addresses(
            ppp::v2::Version::Two | Command::Proxy,
            Protocol::Stream,
            (client, server),
        )
        .build(),
    }
}

fn v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

const NONE: &str = "no PROXY header";

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Of version 1.
const LINE_BYTES_MAX: usize = 107;

/// Version 2 may carry more; nobody does.
const HEADER_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_a_byte_more() {
        for version in [Version::V1, Version::V2] {
            for (client, server) in
                [("192.0.2.1:4711", "192.0.2.2:25"), ("[2001:db8::1]:4711", "[2001:db8::2]:25")]
            {
                let client: SocketAddr = client.parse().unwrap();
                let header = header(version, client, server.parse().unwrap()).unwrap();
                let expected = Proxied { length: header.len(), client: Some(client) };
                let bytes = [&header[..], b"EHLO a\r\n"].concat();
                assert_eq!(parse(&bytes), Ok(Some(expected)), "{version:?} {client}");
                for end in 0..header.len() {
                    assert_eq!(parse(&header[..end]), Ok(None), "{version:?} {client} {end}");
                }
            }
        }
    }

    #[test]
    fn who_speaks_for_itself_is_nobody_and_what_is_no_header_is_refused() {
        let unknown = Proxied { length: 15, client: None };
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some(unknown)));
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        assert_eq!(parse(local), Ok(Some(Proxied { length: 16, client: None })));
        for bad in
            ["EHLO a\r\n", "PROXY TCP4 a b 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.5 1 99999\r\n"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(&[b"PROXY TCP4 ", &[b'1'; 5000][..]].concat()).is_err());
    }
}
