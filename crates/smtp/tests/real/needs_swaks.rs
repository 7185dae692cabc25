//! swaks as the client of our server: TLS both ways, AUTH, pipelining, LMTP.

use smtp::server::Verdict;

use crate::mail::authority::Authority;
use crate::mail::programs::{installed, must, run};
use crate::process::is_skipped;
use crate::world::{Plan, World};

fn is_here() -> bool {
    if is_skipped("swaks") {
        return false;
    }
    installed("swaks", "/usr/bin/swaks");
    true
}

#[tokio::test]
async fn a_message_is_taken_from_who_logged_in_through_tls() {
    if !is_here() {
        return;
    }
    let authority = Authority::new();
    for is_tls in [false, true] {
        let plan = Plan {
            certificate: Some(authority.issue("mx.test").certificate()),
            users: "ann:secret\n",
            is_tls,
            ..Plan::default()
        };
        let world = World::start(plan).await;
        let root = authority.write(world.dir.path());
        let (server, root) = (world.address().to_string(), root.display().to_string());
        let how = if is_tls { "--tls-on-connect" } else { "--tls" };
        let swaks = ["swaks", "-s", &server, "-f", "s@client.test", "-t", "a@x.test,b@x.test", how];
        let verified = [&swaks[..], &["--tls-verify", "--tls-ca-path", &root]].concat();
        for mechanism in ["PLAIN", "LOGIN"] {
            let auth = ["--auth", mechanism, "--auth-user", "ann", "--auth-password"];
            let words = [&verified[..], &auth, &["secret"]].concat();
            must(&words).await;
            must(&[&words[..], &["--pipeline"]].concat()).await;
            // swaks has a code for this.
            let refused = run(&[&verified[..], &auth, &["wrong"]].concat()).await;
            assert!(refused.code == Some(28) && refused.said.contains("535"), "{}", refused.said);
        }
        let refused = run(&verified).await;
        assert!(refused.code == Some(23) && refused.said.contains("530"), "{}", refused.said);
        assert_eq!(["x.test/a", "x.test/b"].map(|mailbox| world.messages(mailbox).len()), [4, 4]);
        assert!(world.messages("x.test/a")[0].contains("with ESMTPSA"));
        let mut events = world.stop().await;
        events.retain(|event| event.outcome == Verdict::Accepted);
        assert!(events.iter().all(|event| event.tls && event.user.as_deref() == Some("ann")));
        assert_eq!(events.len(), 4);
    }
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    if !is_here() {
        return;
    }
    let rules = "[[rule]]\nat = 'end'\nevery = 2\nreply = '452 4.2.2 full'\n";
    let world = World::start(Plan { is_lmtp: true, rules, ..Plan::default() }).await;
    let socket = world.dir.path().join("lmtp").display().to_string();
    let swaks = ["swaks", "--protocol", "LMTP", "--socket", &socket, "-f", "s@client.test"];
    let words = [&swaks[..], &["-t", "a@x.test,nobody@x.test,b@x.test"]].concat();
    must(&words).await;
    let refused = run(&words).await;
    assert!(refused.code == Some(26) && refused.said.contains("452 4.2.2"), "{}", refused.said);
    assert_eq!(["x.test/a", "x.test/b"].map(|mailbox| world.messages(mailbox).len()), [1, 1]);
    let events = world.stop().await;
    assert_eq!((events[0].replies.len(), events[0].outcome), (2, Verdict::Accepted));
    assert_eq!((events[1].replies.len(), events[1].outcome), (2, Verdict::Refused));
}
