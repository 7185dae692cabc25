//! What a server offers in its reply to EHLO or LHLO (RFC 5321, 4.1.1.1).

use crate::reply::Reply;

/// Extensions that the client knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 1870.
    pub size: bool,
    /// The largest message in bytes, if SIZE tells one.
    pub size_bytes_max: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// SASL mechanisms (RFC 4954), in upper case.
    pub auth: Vec<String>,
}

impl Capabilities {
    /// Of a positive reply; its first line is a greeting.
    pub fn parse(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.text.lines().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offered.pipelining = true,
                "CHUNKING" => offered.chunking = true,
                "SIZE" => {
                    offered.size = true;
                    let bytes = words.next().and_then(|bytes| bytes.parse().ok());
                    // Zero: no limit (RFC 1870, 4).
                    offered.size_bytes_max = bytes.filter(|bytes| *bytes > 0);
                }
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "DSN" => offered.dsn = true,
                "ENHANCEDSTATUSCODES" => offered.enhanced_status_codes = true,
                "STARTTLS" => offered.starttls = true,
                "AUTH" => offered.add_mechanisms(words),
                // `AUTH=` as servers say it for clients of the last century.
                _ => {
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        offered.add_mechanisms(std::iter::once(first).chain(words));
                    }
                }
            }
        }
        offered
    }

    fn add_mechanisms<'m>(&mut self, names: impl Iterator<Item = &'m str>) {
        for name in names.filter(|name| !name.is_empty()).map(str::to_ascii_uppercase) {
            if !self.auth.contains(&name) {
                self.auth.push(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ReplyParser;

    #[test]
    fn what_is_offered_is_read_and_what_is_unknown_is_passed_over() {
        let text = "250-mx PIPELINING\r\n250-size 1000\r\n250-AUTH plain LOGIN\r\n250-AUTH=PLAIN XOAUTH2\r\n\
                    250-8BITMIME\r\n250-X-NEW\r\n250-\r\n250 CHUNKING\r\n";
        let (reply, _) = ReplyParser::default().parse(text.as_bytes()).unwrap().unwrap();
        let auth = ["PLAIN", "LOGIN", "XOAUTH2"].map(str::to_owned).to_vec();
        let expected = Capabilities {
            size: true,
            size_bytes_max: Some(1000),
            eight_bit_mime: true,
            chunking: true,
            auth,
            ..Capabilities::default()
        };
        assert_eq!(Capabilities::parse(&reply), expected);
    }
}
