//! What our client does with each server: transactions of all kinds, TLS, and every SASL mechanism that is offered.

use std::net::SocketAddr;
use std::path::PathBuf;

use smtp::client::{Capabilities, Client, Endpoint, Options, Protocol, Secure};
use smtp::sasl::{Credentials, Mechanism};
use smtp::{Address, Content, Envelope, Notify, Outcome, Phase, Recipient, Refusal, Ret};

use super::letters::{Letter, arrived, letter, letters};
use crate::mail::authority::Authority;
use crate::scripted::options;
use crate::world::{envelope, envelope_from};

/// A server to speak to. It has mailboxes for `a@x.test` and `b@x.test`, and refuses `nobody@x.test`.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    /// Where the Maildirs `a` and `b` are.
    pub(crate) mail: PathBuf,
}

impl Peer {
    pub(crate) fn esmtp(port: u16, mail: PathBuf) -> Self {
        Self { endpoint: at(port), protocol: Protocol::Esmtp, mail }
    }
}

/// A port of this host.
pub(crate) fn at(port: u16) -> Endpoint {
    Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], port)), None)
}

pub(crate) async fn connect(endpoint: &Endpoint, options: &Options) -> Client {
    let auth = options.auth.as_ref().map(|(mechanism, _)| mechanism.name());
    Client::connect(endpoint, options).await.unwrap_or_else(|e| panic!("{auth:?}: {e}"))
}

pub(crate) async fn send(
    client: &mut Client,
    envelope: &Envelope,
    letter: &Letter,
) -> Vec<Outcome> {
    client.send(envelope, &[&Content::new(&letter.bytes)], None).await
}

/// Whether an outcome is a final refusal of a recipient.
fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Phase::Rcpt, Refusal::Reply(reply)) if reply.code / 100 == 5)
}

/// Messages with and without pipelining and BDAT, to recipients of whom one is refused, and one after the other. Gives what
/// the server offered.
pub(crate) async fn transactions(peer: &Peer) -> Capabilities {
    let (mut sent, mut shared) = (Vec::new(), Vec::new());
    let mut offered = Capabilities::default();
    for (pipelining, chunking) in [(false, false), (true, false), (false, true), (true, true)] {
        let series = format!("pipelining {pipelining}, chunking {chunking}");
        let options = Options { pipelining, chunking, ..options(true, peer.protocol) };
        let mut client = connect(&peer.endpoint, &options).await;
        offered = client.capabilities().clone();
        for (number, letter) in letters(&series).into_iter().enumerate() {
            if number == 0 {
                let all = ["a@x.test", "nobody@x.test", "b@x.test"];
                let outcomes = send(&mut client, &envelope(&all), &letter).await;
                let are_right = outcomes[0].is_accepted() && outcomes[2].is_accepted();
                assert!(are_right && is_refused(&outcomes[1]), "{series}: {outcomes:?}");
                check_phases(&mut client, peer.protocol, chunking && offered.chunking);
                let nobody = send(&mut client, &envelope(&["nobody@x.test"]), &letter).await;
                assert!(is_refused(&nobody[0]), "{series}: {nobody:?}");
                shared.push(letter);
                continue;
            }
            let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter).await;
            assert!(outcomes[0].is_accepted(), "{}: {outcomes:?}", letter.subject);
            sent.push(letter);
        }
        assert!(client.is_open());
        assert_eq!(client.quit().await.last().unwrap().phase, Phase::Quit);
    }
    arrived(&peer.mail.join("b"), &shared.iter().collect::<Vec<_>>()).await;
    arrived(&peer.mail.join("a"), &shared.iter().chain(&sent).collect::<Vec<_>>()).await;
    assert!(!peer.mail.join("nobody").exists());
    offered
}

/// What a message says of itself and of what shall become of it, as far as the server wants to know; and one that is larger
/// than the server says that it takes, if it says so. The mailbox has one message for each that is offered.
pub(crate) async fn extensions(peer: &Peer) {
    let mut client = connect(&peer.endpoint, &options(true, peer.protocol)).await;
    let offered = client.capabilities().clone();
    let mut sent = Vec::new();
    if offered.dsn {
        let always = Notify { success: true, failure: true, delay: true };
        let never = Notify { success: false, failure: false, delay: false };
        for (ret, notify) in [(Ret::Headers, always), (Ret::Full, never)] {
            let to = vec![Recipient {
                notify: Some(notify),
                ..Address::parse("a@x.test").unwrap().into()
            }];
            let envelope_id = Some("a+b=c d!".to_owned());
            let envelope = Envelope { to, ret: Some(ret), envelope_id, ..envelope(&[]) };
            sent.push((envelope, letter(&format!("{ret:?}"), b"x\r\n")));
        }
    }
    if offered.smtputf8 {
        let envelope = Envelope {
            is_utf8: true,
            ..envelope_from("gr\u{fc}\u{df}e@client.test", &["a@x.test"])
        };
        sent.push((envelope, letter("Gr\u{fc}\u{df}e", "Gr\u{fc}\u{df}e\r\n".as_bytes())));
    }
    for (envelope, letter) in &sent {
        let outcomes = send(&mut client, envelope, letter).await;
        let [Outcome::Accepted(reply)] = &outcomes[..] else {
            panic!("{}: {outcomes:?}", letter.subject);
        };
        assert_eq!(reply.enhanced.is_some(), offered.enhanced_status_codes, "{reply}");
    }
    if let Some(most) = offered.size_bytes_max {
        // Some count bytes without CR, and only as they come.
        let lines = b"It is too large.\r\n".repeat(usize::try_from(most).unwrap() / 16);
        let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter("large", &lines)).await;
        let Outcome::Refused(Phase::Mail | Phase::Body, Refusal::Reply(reply)) = &outcomes[0]
        else {
            panic!("{outcomes:?}");
        };
        assert!(matches!(reply.code, 552 | 554), "{reply}");
    }
    client.quit().await;
    arrived(&peer.mail.join("a"), &sent.iter().map(|(_, letter)| letter).collect::<Vec<_>>()).await;
}

/// Every phase up to the first message's last reply is stamped, in order.
fn check_phases(client: &mut Client, protocol: Protocol, is_chunked: bool) {
    use Phase::{Banner, Body, Connect, Data, Ehlo, Mail, Rcpt};
    let stamps = client.take_stamps();
    let phases: Vec<Phase> = stamps.iter().map(|stamp| stamp.phase).collect();
    let mut expected = vec![Connect, Banner, Ehlo, Mail, Rcpt, Rcpt, Rcpt];
    expected.extend((!is_chunked).then_some(Data));
    expected.extend(vec![Body; if protocol == Protocol::Lmtp { 2 } else { 1 }]);
    assert_eq!(phases, expected);
    assert!(stamps.iter().all(|stamp| stamp.start <= stamp.end));
    assert!(stamps.is_sorted_by_key(|stamp| stamp.end));
}

/// Handshakes: with the authority that the server has its certificate from, again with what is left of the first if the
/// server remembers it, and with an authority and a name that are not the server's. In between, messages of `ann`'s.
pub(crate) async fn handshakes(
    peer: &Peer,
    is_implicit: bool,
    authority: &Authority,
    is_resuming: bool,
) {
    let secure = authority.secure(is_implicit, None);
    let auth = Some((Mechanism::Plain, ann("secret".into())));
    let options = Options { tls: Some(secure.clone()), auth, ..options(true, peer.protocol) };
    for is_resumed in [false, is_resuming] {
        let mut client = connect(&peer.endpoint, &options).await;
        let secured = client.secured().unwrap();
        assert_eq!((secured.is_resumed, secured.version.as_str()), (is_resumed, "TLSv1_3"));
        let letter = letter("TLS", b"x\r\n");
        let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter).await;
        assert!(outcomes[0].is_accepted(), "{outcomes:?}");
        client.quit().await;
    }
    let other = Secure { server_name: "other.test".into(), ..secure };
    for tls in [Authority::new().secure(is_implicit, None), other] {
        let options = Options { tls: Some(tls), ..options.clone() };
        let refused = Client::connect(&peer.endpoint, &options).await.err().unwrap();
        assert_eq!(refused.phase, Phase::Tls, "{refused}");
    }
}

/// Every mechanism that the server offers, which must be these: with the right secret a message is taken, with another one
/// there is no session. EXTERNAL has no secret, and is left to [`external`].
pub(crate) async fn mechanisms(
    peer: &Peer,
    tls: &Secure,
    expected: &[Mechanism],
    secret: impl Fn(Mechanism) -> String,
) {
    let options = Options { tls: Some(tls.clone()), ..options(true, peer.protocol) };
    let client = connect(&peer.endpoint, &options).await;
    let mut offered: Vec<Mechanism> =
        client.capabilities().auth.iter().filter_map(|name| Mechanism::parse(name)).collect();
    client.quit().await;
    offered.retain(|mechanism| *mechanism != Mechanism::External);
    offered.sort_unstable();
    assert_eq!(offered, expected);
    for &mechanism in expected {
        let name = mechanism.name();
        let with =
            |secret: String| Options { auth: Some((mechanism, ann(secret))), ..options.clone() };
        let mut client = connect(&peer.endpoint, &with(secret(mechanism))).await;
        let letter = letter(name, b"x\r\n");
        let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter).await;
        assert!(outcomes[0].is_accepted(), "{name}: {outcomes:?}");
        client.quit().await;
        let Err(refused) = Client::connect(&peer.endpoint, &with("wrong".into())).await else {
            panic!("{name}: let in with a wrong secret");
        };
        let is_code = matches!(&refused.refusal, Refusal::Reply(reply) if reply.code == 535);
        assert!(refused.phase == Phase::Auth && is_code, "{name}: {refused}");
    }
}

fn ann(secret: String) -> Credentials {
    Credentials { user: "ann".into(), secret, authorize_as: None }
}

/// A certificate of `ann`'s lets her in, with her name or without; nobody comes in without a certificate.
pub(crate) async fn external(peer: &Peer, is_implicit: bool, authority: &Authority) {
    let certificate = authority.issue("ann");
    for (identity, user) in [(Some(&certificate), ""), (Some(&certificate), "ann"), (None, "ann")] {
        let credentials = Credentials { user: user.into(), ..ann(String::new()) };
        let tls = Some(authority.secure(is_implicit, identity));
        let auth = Some((Mechanism::External, credentials));
        let options = Options { tls, auth, ..options(true, peer.protocol) };
        match Client::connect(&peer.endpoint, &options).await {
            Ok(mut client) => {
                assert!(identity.is_some(), "let in without a certificate");
                let letter = letter("EXTERNAL", b"x\r\n");
                let outcomes = send(&mut client, &envelope(&["a@x.test"]), &letter).await;
                assert!(outcomes[0].is_accepted(), "{user:?}: {outcomes:?}");
                client.quit().await;
            }
            Err(refused) => {
                assert!(identity.is_none() && refused.phase == Phase::Auth, "{user:?}: {refused}");
            }
        }
    }
}
