//! What may be loaded, and how hard: this machine without asking, any other host only where its name was typed twice.
//! Nothing here looks a name up: a name is no proof, so the caller brings every address it resolved to.

mod ceiling;
mod recipients;

use std::net::IpAddr;

pub use ceiling::{Ask, check_ceiling, most_per_s};
pub use recipients::check_recipient_domains;

/// Where a target is, once it may be loaded. A Unix socket is always of this machine and needs no check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine, and nothing else.
    Loopback,
    /// A host that the user said is theirs.
    Owned,
}

/// Why something is not loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A name that has no address.
    #[error("{host} has no address; name a host that resolves, or 127.0.0.1")]
    NoAddress {
        /// As typed.
        host: String,
    },
    /// An address that is not of this machine, of a host that was not said to be owned.
    #[error(
        "{host} is at {address}, which is not this machine: only a server that is yours may be \
         loaded; if it is, say so with --i-own {host}"
    )]
    NotOwned {
        /// As typed.
        host: String,
        /// The first that is not loopback.
        address: IpAddr,
    },
    /// 0.0.0.0 or ::.
    #[error(
        "{address} names no machine (Linux connects it to this one, others do not); write \
         127.0.0.1 or ::1"
    )]
    Unspecified {
        /// As resolved.
        address: IpAddr,
    },
    /// Somebody may read mail there.
    #[error(
        "recipients at {domain} may be people: only reserved domains (RFC 2606: example.com, \
         .test and so on) get load without asking; if it is yours, add --recipient-domain {domain}"
    )]
    Domain {
        /// As given.
        domain: String,
    },
    /// A pattern that would let everything through, or nothing.
    #[error(
        "--recipient-domain {pattern} is neither a domain nor *. before a domain of two labels or \
         more; write example.org, or *.example.org for what is below it"
    )]
    Pattern {
        /// As given.
        pattern: String,
    },
    /// More per second, longer or more connections than an accident should make.
    #[error("{asked} is above the ceiling of {ceiling}{place}; ask for less, or add --yes-really")]
    Ceiling {
        /// With its unit.
        asked: String,
        /// With its unit.
        ceiling: String,
        /// Where the ceiling applies.
        place: &'static str,
    },
}

/// Whether a host may be loaded. `typed` is the host of the target as the user wrote it, without port; `resolved` is every
/// address that may be connected to. `owned` are the values of `--i-own`: one must be `typed` itself (case apart), since
/// another name for the same machine may be somebody else's tomorrow.
pub fn check_target(typed: &str, resolved: &[IpAddr], owned: &[String]) -> Result<Reach, Refusal> {
    let host = without_brackets(typed);
    let is_owned = owned.iter().any(|own| without_brackets(own).eq_ignore_ascii_case(host));
    let is_owned = is_owned && !host.is_empty();
    match resolved.iter().find(|address| !is_loopback(**address)) {
        None if resolved.is_empty() => Err(Refusal::NoAddress { host: typed.to_owned() }),
        None => Ok(Reach::Loopback),
        Some(_) if is_owned => Ok(Reach::Owned),
        Some(&address) if address.to_canonical().is_unspecified() => {
            Err(Refusal::Unspecified { address })
        }
        Some(&address) => Err(Refusal::NotOwned { host: typed.to_owned(), address }),
    }
}

/// 127.0.0.0/8 and ::1, and the former as IPv6 writes it (::ffff:127.0.0.1).
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    fn target(typed: &str, resolved: &[&str], owned: &[&str]) -> Result<Reach, Refusal> {
        let resolved: Vec<IpAddr> = resolved.iter().map(|text| text.parse().unwrap()).collect();
        check_target(typed, &resolved, &texts(owned))
    }

    #[test]
    fn only_this_machine_and_what_is_owned_is_loaded() {
        for (typed, resolved, owned, reach) in [
            ("127.0.0.1", &["127.0.0.1"][..], &[][..], Some(Reach::Loopback)),
            ("127.9.8.7", &["127.9.8.7"], &[], Some(Reach::Loopback)),
            ("[::1]", &["::1"], &[], Some(Reach::Loopback)),
            ("::ffff:127.0.0.1", &["::ffff:127.0.0.1"], &[], Some(Reach::Loopback)),
            ("localhost", &["::1", "127.0.0.1"], &[], Some(Reach::Loopback)),
            ("localhost", &["127.0.0.1", "203.0.113.5"], &[], None),
            ("::ffff:203.0.113.5", &["::ffff:203.0.113.5"], &[], None),
            ("::127.0.0.1", &["::127.0.0.1"], &[], None),
            ("10.0.0.1", &["10.0.0.1"], &[], None),
            ("0.0.0.0", &["0.0.0.0"], &[], None),
            ("::", &["::"], &[], None),
            ("0.0.0.0", &["0.0.0.0"], &["0.0.0.0"], Some(Reach::Owned)),
            ("mail.test", &["10.0.0.1"], &["other.test", "MAIL.Test"], Some(Reach::Owned)),
            ("mail.test", &["10.0.0.1"], &["10.0.0.1"], None),
            ("10.0.0.1", &["10.0.0.1"], &["mail.test"], None),
            ("a.mail.test", &["10.0.0.1"], &["mail.test"], None),
            ("mail.test.", &["10.0.0.1"], &["mail.test"], None),
            ("mail.test", &["10.0.0.1"], &["", "*", "*.test"], None),
            ("", &["10.0.0.1"], &[""], None),
            ("[fd00::1]", &["fd00::1"], &["fd00::1"], Some(Reach::Owned)),
            ("mail.test", &["127.0.0.1"], &["mail.test"], Some(Reach::Loopback)),
            ("mail.test", &[], &[], None),
        ] {
            assert_eq!(
                target(typed, resolved, owned).ok(),
                reach,
                "{typed} {resolved:?} {owned:?}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_option() {
        let refusal = target("mail.test", &["10.0.0.1"], &[]).unwrap_err().to_string();
        assert!(refusal.contains("10.0.0.1") && refusal.contains("--i-own mail.test"), "{refusal}");
        let refusal = target("0.0.0.0", &["0.0.0.0"], &[]).unwrap_err().to_string();
        assert!(refusal.contains("127.0.0.1"), "{refusal}");
        let refusal = check_recipient_domains(["gmail.com"], &[]).unwrap_err().to_string();
        assert!(refusal.contains("--recipient-domain gmail.com"), "{refusal}");
    }

    proptest! {
        #[test]
        fn one_address_elsewhere_is_enough_to_refuse(
            loopback in prop::collection::vec(0u32..0x0100_0000, 0..4),
            elsewhere in any::<u32>().prop_filter("elsewhere", |bits| bits >> 24 != 127),
            at in any::<prop::sample::Index>(),
            owned in ".{0,12}",
        ) {
            let v4 = |bits: u32| IpAddr::V4(Ipv4Addr::from(bits));
            let mut all: Vec<IpAddr> = loopback.iter().map(|low| v4(0x7f00_0000 | low)).collect();
            all.insert(at.index(all.len() + 1), v4(elsewhere));
            prop_assert!(check_target("mail.corp.test", &all, &[owned]).is_err());
        }

    }
}
