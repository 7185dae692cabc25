//! Tells a sender that a message was not delivered (RFC 3464, in the form of RFC 6522). What has no sender is
//! a bounce itself, and makes none: it is kept for people to look at.

use super::deliver::date;
use super::relay::Attempt;

/// The report on the recipients that failed, with the head of the message.
pub(super) fn report(host: &str, attempt: &Attempt, message: &[u8]) -> Vec<u8> {
    let boundary =
        format!("=_{}_{}", attempt.id, host.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
    let mut text = format!(
        "From: MAILER-DAEMON@{host}\r\nTo: {to}\r\nSubject: Not delivered\r\nDate: {date}\r\n\
         Message-ID: <bounce.{id}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         This message could not be delivered:\r\n\r\n",
        to = attempt.waiting.from,
        id = attempt.id,
        date = date(),
    );
    for (to, reason) in &attempt.failed {
        text.push_str(&format!("  {to}: {}\r\n", one_line(reason)));
    }
    text.push_str(&format!(
        "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {host}\r\n"
    ));
    for (to, reason) in &attempt.failed {
        text.push_str(&format!(
            "\r\nFinal-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: 5.0.0\r\n\
             Diagnostic-Code: smtp; {}\r\n",
            one_line(reason)
        ));
    }
    text.push_str(&format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"));
    let mut report = text.into_bytes();
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |end| end + 2);
    report.extend_from_slice(&message[..end.min(HEAD_BYTES)]);
    report.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    report
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Of a head: more is nobody's.
const HEAD_BYTES: usize = 64 * 1024;
