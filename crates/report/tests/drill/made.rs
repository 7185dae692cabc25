//! A record of made data: a primary that is killed, a backup that takes over, mail that is lost.

use report::drill::{
    Continuity, Criterion, Evidence, Example, Identity, Loss, Messages, Outage, Page, Phase,
    Second, Signature, Step, Undo, Verdict, Word,
};

/// Of so many seconds, at least 60.
pub(crate) fn failed(length_s: u64) -> Page {
    let (fault_us, back_us, end_us) = (20 * S, 32 * S, length_s * S);
    Page {
        verdict: Verdict { word: Word::Fail, sentence: "lost: 3 (asked: at most 0)".into() },
        identity: identity(end_us),
        description: "The primary is killed in full traffic.\nThe backup takes over.".into(),
        remarks: vec!["The clock of the backup is 40 ms ahead.".into()],
        seconds: (0..length_s).map(|s| second(s, fault_us / S, back_us / S)).collect(),
        phases: [
            ("baseline", 0, fault_us),
            ("fault", fault_us, back_us),
            ("recovered", back_us, end_us - 10 * S),
            ("drain", end_us - 10 * S, end_us),
        ]
        .map(|(name, from_us, to_us)| Phase { name: name.into(), from_us, to_us })
        .into(),
        criteria: [
            ("lost", "at most 0", "3", Word::Fail),
            ("rto of imap", "at most 30.0 s", "not seen", Word::Unknown),
            ("rto of smtp", "at most 30.0 s", "12.4 s", Word::Pass),
        ]
        .map(|(name, asked, measured, word)| Criterion {
            name: name.into(),
            asked: asked.into(),
            measured: measured.into(),
            word,
        })
        .into(),
        messages: messages(),
        examples: vec![Example {
            message: 1207,
            recipient: "anna@drill.test".into(),
            class: "lost".into(),
            accepted_us: Some(19_800_000),
            found: "nowhere".into(),
        }],
        outages: outages(fault_us, back_us),
        losses: losses(),
        continuity: Some(Continuity {
            looks: 4_102,
            breaches: 1,
            examples: vec!["INBOX of anna: UIDNEXT went from 310 back to 304".into()],
        }),
        steps: steps(fault_us),
        undos: vec![
            Undo {
                what: "kill-primary".into(),
                is_done: true,
                why: String::new(),
                by_hand: "systemctl start postfix | logger".into(),
            },
            Undo {
                what: "promote".into(),
                is_done: false,
                why: "the address is still there".into(),
                by_hand: "ip addr del 192.0.2.9/32 dev eth0".into(),
            },
        ],
        evidence: vec![Evidence { file: "journal.jsonl".into(), sha256: "5e".repeat(32) }],
        signatures: vec![Signature {
            role: "created".into(),
            name: "A. Operator".into(),
            date: "2026-11-22".into(),
        }],
    }
}

fn identity(duration_us: u64) -> Identity {
    Identity {
        drill: "d-7f3a91".into(),
        scenario: "kill-primary".into(),
        scenario_sha256: "c0".repeat(32),
        tool_version: "mailrig 0.1.0".into(),
        host: "drill.example.org".into(),
        operator: "A. Operator".into(),
        approver: "B. Approver".into(),
        ticket: "CHG-1042".into(),
        reference: "ISO 22301, 8.5".into(),
        started: "2026-11-22T09:30:00Z".into(),
        end_unix_s: Some(1_795_340_000),
        duration_us,
        aborted: String::new(),
    }
}

fn second(s: u64, fault: u64, back: u64) -> Second {
    let at_us = s * S;
    match s {
        s if s == fault => Second { at_us, accepted: 11, failed: 12, in_doubt: 7 },
        s if (fault..back).contains(&s) => {
            Second { at_us, accepted: 0, failed: 24 + s % 5, in_doubt: 0 }
        }
        s => Second { at_us, accepted: 28 + s * 7 % 5, failed: s % 17 / 16, in_doubt: 0 },
    }
}

fn messages() -> Messages {
    let by_class = [
        ("lost", 3),
        ("corrupt", 0),
        ("misdelivered", 0),
        ("delivered_after_reject", 0),
        ("resurrected", 0),
        ("duplicate", 1),
        ("stranded", 4),
        ("pending", 0),
        ("bounced", 0),
        ("quarantined", 0),
        ("late", 2),
        ("delivered", 2_751),
        ("expunged", 12),
        ("recovered", 5),
        ("not_accepted", 2),
        ("refused", 41),
    ];
    Messages {
        sent: 2_821,
        accepted: 2_773,
        attempts: 3_120,
        by_class: by_class.map(|(class, n)| (class.to_owned(), n)).into(),
        never_sent: 0,
        foreign: 6,
        explained_copies: 9,
        lost_bound_ppm: Some(1_081),
    }
}

fn outages(fault_us: u64, back_us: u64) -> Vec<Outage> {
    let smtp = Outage {
        incident: "kill-primary".into(),
        service: "smtp".into(),
        rto_us: Some(back_us + 400_000 - fault_us),
        objective_us: Some(30 * S),
        fault_us,
        noticed_us: Some(fault_us + 300_000),
        promoted_us: Some(back_us - 2 * S),
        first_ok_us: Some(back_us - S),
        stable_us: Some(back_us + 400_000),
        failures: 60,
        successes: 140,
    };
    let imap = Outage {
        service: "imap".into(),
        rto_us: None,
        stable_us: None,
        first_ok_us: None,
        ..smtp.clone()
    };
    vec![smtp, imap]
}

fn losses() -> Vec<Loss> {
    [
        ("promotion", 7, 81_920),
        ("salvage", 3, 30_720),
        ("snapshot", 611, 9_400_320),
        ("final", 3, 30_720),
    ]
    .map(|(moment, messages, bytes)| Loss {
        moment: moment.into(),
        accepted: 2_773,
        messages,
        bytes,
        age_us: Some(1_900_000),
        unread: if moment == "snapshot" { vec!["backup queue".into()] } else { Vec::new() },
    })
    .into()
}

fn steps(fault_us: u64) -> Vec<Step> {
    [
        ("kill-primary", "kill -9 of postfix on primary", "12 processes", 0, false),
        ("decide", "ask whether to promote", "yes", 4 * S, false),
        ("promote", "move the address", "done in 2 s", 10 * S, false),
        ("salvage", "bring the queue over", "rsync: connection refused", 25 * S, true),
    ]
    .map(|(name, what, result, after_us, is_failed)| Step {
        at_us: fault_us + after_us,
        utc: format!("09:30:{}", 20 + after_us / S),
        name: name.into(),
        what: what.into(),
        result: result.into(),
        is_failed,
        is_fault: after_us == 0,
        duration_us: Some(1_200_000),
        who: if name == "decide" { "A. Operator".into() } else { "mailrig".into() },
    })
    .into()
}

/// Microseconds of a second.
const S: u64 = 1_000_000;
