//! What is said to a server for an envelope: that which it offers, and no more; and when each phase began and ended.

use std::time::Instant;

use smtp::client::{Client, Endpoint, Options, Protocol};
use smtp::{Address, Content, Envelope, Failure, Notify, Outcome, Phase, Recipient, Refusal, Ret};

use crate::peer::{self, hear, say};
use crate::scripted::{envelope, letters, options};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// One that asks for all there is.
fn demanding(from: &str) -> Envelope {
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    let to = |text, notify| Recipient { address: address(text), notify };
    Envelope {
        from: (!from.is_empty()).then(|| address(from)),
        to: vec![
            to("1@b.test", notify(true, true, false)),
            to("\"a b\"@b.test", notify(false, false, false)),
            to("3@b.test", None),
        ],
        ret: Some(Ret::Headers),
        envelope_id: Some("a+b=c \u{e4}\r\n".into()),
        is_utf8: false,
    }
}

#[tokio::test]
async fn a_server_is_asked_for_what_it_offers() {
    let (seven, eight) = (&b"x\r\n"[..], "\u{e4}\r\n".as_bytes());
    let plain_rcpt = ["RCPT TO:<1@b.test>", "RCPT TO:<\"a b\"@b.test>", "RCPT TO:<3@b.test>"];
    let dsn_rcpt = [
        "RCPT TO:<1@b.test> NOTIFY=SUCCESS,FAILURE",
        "RCPT TO:<\"a b\"@b.test> NOTIFY=NEVER",
        "RCPT TO:<3@b.test>",
    ];
    for (offer, from, body, mail, rcpt) in [
        ("HELP", "a@c.test", seven, "MAIL FROM:<a@c.test>", plain_rcpt),
        ("HELP", "", eight, "MAIL FROM:<>", plain_rcpt),
        ("SIZE", "", seven, "MAIL FROM:<> SIZE=3", plain_rcpt),
        ("8BITMIME", "a@c.test", seven, "MAIL FROM:<a@c.test>", plain_rcpt),
        ("8bitmime\r\n250-size 9", "", eight, "MAIL FROM:<> SIZE=4 BODY=8BITMIME", plain_rcpt),
        ("SMTPUTF8", "a@c.test", seven, "MAIL FROM:<a@c.test>", plain_rcpt),
        ("SMTPUTF8", "\u{e4}@c.test", seven, "MAIL FROM:<\u{e4}@c.test> SMTPUTF8", plain_rcpt),
        ("DSN", "", seven, "MAIL FROM:<> RET=HDRS ENVID=a+2Bb+3Dc+20+C3+A4+0D+0A", dsn_rcpt),
    ] {
        let replies = ["250 ok\r\n"; 4];
        let said = [&[mail][..], &rcpt].concat();
        let mut script = vec![
            say("220 mx\r\n"),
            hear("EHLO client.test\r\n"),
            say(&format!("250-mx\r\n250-{offer}\r\n250 HELP\r\n")),
        ];
        script.extend(
            said.iter().zip(replies).flat_map(|(c, r)| [hear(&format!("{c}\r\n")), say(r)]),
        );
        script.extend([hear("DATA\r\n"), say("354 go\r\n")]);
        script.extend([
            hear(&format!("{}.\r\n", std::str::from_utf8(body).unwrap())),
            say("250 ok\r\n"),
        ]);
        let (peer_address, peer) = peer::start(script).await;
        let options = options(true, Protocol::Esmtp);
        let mut client =
            Client::connect(&Endpoint::Tcp(peer_address, None), &options).await.unwrap();
        let sent = client.send(&demanding(from), &[&Content::new(body)], None).await;
        assert_eq!(letters(&sent), "aaa", "{offer}");
        drop(client);
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_server_does_not_offer_and_cannot_be_left_out_is_refused_before_it_is_said() {
    let script = vec![
        say("220 mx\r\n"),
        hear("EHLO client.test\r\n"),
        say("250 mx\r\n"),
        hear("QUIT\r\n"),
        say("221 bye\r\n"),
    ];
    let (peer_address, peer) = peer::start(script).await;
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&Endpoint::Tcp(peer_address, None), &options).await.unwrap();
    let in_header = Envelope { is_utf8: true, ..envelope(1) };
    let in_recipient = Envelope { to: vec![address("a@b\u{fc}cher.test").into()], ..envelope(1) };
    for envelope in [in_header, in_recipient] {
        let sent = client.send(&envelope, &[&Content::new(b"x\r\n")], None).await;
        let is_told = matches!(
            &sent[..],
            [Outcome::Refused(Phase::Mail, Refusal::Failure(Failure::Unsupported(_)))]
        );
        assert!(is_told && !sent[0].is_transient(), "{sent:?}");
        assert!(client.is_open());
    }
    client.quit().await;
    peer.await.unwrap();
}

#[tokio::test]
async fn each_phase_has_its_beginning_and_its_end_once() {
    use Phase::{Banner, Body, Connect, Data, Ehlo, Mail, Quit, Rcpt, Rset};
    let (mail, end) = ("MAIL FROM:<a@client.test>\r\n", "x\r\n.\r\n");
    let rcpt = ["RCPT TO:<1@server.test>\r\n", "RCPT TO:<2@server.test>\r\n"];
    for is_pipelined in [false, true] {
        let offer = if is_pipelined { "250-mx\r\n250 PIPELINING\r\n" } else { "250 mx\r\n" };
        let mut script = vec![say("220 mx\r\n"), hear("LHLO client.test\r\n"), say(offer)];
        for (rset, data) in [("", "451 later\r\n"), ("RSET\r\n", "354 go\r\n")] {
            let all =
                [rset, mail, rcpt[0], rcpt[1], "DATA\r\n"].into_iter().filter(|c| !c.is_empty());
            let reply = |command: &str| if command == "DATA\r\n" { data } else { "250 ok\r\n" };
            if is_pipelined {
                script.push(hear(&all.clone().collect::<String>()));
                script.extend(all.map(|command| say(reply(command))));
            } else {
                script.extend(all.flat_map(|command| [hear(command), say(reply(command))]));
            }
        }
        script.extend([
            hear(end),
            say("250 ok\r\n"),
            say("250 ok\r\n"),
            hear("QUIT\r\n"),
            say("221 ok\r\n"),
        ]);
        let (peer_address, peer) = peer::start(script).await;
        let options = Options { chunking: false, ..options(true, Protocol::Lmtp) };
        let before = Instant::now();
        let mut client =
            Client::connect(&Endpoint::Tcp(peer_address, None), &options).await.unwrap();
        for expected in ["rr", "aa"] {
            let sent = client.send(&envelope(2), &[&Content::new(b"x\r\n")], None).await;
            assert_eq!(letters(&sent), expected);
        }
        let stamps = client.quit().await;
        let after = Instant::now();
        peer.await.unwrap();
        let phases: Vec<Phase> = stamps.iter().map(|stamp| stamp.phase).collect();
        let expected = [
            &[Connect, Banner, Ehlo][..],
            &[Mail, Rcpt, Rcpt, Data],
            &[Rset, Mail, Rcpt, Rcpt, Data, Body, Body, Quit],
        ];
        assert_eq!(phases, expected.concat(), "{is_pipelined}");
        let mut last_end = before;
        for stamp in &stamps {
            assert!(stamp.start <= stamp.end && last_end <= stamp.end && stamp.end <= after);
            // What does not go together with the one before begins after its end.
            let is_together = is_pipelined && !matches!(stamp.phase, Banner | Ehlo | Rset | Quit);
            let is_together = is_together || stamp.phase == Body;
            assert!(is_together || stamp.start >= last_end, "{is_pipelined} {:?}", stamp.phase);
            last_end = stamp.end;
        }
    }
}
