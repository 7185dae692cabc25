//! How sessions speak: limits, TLS, who we are, and where connections come from.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::engine::{TlsShares, Wire};
use smtp::client::{Endpoint, Limits, Options, Protocol, Secure};
use smtp::proxy::Version;
use smtp::sasl::{Credentials, Mechanism};
use smtp::tls::{Tls, Trust, certificates};

use super::usage;
use crate::commands::load::args::{RunArgs, TlsKind};
use crate::commands::load::target::Targets;
use crate::exit::UsageError;

pub(in crate::commands::load) fn wire(args: &RunArgs, targets: &Targets) -> Result<Wire> {
    let limit = args.timeout;
    let limits = Limits { quit: limit.min(Duration::from_secs(5)), ..Limits::all(limit) };
    if limit.is_zero() {
        return usage("--timeout: expected more than 0");
    }
    let hello = args.hello.clone().unwrap_or_else(|| "[127.0.0.1]".to_owned());
    if hello.is_empty() || hello.contains(|c: char| !c.is_ascii_graphic()) {
        return usage("--hello is one word: a host name, or an address in brackets");
    }
    let options = Options {
        protocol: if targets.is_lmtp { Protocol::Lmtp } else { Protocol::Esmtp },
        pipelining: !args.no_pipelining,
        chunking: args.bdat,
        proxy: args.proxy.as_deref().map(proxy).transpose()?,
        is_plaintext_allowed: args.plain_auth,
        limits,
        ..Options::new(hello)
    };
    check_sources(&args.source, &targets.endpoints)?;
    Ok(Wire {
        endpoints: targets.endpoints.clone(),
        sources: args.source.clone(),
        options,
        tls: tls(args, targets)?,
        auth: credentials(args)?,
    })
}

/// Found here, and not by every connection.
fn check_sources(sources: &[IpAddr], endpoints: &[Endpoint]) -> Result<()> {
    for source in sources {
        UdpSocket::bind((*source, 0)).map_err(|e| {
            UsageError(format!("--source {source}: {e}; it must be an address of this machine"))
        })?;
        let is_other = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(to, _) => to.is_ipv4() != source.is_ipv4(),
            Endpoint::Unix(_) => true,
        };
        if endpoints.iter().any(is_other) {
            return usage(&format!(
                "--source {source} cannot reach every server of TARGET: one is of another kind of address"
            ));
        }
    }
    Ok(())
}

fn proxy(text: &str) -> Result<(Version, std::net::SocketAddr)> {
    let expected =
        || UsageError("--proxy is v1 or v2 and an address: v2:192.0.2.1:1234".to_owned());
    let (version, address) = text.split_once(':').ok_or_else(expected)?;
    let version = match version {
        "v1" => Version::V1,
        "v2" => Version::V2,
        _ => return Err(expected().into()),
    };
    Ok((version, address.parse().map_err(|_| expected())?))
}

fn tls(args: &RunArgs, targets: &Targets) -> Result<Option<TlsShares>> {
    let is_implicit = match (args.tls, targets.is_implicit_tls) {
        (Some(TlsKind::Starttls), true) => {
            return usage("smtps:// has TLS before the greeting, and no STARTTLS");
        }
        (Some(kind), _) => kind == TlsKind::Implicit,
        (None, true) => true,
        (None, false) => return no_tls(args),
    };
    let trust = trust(args)?;
    let server_name = args.tls_name.clone().unwrap_or_else(|| targets.host.clone());
    let secure = |is_resuming| {
        let tls = Tls::new(&trust, is_resuming, None)?;
        anyhow::Ok(Secure { tls, is_implicit, server_name: server_name.clone() })
    };
    let (full, resuming) = (secure(false)?, secure(true)?);
    let (share, resumed) = (args.tls_share.unwrap_or(1.0), args.tls_resumed.unwrap_or(0.0));
    Ok(Some(TlsShares { share, resumed, full, resuming }))
}

/// Options of TLS are of no use then, but for the server where mail is looked for.
fn no_tls(args: &RunArgs) -> Result<Option<TlsShares>> {
    let is_trust = args.tls_any || args.tls_ca.is_some() || args.tls_pin.is_some();
    let is_imap = args.deliver.as_ref().is_some_and(|place| place.starts_with("imap"));
    let is_of_session =
        args.tls_share.is_some() || args.tls_resumed.is_some() || args.tls_name.is_some();
    if is_of_session || (is_trust && !is_imap) {
        return usage("options of TLS need TLS: give --tls starttls, --tls implicit or smtps://");
    }
    Ok(None)
}

/// Whom to trust.
pub(in crate::commands::load) fn trust(args: &RunArgs) -> Result<Trust> {
    Ok(match (&args.tls_ca, &args.tls_pin) {
        (Some(path), _) => {
            let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let roots = certificates(&pem);
            Trust::Roots(roots.with_context(|| format!("cannot use {}", path.display()))?)
        }
        (None, Some(pin)) => Trust::Pinned(fingerprint(pin)?),
        (None, None) if args.tls_any => Trust::Anybody,
        (None, None) => Trust::System,
    })
}

/// Hexadecimal digits, with colons or without.
fn fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .unwrap_or_default();
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |b, d| b << 4 | d)).collect();
    if digits.len() != 64 {
        return usage("--tls-pin is the SHA-256 of a certificate: 64 hexadecimal digits");
    }
    bytes.try_into().map_err(|_| UsageError("--tls-pin: expected 32 bytes".to_owned()).into())
}

fn credentials(args: &RunArgs) -> Result<Vec<(Mechanism, Credentials)>> {
    let Some(path) = &args.users else { return Ok(Vec::new()) };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut mechanisms = Vec::new();
    for name in &args.auth {
        let all = Mechanism::ALL.map(Mechanism::name).join(", ");
        let mechanism = Mechanism::parse(name)
            .ok_or_else(|| UsageError(format!("--auth {name}: expected one of {all}")))?;
        mechanisms.push(mechanism);
    }
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((user, secret)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            bail!("{}: line {}: expected USER:PASSWORD", path.display(), at + 1);
        };
        let (user, secret) = (user.to_owned(), secret.to_owned());
        let credentials = Credentials { user, secret, authorize_as: None };
        all.extend(mechanisms.iter().map(|mechanism| (*mechanism, credentials.clone())));
    }
    if all.is_empty() {
        bail!("{} names no user; expected a USER:PASSWORD on each line", path.display());
    }
    Ok(all)
}
