//! What a line of a mail log says of the arrival of mail: Postfix, Exim, and our own server's events.

use serde::Deserialize;

use super::stamp::Stamp;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<'l> {
    /// Postfix: this message is coming in.
    Coming(&'l str),
    /// Postfix: it is in the queue; said again at each further attempt.
    Queued { id: &'l str, size_bytes: Option<u64>, recipients: u32 },
    /// Exim: this message has come in; recipients where the log has them here.
    Came { id: &'l str, size_bytes: Option<u64>, recipients: Option<u32> },
    /// Exim: it was delivered to, or failed for, one recipient.
    Recipient(&'l str),
    /// Nothing more will be said of it.
    Gone(&'l str),
    /// All that there is to say of a message.
    Whole { size_bytes: u64, recipients: u32 },
    /// Something else.
    Other,
}

/// Reads a line; none where it has no time.
pub(super) fn read(line: &str) -> Option<(Stamp, Said<'_>)> {
    if line.starts_with('{') {
        return read_event(line);
    }
    let (stamp, rest) = Stamp::read(line)?;
    if let Some(said) = read_exim(rest) {
        return Some((stamp, said));
    }
    // The host, then `postfix/smtpd[123]: `.
    let syslog = rest.split_once(' ').and_then(|(_, rest)| rest.split_once(": "));
    let said = syslog.and_then(|(program, text)| {
        let program = program.split('[').next().unwrap_or_default();
        if program.starts_with("exim") {
            // Through syslog it may say the time again.
            return read_exim(Stamp::read(text).map_or(text, |(_, rest)| rest));
        }
        read_postfix(program.rsplit('/').next()?, text)
    });
    Some((stamp, said.unwrap_or(Said::Other)))
}

fn read_postfix<'l>(program: &str, text: &'l str) -> Option<Said<'l>> {
    let (id, text) = text.split_once(": ")?;
    let is_id = (5..=24).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_id || id == "NOQUEUE" {
        return None;
    }
    Some(match program {
        "smtpd" if text.starts_with("client=") => Said::Coming(id),
        "pickup" | "qmqpd" => Said::Coming(id),
        "cleanup" if text.starts_with("message-id=") => Said::Coming(id),
        "qmgr" | "nqmgr" | "oqmgr" if text == "removed" => Said::Gone(id),
        // A sender in quotes may have anything in it: what counts stands at the end.
        "qmgr" | "nqmgr" | "oqmgr" if text.starts_with("from=<") => {
            let fields = text.strip_suffix(" (queue active)")?;
            let (fields, recipients) = fields.rsplit_once(", nrcpt=")?;
            let (_, size_bytes) = fields.rsplit_once(">, size=")?;
            let recipients = recipients.parse().unwrap_or(1);
            Said::Queued { id, size_bytes: size_bytes.parse().ok(), recipients }
        }
        _ => return None,
    })
}

/// What follows the time.
fn read_exim(text: &str) -> Option<Said<'_>> {
    let text = match text.strip_prefix('[') {
        Some(pid) => pid.split_once("] ")?.1,
        None => text,
    };
    let (id, text) = text.split_once(' ')?;
    if !is_exim_id(id) {
        return None;
    }
    let (flag, fields) = text.split_once(' ').unwrap_or((text, ""));
    Some(match flag {
        "<=" => {
            // Subjects stand in quotes, and can look like anything.
            let before = fields.split(" T=\"").next().unwrap_or_default();
            let after = fields.rsplit('"').next().unwrap_or_default();
            let size = before.split(' ').chain(after.split(' ')).find_map(|f| f.strip_prefix("S="));
            let recipients = after.split_once(" for ").map(|(_, recipients)| {
                u32::try_from(recipients.split_whitespace().count()).unwrap_or(u32::MAX)
            });
            Said::Came { id, size_bytes: size.and_then(|size| size.parse().ok()), recipients }
        }
        "=>" | "->" | "**" | ">>" | "*>" => Said::Recipient(id),
        "Completed" => Said::Gone(id),
        _ => Said::Other,
    })
}

/// `1dJ08B-0003oP-5i`, and since 4.97 `1rFbIJ-00000000abc-0Dk2`.
fn is_exim_id(id: &str) -> bool {
    let mut parts = id.split('-').map(|part| {
        let is_plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_plain { part.len() } else { 0 }
    });
    let lengths = [parts.next(), parts.next(), parts.next(), parts.next()];
    matches!(lengths, [Some(6), Some(6), Some(2), None] | [Some(6), Some(11), Some(4), None])
}

/// A line of the log of our own server.
#[derive(Deserialize)]
struct Event<'l> {
    r#type: &'l str,
    #[serde(default)]
    began_ms: Option<u64>,
    #[serde(default)]
    at_ms: Option<u64>,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    to: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    outcome: Option<&'l str>,
}

fn read_event(line: &str) -> Option<(Stamp, Said<'_>)> {
    let event: Event<'_> = serde_json::from_str(line).ok()?;
    let stamp = Stamp::of_ms(event.began_ms.or(event.at_ms)?)?;
    let is_mail =
        event.r#type == "transaction" && matches!(event.outcome, Some("accepted" | "in-doubt"));
    if !is_mail {
        return Some((stamp, Said::Other));
    }
    let recipients = u32::try_from(event.to.len()).unwrap_or(u32::MAX);
    Some((stamp, Said::Whole { size_bytes: event.bytes, recipients }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Said<'_> {
        read(line).unwrap_or_else(|| panic!("unread: {line}")).1
    }

    #[test]
    fn postfix_lines_say_what_came() {
        let queued =
            |recipients| Said::Queued { id: "4XyZab1Qz", size_bytes: Some(81), recipients };
        for (text, expected) in [
            ("postfix/smtpd[7]: 4XyZab1Qz: client=mx.test[192.0.2.1]", Said::Coming("4XyZab1Qz")),
            (
                "postfix/submission/smtpd[7]: 4XyZab1Qz: client=a[1], sasl_method=PLAIN",
                Said::Coming("4XyZab1Qz"),
            ),
            ("postfix/pickup[7]: 3F2A1: uid=0 from=<root>", Said::Coming("3F2A1")),
            ("postfix/cleanup[7]: 3F2A1: message-id=<a@b.test>", Said::Coming("3F2A1")),
            ("postfix/cleanup[7]: 3F2A1: warning: header", Said::Other),
            (
                "postfix/qmgr[9]: 4XyZab1Qz: from=<a@b.test>, size=81, nrcpt=3 (queue active)",
                queued(3),
            ),
            (
                "postfix/qmgr[9]: 4XyZab1Qz: from=<\">, size=1, nrcpt=9\"@b.test>, size=81, nrcpt=1 \
                 (queue active)",
                queued(1),
            ),
            ("postfix/qmgr[9]: 4XyZab1Qz: removed", Said::Gone("4XyZab1Qz")),
            ("postfix/qmgr[9]: 4XyZab1Qz: from=<a@b.test>, status=expired", Said::Other),
            ("postfix/smtpd[7]: NOQUEUE: client=x", Said::Other),
            ("postfix/smtp[7]: 3F2A1: to=<a@b.test>, relay=x, status=sent", Said::Other),
            ("sshd[7]: 3F2A1: client=x", Said::Other),
        ] {
            for stamp in ["Nov  2 07:08:09", "2026-11-02T07:08:09.123456+01:00"] {
                assert_eq!(said(&format!("{stamp} mx {text}")), expected, "{text}");
            }
        }
    }

    #[test]
    fn exim_lines_say_what_came() {
        let id = "1dJ08B-0003oP-5i";
        let came = |size_bytes, recipients| Said::Came { id, size_bytes, recipients };
        for (text, expected) in [
            (
                format!("{id} <= a@b.test H=x [192.0.2.1] P=esmtp S=1364 id=1@x"),
                came(Some(1364), None),
            ),
            (format!("{id} <= a@b.test P=local S=9 for x@y.test z@y.test"), came(Some(9), Some(2))),
            (
                format!("[17] {id} <= a@b.test S=9 T=\"it is S=7 for me\" for x@y.test"),
                came(Some(9), Some(1)),
            ),
            (format!("{id} <= <> R=1dJ08A-0003oP-11 U=exim P=local S=x"), came(None, None)),
            (format!("{id} => x@y.test R=dns T=smtp"), Said::Recipient(id)),
            (format!("{id} ** x@y.test: no"), Said::Recipient(id)),
            (format!("{id} == x@y.test: later"), Said::Other),
            (format!("{id} Completed"), Said::Gone(id)),
            ("1dJ08B-0003oP <= a@b.test S=1".into(), Said::Other),
            ("1rFbIJ-00000000abc-0Dk2 Completed".into(), Said::Gone("1rFbIJ-00000000abc-0Dk2")),
        ] {
            let stamp = "2017-06-08 11:17:56";
            assert_eq!(said(&format!("{stamp} {text}")), expected, "{text}");
            assert_eq!(said(&format!("Jun  8 11:17:56 mx exim[3]: {text}")), expected, "{text}");
            let twice = format!("Jun  8 11:17:56 mx exim[3]: {stamp} {text}");
            assert_eq!(said(&twice), expected, "{text}");
        }
    }

    #[test]
    fn events_of_our_own_server_say_what_came() {
        let event = |outcome: &str| {
            format!(
                "{{\"type\":\"transaction\",\"id\":\"a\",\"from\":\"x@y.test\",\"to\":[\"a@b.test\",\
                 \"\\u0022@b.test\"],\"bytes\":77,\"outcome\":\"{outcome}\",\"began_ms\":1700000000123}}"
            )
        };
        let mail = Said::Whole { size_bytes: 77, recipients: 2 };
        assert_eq!(said(&event("accepted")), mail);
        assert_eq!(said(&event("in-doubt")), mail);
        assert_eq!(said(&event("aborted")), Said::Other);
        assert_eq!(said("{\"type\":\"relay\",\"id\":\"a\",\"at_ms\":1700000000123}"), Said::Other);
        for line in ["{", "{}", "{\"type\":\"relay\"}", "{\"type\":1,\"at_ms\":1}"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
