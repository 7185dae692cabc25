//! Why nothing was accepted, and what may help: the answer that came most often, and the next step for it.

use crate::replies::Row;
use crate::verdict::Advice;

/// Of the rows of a reply table, what came most often first.
pub(super) fn why(rows: &[Row]) -> Option<Advice> {
    let row =
        rows.iter().find(|row| row.failure.is_some() || row.code.is_some_and(|c| c >= 400))?;
    let code = row.code.map(|code| format!(" {code}")).unwrap_or_default();
    Some(Advice {
        reason: format!("at {}, {} times:{code} {}", row.phase, row.count, row.text),
        advice: next_step(row).to_owned(),
        is_invalid: false,
    })
}

fn next_step(row: &Row) -> &'static str {
    let has = |word: &str| row.text.contains(word);
    let failure = row.failure.as_deref();
    match (row.phase.as_str(), failure, row.code) {
        ("connect", Some("exhausted"), _) => {
            "raise the limit of this machine, or take fewer --connections"
        }
        ("connect", _, _) if has("assign requested address") => {
            "--source takes addresses that this machine has"
        }
        ("connect", Some("timeout"), _) => {
            "does the server have this address, and is no firewall between?"
        }
        ("connect", _, _) => "does the server run, and does it listen at this address and port?",
        ("tls", _, _) if has("certificate") => {
            "trust its authority with --tls-ca or the certificate with --tls-pin, expect another name \
             with --tls-name, or take any with --tls-any"
        }
        ("tls", _, _) => {
            "does TLS begin before the greeting there (--tls implicit), or after STARTTLS (--tls starttls)?"
        }
        ("starttls", _, _) => {
            "does the server have TLS on this port? If it begins before the greeting, say --tls implicit"
        }
        ("auth", Some("unsupported"), _) => "add --tls, or allow it with --plain-auth",
        ("auth", _, Some(504)) => "choose --auth among the mechanisms that the server offers",
        ("auth", _, _) => "does the server know the names and passwords in --users?",
        ("mail", _, Some(530)) => "the server wants --auth, or --tls",
        ("rcpt", _, Some(_)) => "does the server take mail for these --recipients?",
        ("banner", Some(_), _) => "does the server speak SMTP there, and in plain text at first?",
        _ => "the server's log may say more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(phase: &str, code: Option<u16>, failure: Option<&str>, text: &str, count: u64) -> Row {
        Row {
            phase: phase.into(),
            code,
            failure: failure.map(Into::into),
            enhanced: None,
            text: text.into(),
            count,
            first_ms: 0,
            last_ms: 0,
        }
    }

    #[test]
    fn each_common_failure_has_a_next_step() {
        let io = Some("io");
        for (row, part) in [
            (row("connect", None, io, "Connection refused", 1), "does the server run"),
            (row("connect", None, io, "Cannot assign requested address", 1), "--source"),
            (row("connect", None, Some("timeout"), "no answer within 5 s", 1), "firewall"),
            (row("connect", None, Some("exhausted"), "no ports left", 1), "--connections"),
            (
                row("tls", None, Some("tls"), "invalid peer certificate: UnknownIssuer", 1),
                "--tls-ca",
            ),
            (row("tls", None, Some("tls"), "received corrupt message", 1), "--tls starttls"),
            (row("starttls", None, Some("unsupported"), "no STARTTLS", 1), "--tls implicit"),
            (row("auth", None, Some("unsupported"), "plain text", 1), "--plain-auth"),
            (row("auth", Some(535), None, "wrong", 1), "--users"),
            (row("auth", Some(504), None, "unknown", 1), "--auth"),
            (row("mail", Some(530), None, "log in", 1), "--auth"),
            (row("rcpt", Some(550), None, "no such user", 1), "--recipients"),
            (row("banner", None, Some("closed"), "closed", 1), "speak SMTP"),
            (row("data", Some(554), None, "no", 1), "log"),
        ] {
            let advice = why(std::slice::from_ref(&row)).unwrap();
            assert!(advice.advice.contains(part), "{row:?}: {advice:?}");
            assert!(advice.reason.contains(&row.text), "{row:?}: {advice:?}");
        }
    }

    #[test]
    fn the_failure_that_came_most_often_is_told() {
        let rows = [
            row("body", Some(250), None, "", 9),
            row("rcpt", Some(550), None, "no such user", 5),
            row("mail", Some(421), None, "busy", 1),
        ];
        let advice = why(&rows).unwrap();
        assert_eq!(advice.reason, "at rcpt, 5 times: 550 no such user");
        assert!(why(&rows[..1]).is_none() && why(&[]).is_none());
        let failed = why(&[row("tls", None, Some("tls"), "no", 2)]).unwrap();
        assert_eq!(failed.reason, "at tls, 2 times: no");
    }
}
