//! Messages of a run: what they are made of, that they repeat, that their marks survive servers, and that what was
//! signed verifies.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::*;

const PLAIN: &str = "Subject: one\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain;\r\n charset=us-ascii\r\n\r\n.One  line\t\r\n\r\n..and\r\n.\r\n\r\n\r\n";

fn template(text: &str) -> Template {
    Template::new(text.as_bytes()).unwrap()
}

fn ingredients() -> Ingredients {
    Ingredients {
        run: 0xfeed,
        seed: 7,
        start: Timestamp::from_second(1_767_225_600).unwrap(),
        templates: vec![
            (1.0, template(PLAIN)),
            (3.0, template("Subject: two\r\n\r\n8bit \u{e4}\r\n")),
        ],
        senders: Addresses::parse("s{1..9}@from.test").unwrap(),
        recipients: Addresses::parse("u{1..500}@example.test").unwrap(),
        per_message: "1-3".parse().unwrap(),
        signer: None,
        observed: None,
    }
}

fn letters() -> Letters {
    Letters::new(ingredients()).unwrap()
}

fn bytes(letter: &Letter) -> Vec<u8> {
    [letter.head.raw(), letter.body.raw()].concat()
}

/// Header and body, as a reader takes them apart.
fn apart(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.windows(2).position(|two| two == b"\n\n").unwrap();
    (&message[..=end], &message[end + 2..])
}

#[test]
fn a_message_follows_from_seed_run_start_and_index() {
    let all =
        |letters: &Letters| (0..50).map(|index| bytes(&letters.make(index))).collect::<Vec<_>>();
    let first = all(&letters());
    assert_eq!(all(&letters()), first);
    assert_eq!(letters().make(4711).head.raw(), letters().make(4711).head.raw());
    let later = Timestamp::from_second(1_767_225_601).unwrap();
    for other in [
        Ingredients { seed: 8, ..ingredients() },
        Ingredients { run: 1, ..ingredients() },
        Ingredients { start: later, ..ingredients() },
    ] {
        assert_ne!(all(&Letters::new(other).unwrap()), first);
    }
}

#[test]
fn a_message_is_whole_and_each_has_its_own_id() {
    let (letters, mut ids) = (letters(), BTreeSet::new());
    for index in (0..1000).chain([u64::MAX]) {
        let letter = letters.make(index);
        let message = String::from_utf8(bytes(&letter)).unwrap();
        assert!(message.replace("\r\n", "").find(['\r', '\n']).is_none(), "{message}");
        let (header, _) = message.split_once("\r\n\r\n").unwrap();
        let header = header.replace("\r\n ", " ");
        let value = |name: &str| {
            let lines = header.lines().filter_map(|line| line.split_once(": "));
            let values: Vec<&str> =
                lines.filter(|(found, _)| *found == name).map(|(_, value)| value).collect();
            assert_eq!(values.len(), 1, "{name} in {message}");
            values[0].to_owned()
        };
        assert!(header.lines().all(|line| line.contains(": ")), "{message}");
        assert_eq!(value("Date"), "Thu, 01 Jan 2026 00:00:00 +0000");
        let from = letter.envelope.from.unwrap();
        assert_eq!(value("From"), from.as_str());
        let to: Vec<&str> = letter.envelope.to.iter().map(|to| to.address.as_str()).collect();
        assert_eq!(value("To"), to.join(", "));
        assert!((1..=3).contains(&to.len()), "{to:?}");
        assert_eq!(value("Message-ID"), format!("<000000000000feed.{index}@from.test>"));
        assert!(ids.insert(value("Message-ID")));
        assert!(["one", "two"].contains(&value("Subject").as_str()));
    }
}

#[test]
fn a_mark_and_its_sum_are_found_again_in_a_store() {
    let letters = letters();
    for index in 0..200 {
        let text = String::from_utf8(bytes(&letters.make(index))).unwrap().replace("\r\n", "\n");
        let stored =
            format!("Return-Path: <s@from.test>\nReceived: from a\n\tby b; now\n{text}\n\n");
        let (header, body) = apart(stored.as_bytes());
        let mark = read_mark(header).unwrap();
        assert_eq!((mark.run, mark.index, mark.sum), (0xfeed, index, sum(body)));
        let changed = [body, b"-- \nscanned\n"].concat();
        assert_ne!(sum(&changed), mark.sum);
    }
}

#[test]
fn templates_are_picked_by_weight() {
    let weights = [1.0, 2.0, 3.0, 0.5, 0.0, 3.5];
    let pool = |i: usize| template(&format!("Subject: {i}\r\n\r\n"));
    let templates = weights.iter().enumerate().map(|(i, weight)| (*weight, pool(i))).collect();
    let letters = Letters::new(Ingredients { templates, ..ingredients() }).unwrap();
    let mut counts = [0.0; 6];
    for index in 0..20_000 {
        let body = letters.make(index).body;
        counts[usize::from(body.raw()[9] - b'0')] += 1.0;
    }
    assert_eq!(counts[4], 0.0);
    let square =
        |(count, weight): (&f64, &f64)| (count - weight * 2000.0).powi(2) / (weight * 2000.0);
    let chi: f64 =
        counts.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0).map(square).sum();
    // Four degrees of freedom: exceeded once in a thousand seeds, and this one is fixed.
    assert!(chi < 18.5, "{chi}: {counts:?}");
}

#[test]
fn what_cannot_stand_below_a_head_is_refused() {
    for (text, reason) in [
        ("Subject: x\r\n", BadTemplate::Endless),
        ("", BadTemplate::Endless),
        (" folded\r\n\r\n", BadTemplate::Folded),
        ("A: b\r\nno field\r\n\r\n", BadTemplate::NoField(2)),
        ("A b: c\r\n\r\n", BadTemplate::NoField(1)),
        ("DATE: now\r\n\r\n", BadTemplate::Own("DATE".into())),
        ("Resent-To: a@b\r\n\r\n", BadTemplate::Own("Resent-To".into())),
    ] {
        assert_eq!(Template::new(text.as_bytes()).unwrap_err(), reason, "{text:?}");
    }
    assert_eq!(template("\r\nbody\r\n").parts(), (&b""[..], &b"body\r\n"[..]));
    assert_eq!(template("\r\n\r\n").parts(), (&b""[..], &b"\r\n"[..]));
    let new = |templates| Letters::new(Ingredients { templates, ..ingredients() }).unwrap_err();
    assert_eq!(new(Vec::new()), BadLetters::Empty);
    assert_eq!(new(vec![(0.0, template(PLAIN)), (f64::NAN, template(PLAIN))]), BadLetters::Empty);
    assert_eq!(new(vec![(1.0, template(PLAIN)); 513]), BadLetters::TooMany(513));
    let large = template(&format!("\r\n{}", "x\r\n".repeat(1 << 20)));
    let bytes = (3 << 20) + 2;
    assert_eq!(new(vec![(1.0, large); 86]), BadLetters::TooLarge(86 * bytes));
}

const ED25519: &str = include_str!("../../tests/keys/dkim-ed25519.pem");
const RSA: &str = include_str!("../../tests/keys/dkim-rsa.pem");

fn signed(pem: &str) -> Vec<u8> {
    let signer = Signer::from_pem(pem, "from.test", "mail").unwrap();
    let per_message = "3".parse().unwrap();
    let templates = vec![(1.0, template(PLAIN))];
    let ingredients = Ingredients { signer: Some(signer), templates, per_message, ..ingredients() };
    bytes(&Letters::new(ingredients).unwrap().make(3))
}

/// dkimpy 1.1.8 verified the very messages that have these sums, also with a line above them and other white space, and
/// refused them with another subject, content type, body or mark.
#[test]
fn what_is_signed_is_what_an_independent_verifier_accepts() {
    for (pem, expected) in [
        (ED25519, 0x5e8e_0341_ace0_b374_75be_af42_d5c9_a34a_u128),
        (RSA, 0xd37b_40d2_c4ef_6fde_0a12_11f9_ca03_2d26),
    ] {
        let message = signed(pem);
        let text = String::from_utf8_lossy(&message);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let found = u128::from_str_radix(&hex(&Sha256::digest(&message)[..16]), 16).unwrap();
        assert_eq!(found, expected, "{found:032x} {text}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_size_of_heads_is_known_before() {
    let signer = || Signer::from_pem(ED25519, "from.test", "mail").unwrap();
    for signer in [None, Some(signer())] {
        let Ingredients { senders, recipients, per_message, .. } = ingredients();
        let told = mean_head_bytes(&senders, &recipients, per_message, signer.as_ref());
        let templates = vec![(1.0, template(PLAIN))];
        let letters = Letters::new(Ingredients { signer, templates, ..ingredients() }).unwrap();
        let size = |index| letters.make(index).head.size_bytes();
        let found = (10_000..10_500).map(size).sum::<u64>() / 500;
        assert!(found.abs_diff(told) <= 5, "{found} and not {told}");
    }
}

#[test]
fn a_key_says_what_has_to_stand_in_dns() {
    let signer = |pem| Signer::from_pem(pem, "example.test", "mail2026").unwrap();
    assert_eq!(signer(RSA).record_name(), "mail2026._domainkey.example.test");
    assert!(signer(RSA).record().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"));
    assert_eq!(signer(ED25519).record().len(), "v=DKIM1; k=ed25519; p=".len() + 44);
    let line = signer(RSA).zone_line();
    let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    assert_eq!(strings.concat(), signer(RSA).record());
    assert!(strings.len() == 2 && strings.iter().all(|part| part.len() <= 255), "{line}");
}

#[test]
fn what_is_no_key_is_refused() {
    let cut = ED25519.replace("MC4CAQ", "MC4CBQ");
    let of_other = ED25519.replace("PRIVATE", "EC PRIVATE");
    for (pem, domain, selector, reason) in [
        ("", "a.test", "s", BadSigner::Pem),
        (&*of_other, "a.test", "s", BadSigner::Pem),
        (&ED25519[..40], "a.test", "s", BadSigner::Pem),
        (&*cut, "a.test", "s", BadSigner::Key),
        (ED25519, "a.test; d=b", "s", BadSigner::Name),
        (ED25519, "a.test", "", BadSigner::Name),
        (ED25519, "a..test", "s", BadSigner::Name),
    ] {
        assert_eq!(Signer::from_pem(pem, domain, selector).unwrap_err(), reason, "{pem} {domain}");
    }
}

#[test]
fn messages_are_like_those_of_the_log_where_it_says_what_they_were() {
    let like = |size_bytes, recipients| TraceArrival {
        at: std::time::Duration::ZERO,
        size_bytes,
        recipients,
    };
    let arrivals =
        vec![like(Some(900), 3), like(Some(5_100), 1), like(None, 2), like(Some(1), 9_999)];
    let trace = Arc::new(Trace { arrivals, lines: 4, unread_lines: 0 });
    let template = |bytes: usize| {
        let text = format!("Subject: x\r\n\r\n{}\r\n", "a".repeat(bytes));
        (1.0, Template::new(text.as_bytes()).unwrap())
    };
    let new = |has_sizes, has_recipients| {
        let observed = Some(Observed { trace: Arc::clone(&trace), has_sizes, has_recipients });
        let templates = [1_000, 5_000, 20_000].map(template).to_vec();
        let recipients = Addresses::parse("u{1..50}@x.test").unwrap();
        let per_message = PerMessage::ONE;
        let ingredients =
            Ingredients { observed, templates, recipients, per_message, ..ingredients() };
        Letters::new(ingredients).unwrap()
    };
    let told = |letters: &Letters, index| {
        let letter = letters.make(index);
        (letter.body.size_bytes() / 1_000, letter.envelope.to.len())
    };
    let letters = new(true, true);
    assert_eq!((told(&letters, 0), told(&letters, 1)), ((1, 3), (5, 1)));
    assert_eq!((told(&letters, 2).1, told(&letters, 3)), (2, (1, 50)));
    // Beyond the log, and where it was not asked for, they are drawn.
    assert_eq!(told(&letters, 4).1, 1);
    assert_eq!(told(&new(true, false), 0), (1, 1));
    let sizes: BTreeSet<u64> = (10..60).map(|index| told(&letters, index).0).collect();
    assert_eq!(sizes, BTreeSet::from([1, 5, 20]));
}
