//! Whom synthetic mail may be addressed to. A server that is loaded may still relay, so that its being the user's own
//! says nothing of the people whose domain is written behind the `@`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Refusal, is_loopback};

/// Whether mail may be addressed to these domains. Reserved ones may always (RFC 2606, RFC 6761); any other must be in
/// `allowed`, the values of `--recipient-domain`: a domain stands for itself alone, `*.` before one for all below it. An
/// empty domain (`postmaster`) is the server's own.
pub fn check_recipient_domains<'a>(
    domains: impl IntoIterator<Item = &'a str>,
    allowed: &[String],
) -> Result<(), Refusal> {
    if let Some(pattern) = allowed.iter().find(|pattern| !is_pattern(pattern)) {
        return Err(Refusal::Pattern { pattern: pattern.clone() });
    }
    let is_fine = |domain: &str| {
        domain.is_empty() || is_reserved(domain) || allowed.iter().any(|p| matches(p, domain))
    };
    match domains.into_iter().find(|domain| !is_fine(domain)) {
        Some(domain) => Err(Refusal::Domain { domain: domain.to_owned() }),
        None => Ok(()),
    }
}

fn is_reserved(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return is_loopback_literal(literal);
    }
    RESERVED.iter().any(|reserved| {
        let domain = without_root(domain);
        domain.eq_ignore_ascii_case(reserved) || is_below(domain, reserved)
    })
}

fn is_loopback_literal(literal: &str) -> bool {
    let v6 = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let address = match v6 {
        Some(_) => literal[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    address.is_some_and(is_loopback)
}

fn is_pattern(pattern: &str) -> bool {
    let domain = pattern.strip_prefix("*.");
    let is_wide = domain.is_some_and(|domain| !without_root(domain).contains('.'));
    let domain = without_root(domain.unwrap_or(pattern));
    let is_literal = domain.starts_with('[') && pattern == domain;
    let are_labels = || domain.split('.').all(|label| !label.is_empty());
    !domain.contains('*') && !is_wide && (is_literal || are_labels())
}

fn matches(pattern: &str, domain: &str) -> bool {
    let domain = without_root(domain);
    match pattern.strip_prefix("*.") {
        Some(parent) => is_below(domain, without_root(parent)),
        None => without_root(pattern).eq_ignore_ascii_case(domain),
    }
}

/// Whether it is a label, a dot and `parent`.
fn is_below(domain: &str, parent: &str) -> bool {
    let Some(split) = domain.len().checked_sub(parent.len()) else {
        return false;
    };
    let (Some(below), Some(end)) = (domain.get(..split), domain.get(split..)) else {
        return false;
    };
    below.len() > 1 && below.ends_with('.') && end.eq_ignore_ascii_case(parent)
}

fn without_root(domain: &str) -> &str {
    domain.strip_suffix('.').unwrap_or(domain)
}

/// With all that is below them.
const RESERVED: [&str; 7] =
    ["test", "example", "invalid", "localhost", "example.com", "example.net", "example.org"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn recipients_stay_within_reserved_and_listed_domains() {
        for (domain, allowed, is_fine) in [
            ("example.com", &[][..], true),
            ("Deep.Down.EXAMPLE.net", &[], true),
            ("example.org.", &[], true),
            ("a.test", &[], true),
            ("test", &[], true),
            ("localhost", &[], true),
            ("", &[], true),
            ("[127.0.0.1]", &[], true),
            ("[IPv6:::1]", &[], true),
            ("[ipv6:::ffff:127.0.0.1]", &[], true),
            ("[10.0.0.1]", &[], false),
            ("[10.0.0.1]", &["[10.0.0.1]"], true),
            ("[IPv6:fd00::1]", &[], false),
            ("notexample.com", &[], false),
            (".example.com", &[], false),
            ("example.com.evil.de", &[], false),
            ("example.de", &[], false),
            ("mytest", &[], false),
            ("é.com", &[], false),
            ("gmail.com", &["corp.de"], false),
            ("corp.de", &["Corp.DE"], true),
            ("a.corp.de", &["corp.de"], false),
            ("a.b.corp.de", &["*.corp.de"], true),
            ("corp.de", &["*.corp.de"], false),
            ("acorp.de", &["*.corp.de"], false),
            ("corp.de", &["*"], false),
            ("corp.de", &["*.de"], false),
            ("corp.de", &["corp.de", ""], false),
            ("corp.de", &["corp.de", "*.*.de"], false),
        ] {
            let found = check_recipient_domains(["ok.test", domain], &texts(allowed));
            assert_eq!(found.is_ok(), is_fine, "{domain} {allowed:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_before_an_end_that_is_not_reserved_does_not_matter(start in "[a-z.@\\[\\]é]{0,20}") {
            let domain = format!("{start}.corp.de");
            prop_assert!(check_recipient_domains([domain.as_str()], &[]).is_err());
            let listed = check_recipient_domains([domain.as_str()], &["corp.de".to_owned()]);
            prop_assert!(listed.is_err());
        }
    }
}
