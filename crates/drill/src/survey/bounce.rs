//! Bounces (RFC 3464): a report that a message could not be delivered has the message, or its header, in it, and with that
//! the mark by which it is known.

use load::letters::{FIELD, Mark, read_mark};

/// What a bounce says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounce {
    pub(super) mark: Mark,
    /// Who did not get it; none: it does not say, or names several.
    pub(super) recipient: Option<String>,
}

/// `None`: it is no bounce of a message with a mark. `body` is what follows its own header. Whoever says that a message is
/// late has not given it up, and a message whose header was broken in two is no report.
pub(super) fn read(header: &[u8], body: &[u8]) -> Option<Bounce> {
    let header = String::from_utf8_lossy(header).to_ascii_lowercase();
    if !["auto-submitted:", "multipart/report", "x-failed-recipients:"]
        .iter()
        .any(|sign| header.contains(sign))
    {
        return None;
    }
    let body = &body[..body.len().min(LONGEST)];
    let mut recipients = Vec::new();
    let mut is_report = false;
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if has_name(line, b"Final-Recipient:") {
            is_report = true;
            let text = String::from_utf8_lossy(line);
            let address = text.rsplit(';').next().unwrap_or_default().trim();
            recipients.push(address.trim_matches(['<', '>']).to_owned());
        }
        if has_name(line, b"Action:") {
            let action = String::from_utf8_lossy(&line[b"Action:".len()..]);
            if !action.trim().eq_ignore_ascii_case("failed") {
                return None;
            }
        }
        // Exim's reports are for people, unless they are asked for otherwise; all of them quote the header.
        if has_name(line, FIELD.as_bytes()) {
            let mark = read_mark(&body[at..])?;
            let recipient = if recipients.len() == 1 { recipients.pop() } else { None };
            return (is_report || at > 0).then_some(Bounce { mark, recipient });
        }
        at += line.len();
    }
    None
}

fn has_name(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// The report comes first, and then the header.
const LONGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    const REPORT: &str = "This is the mail system.\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n\
        Final-Recipient: rfc822; u1@drill.test\nAction: failed\n\n--b\nContent-Type: text/rfc822-headers\n\n\
        Subject: x\nX-Mailrig-Load: 0000000000000007 42 000102030405060708090a0b0c0d0e0f\n\n--b--\n";

    #[test]
    fn a_report_names_the_message_and_who_did_not_get_it() {
        let header = b"Content-Type: multipart/report; report-type=delivery-status\n";
        let read = |body: &[u8]| super::read(header, body);
        let bounce = read(REPORT.as_bytes()).unwrap();
        assert_eq!((bounce.mark.run, bounce.mark.index), (7, 42));
        assert_eq!(bounce.recipient.as_deref(), Some("u1@drill.test"));
        let two = REPORT.replace("Action:", "Final-Recipient: rfc822; u2@drill.test\nAction:");
        assert_eq!(read(two.as_bytes()).unwrap().recipient, None);
        assert_eq!(read(b"Dear all,\nFinal-Recipient: me\n"), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(REPORT.replace("failed", "delayed").as_bytes()), None);
        assert_eq!(super::read(b"Subject: x\n", REPORT.as_bytes()), None);
    }
}
