//! Our client and our server, over real sockets: what is accepted is in the mailboxes, and what is not
//! is in none.

use std::fs;

use smtp::client::{Client, Endpoint, Options, Protocol};
use smtp::sasl::{Credentials, Mechanism};
use smtp::server::OFFERED;
use smtp::{Content, Outcome, Refusal};

use crate::scripted::options;
use crate::world::{Plan, World, codes, envelope};

const LETTER: &str = "Subject: x\r\n\r\n.one\r\n..two\r\n";

#[tokio::test]
async fn what_is_accepted_is_in_the_mailboxes_as_it_was_sent() {
    for (protocol, is_pipelining, chunking) in [
        (Protocol::Esmtp, true, false),
        (Protocol::Esmtp, false, false),
        (Protocol::Esmtp, true, true),
        (Protocol::Lmtp, true, false),
        (Protocol::Lmtp, false, true),
    ] {
        let world =
            World::start(Plan { is_lmtp: protocol == Protocol::Lmtp, ..Plan::default() }).await;
        let options = Options { chunking, ..options(is_pipelining, protocol) };
        let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
        let content = Content::new(LETTER.as_bytes());
        let to = ["a@x.test", "nobody@x.test", "B@X.test", "b@x.test"];
        let sent = client.send(&envelope(&to), &[&content], None).await;
        assert_eq!(codes(&sent), [250, 550, 550, 250], "{sent:?}");
        // The next one finds the session as if nothing had been.
        let nobody = client.send(&envelope(&to[1..2]), &[&content], None).await;
        assert_eq!(codes(&nobody), [550]);
        let again = client.send(&envelope(&to[..1]), &[&content, &content], None).await;
        assert_eq!(codes(&again), [250]);
        let large = Content::new(&b"x\r\n".repeat(100_000));
        let sent = client.send(&envelope(&to[..1]), &[&large], None).await;
        assert_eq!(codes(&sent), [552]);
        client.quit().await;
        let body = LETTER.replace("\r\n", "\n");
        let [a, b] = ["x.test/a", "x.test/b"].map(|mailbox| world.messages(mailbox));
        assert_eq!((a.len(), b.len()), (2, 1));
        assert!(
            a[0].starts_with("Return-Path: <s@client.test>\nDelivered-To: a@x.test\nReceived: ")
        );
        assert!(a[0].ends_with(&format!("\n{body}")), "{}", a[0]);
        assert!(a[1].ends_with(&format!("\n{body}{body}")) && b[0].ends_with(&body));
        let counts = world.server.counts();
        assert_eq!(counts.accepted, if protocol == Protocol::Lmtp { 3 } else { 2 });
        world.assert_clean();
        world.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_at_any_byte_of_the_end_leaves_a_whole_message_or_none() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let commands = "EHLO c\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n";
    let all = format!("{commands}{LETTER}.\r\n");
    for cut in commands.len()..=all.len() {
        let world = World::start(Plan::default()).await;
        let Endpoint::Tcp(address, _) = world.endpoint else { unreachable!() };
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(&all.as_bytes()[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        let is_whole = cut == all.len();
        assert_eq!(said.contains("kept as"), is_whole, "{cut}: {said}");
        assert_eq!(world.messages("x.test/a").len(), usize::from(is_whole), "{cut}");
        world.assert_clean();
        world.stop().await;
    }
}

#[tokio::test]
async fn rules_make_go_wrong_what_they_say_and_the_client_knows_what_it_cannot_know() {
    let refused = |code: u16| (code, 'r', 0);
    let table = [
        ("at = 'mail'\nreply = '451 4.7.1 later'", refused(451)),
        ("at = 'rcpt'\nreply = '450 4.2.0 later'", refused(450)),
        ("at = 'data'\nreply = '554 5.7.1 no'", refused(554)),
        ("at = 'end'\nreply = '552 5.2.2 full'", refused(552)),
        ("at = 'rcpt'\ngreylist_ms = 100000", refused(451)),
        ("at = 'mail'\ndrop = true", (0, 'f', 0)),
        ("at = 'end'\ndrop = true", (0, 'u', 0)),
        ("at = 'end'\nlose_reply = true", (0, 'u', 1)),
        ("at = 'end'\nhalf_line = true", (0, 'u', 1)),
        ("at = 'end'\ngarbage = true", (0, 'u', 1)),
        ("at = 'end'\nlie = '451 4.3.0 no'", (451, 'r', 1)),
        ("at = 'end'\nahead_ms = 100000", (250, 'a', 0)),
        ("at = 'end'\nstall_ms = 20", (250, 'a', 1)),
        ("at = 'mail'\ndelay_ms = 20", (250, 'a', 1)),
        ("at = 'data'\nread_bytes_per_s = 2000", (250, 'a', 1)),
        ("at = 'end'\nreply = '250 2.0.0 fine'", (250, 'a', 1)),
    ];
    for (rule, (code, letter, kept)) in table {
        let world = World::start(Plan::default()).await;
        world.server.faults.load(&format!("[[rule]]\n{rule}\n")).unwrap();
        let options = options(true, Protocol::Esmtp);
        let options = Options { chunking: false, ..options };
        let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
        let content = Content::new(LETTER.as_bytes());
        let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
        let is = match &sent[0] {
            Outcome::Accepted(_) => 'a',
            Outcome::Refused(_, Refusal::Reply(_)) => 'r',
            Outcome::Refused(..) => 'f',
            Outcome::Unknown(_) => 'u',
        };
        assert_eq!((codes(&sent)[0], is), (code, letter), "{rule}: {sent:?}");
        drop(client);
        assert_eq!(world.messages("x.test/a").len(), kept, "{rule}");
        world.stop().await;
    }
}

#[tokio::test]
async fn nothing_that_others_take_for_the_end_of_a_message_is_one() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for end in
        ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\n.\r", "\r.\r\n", "\r\n\0.\r\n"]
    {
        let world = World::start(Plan::default()).await;
        let Endpoint::Tcp(address, _) = world.endpoint else { unreachable!() };
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let smuggled = "MAIL FROM:<t@c.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nsmuggled\r\n.\r\n";
        let all = format!(
            "EHLO c\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nSubject: x\r\n{end}{smuggled}\
             QUIT\r\n"
        );
        stream.write_all(all.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.matches("354 ").count(), 1, "{end:?}: {said}");
        assert!(world.messages("x.test/b").is_empty(), "{end:?}");
        // With a NUL alone nothing stands alone: it is one message with strange text.
        assert_eq!(said.contains("550 5.6.11"), !end.contains('\0'), "{end:?}: {said}");
        world.stop().await;
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_no_mailboxes() {
    let world = World::start(Plan::default()).await;
    fs::create_dir_all(world.dir.path().join("new")).unwrap();
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
    let content = Content::new(b"x\r\n");
    let to = ["\"..\"@x.test", "\"../b\"@x.test", "a/b@x.test", "\".\"@x.test", "\"\"@x.test"];
    let sent = client.send(&envelope(&to), &[&content], None).await;
    assert_eq!(codes(&sent), [553; 5], "{sent:?}");
    client.quit().await;
    world.stop().await;
}

#[tokio::test]
async fn who_knows_the_password_is_let_in_by_every_mechanism_and_nobody_else() {
    let world = World::start(Plan {
        users: "ann:pass word\n# a comment\n\nbob:s3cret\n",
        ..Plan::default()
    })
    .await;
    for name in OFFERED {
        let mechanism = Mechanism::parse(name).unwrap();
        for (user, secret, is_let_in) in [
            ("ann", "pass word", true),
            ("bob", "s3cret", true),
            ("ann", "s3cret", false),
            ("ann", "x", false),
            ("nobody", "s3cret", false),
        ] {
            let credentials =
                Credentials { user: user.into(), secret: secret.into(), authorize_as: None };
            let auth = Some((mechanism, credentials));
            let options =
                Options { auth, is_plaintext_allowed: true, ..options(true, Protocol::Esmtp) };
            let connected = Client::connect(&world.endpoint, &options).await;
            let context = format!("{name} {user} {secret}");
            match connected {
                Ok(mut client) => {
                    assert!(is_let_in, "{context}");
                    let content = Content::new(b"x\r\n");
                    let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
                    assert_eq!(codes(&sent), [250], "{context}");
                }
                Err(e) => {
                    assert!(!is_let_in, "{context}: {e}");
                    assert_eq!(e.phase, smtp::Phase::Auth);
                    assert!(
                        matches!(&e.refusal, Refusal::Reply(r) if r.code == 535),
                        "{context} {e}"
                    );
                }
            }
        }
    }
    // Without it, nothing.
    let options = options(true, Protocol::Esmtp);
    let mut client = Client::connect(&world.endpoint, &options).await.unwrap();
    let content = Content::new(b"x\r\n");
    let sent = client.send(&envelope(&["a@x.test"]), &[&content], None).await;
    assert_eq!(codes(&sent), [530]);
    drop(client);
    world.stop().await;
}
