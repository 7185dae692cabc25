//! Where to send: TARGET as people type it, looked up once. What a name leads to is checked before anything connects.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use load::safety::{self, Reach};
use smtp::client::Endpoint;

use crate::exit::UsageError;

/// Servers to send to, in the order in which to try them.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) endpoints: Vec<Endpoint>,
    /// The host of the first, whose certificate is expected.
    pub(super) host: String,
    /// How far away they are.
    pub(super) reach: Reach,
    /// How long it took to look each name up.
    pub(super) lookups: Vec<Duration>,
    pub(super) is_lmtp: bool,
    pub(super) is_implicit_tls: bool,
}

/// One server as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Typed {
    Tcp { host: String, port: u16, scheme: Scheme },
    Unix(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Smtp,
    Smtps,
    Lmtp,
}

pub(super) fn find(texts: &[String], owned: &[String], is_lmtp: bool) -> Result<Targets> {
    let mut targets = Targets {
        endpoints: Vec::new(),
        host: String::new(),
        reach: Reach::Loopback,
        lookups: Vec::new(),
        is_lmtp,
        is_implicit_tls: false,
    };
    for text in texts {
        match parse(text).map_err(UsageError)? {
            Typed::Unix(path) => {
                targets.is_lmtp = true;
                targets.endpoints.push(Endpoint::Unix(path));
            }
            Typed::Tcp { host, port, scheme } => targets.add(&host, port, scheme, owned)?,
        }
    }
    if targets.host.is_empty() {
        targets.host = "localhost".into();
    }
    Ok(targets)
}

impl Targets {
    fn add(&mut self, host: &str, port: u16, scheme: Scheme, owned: &[String]) -> Result<()> {
        let begun = Instant::now();
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let found = (host, port).to_socket_addrs().with_context(|| {
                    format!(
                        "cannot look up {host}; is the name right, and does the resolver answer?"
                    )
                })?;
                self.lookups.push(begun.elapsed());
                found.collect()
            }
        };
        if found.is_empty() {
            bail!("{host} has no address");
        }
        let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
        let refused = |e: safety::Refusal| UsageError(e.to_string());
        let reach = safety::check_target(host, &addresses, owned).map_err(refused)?;
        if reach != Reach::Loopback {
            self.reach = reach;
        }
        if self.host.is_empty() {
            self.host = host.to_owned();
        }
        self.is_lmtp |= scheme == Scheme::Lmtp;
        self.is_implicit_tls |= scheme == Scheme::Smtps;
        self.endpoints.extend(found.into_iter().map(|address| Endpoint::Tcp(address, None)));
        Ok(())
    }
}

fn parse(text: &str) -> Result<Typed, String> {
    let expected = || {
        format!(
            "{text}: expected HOST[:PORT], smtp://HOST, smtps://HOST, lmtp://HOST:PORT or unix:PATH"
        )
    };
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(expected());
        }
        return Ok(Typed::Unix(path.into()));
    }
    let (scheme, rest) = match text.split_once("://") {
        None => (Scheme::Smtp, text),
        Some(("smtp", rest)) => (Scheme::Smtp, rest),
        Some(("smtps", rest)) => (Scheme::Smtps, rest),
        Some(("lmtp", rest)) => (Scheme::Lmtp, rest),
        Some(_) => return Err(expected()),
    };
    let default = match scheme {
        Scheme::Smtp => 25,
        Scheme::Smtps => 465,
        Scheme::Lmtp => 24,
    };
    let (host, port) = split_port(rest.trim_end_matches('/')).ok_or_else(expected)?;
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| expected()))?;
    if host.is_empty() || port == 0 || host.contains(['/', '@', ' ']) {
        return Err(expected());
    }
    Ok(Typed::Tcp { host: host.to_owned(), port, scheme })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            text.parse::<std::net::Ipv6Addr>().is_ok().then_some((text, None))
        }
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, scheme: Scheme) -> Result<Typed, String> {
        Ok(Typed::Tcp { host: host.into(), port, scheme })
    }

    #[test]
    fn targets_as_people_type_them() {
        assert_eq!(parse("localhost"), tcp("localhost", 25, Scheme::Smtp));
        assert_eq!(parse("127.0.0.1:2525"), tcp("127.0.0.1", 2525, Scheme::Smtp));
        assert_eq!(parse("[::1]:2525"), tcp("::1", 2525, Scheme::Smtp));
        assert_eq!(parse("::1"), tcp("::1", 25, Scheme::Smtp));
        assert_eq!(parse("smtps://mx.test/"), tcp("mx.test", 465, Scheme::Smtps));
        assert_eq!(parse("lmtp://[::1]"), tcp("::1", 24, Scheme::Lmtp));
        assert_eq!(parse("unix:/run/lmtp"), Ok(Typed::Unix("/run/lmtp".into())));
        for bad in [
            "", "unix:", "http://x", "x:", "x:0", "x:99999", "[::1", "[::1]x", "a:b:c", "u@x",
            "x/y", "smtp://",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_here_must_be_owned() {
        let find = |text: &str, owned: &[&str]| {
            let owned: Vec<String> = owned.iter().map(ToString::to_string).collect();
            find(&[text.to_owned()], &owned, false)
        };
        assert_eq!(find("127.0.0.1:1", &[]).unwrap().reach, Reach::Loopback);
        assert!(find("192.0.2.1:1", &[]).unwrap_err().to_string().contains("--i-own"));
        assert!(find("192.0.2.1:1", &["192.0.2.2"]).is_err());
        assert_ne!(find("192.0.2.1:1", &["192.0.2.1"]).unwrap().reach, Reach::Loopback);
    }
}
