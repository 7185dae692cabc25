//! Dovecot delivers, into Maildirs and for IMAP: what it accepted is seen by every watcher, each copy once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::deliver::{Account, Folder, Judge, Judged, Place, Watch, watch_imap, watch_maildir};
use smtp::client::{Client, Endpoint, Limits, Options, Protocol};
use smtp::tls::{Tls, Trust};
use smtp::{Address, Content, Envelope};
use tokio::time::timeout;

use crate::mail::dovecot::Dovecot;

fn folder(dovecot: &Dovecot, is_imaps: bool, has_tls: bool) -> Folder {
    let (scheme, port) =
        if is_imaps { ("imaps", dovecot.imaps_port) } else { ("imap", dovecot.imap_port) };
    let roots = Trust::Roots(vec![dovecot.authority.der()]);
    let tls = has_tls.then(|| Tls::new(&roots, false, None).unwrap());
    Folder {
        place: Place::parse(&format!("{scheme}://ann@127.0.0.1:{port}")).unwrap(),
        password: "secret".into(),
        tls,
        interval: Duration::from_millis(20),
    }
}

async fn client(dovecot: &Dovecot) -> Client {
    let limits = Limits::all(Duration::from_secs(60));
    let protocol = Protocol::Lmtp;
    let options = Options { protocol, limits, ..Options::new("client.test") };
    Client::connect(&Endpoint::Unix(dovecot.lmtp_socket()), &options).await.unwrap()
}

#[tokio::test]
async fn every_copy_that_dovecot_accepts_is_seen_once_wherever_it_is_looked_for() {
    // Nobody submits anything.
    let Some(dovecot) = Dovecot::start(1) else { return };
    let mut watches = vec![(watch_maildir(&dovecot.mail(), judge()).await.unwrap(), 2)];
    for (is_imaps, has_tls) in [(false, false), (false, true), (true, true)] {
        let folder = folder(&dovecot, is_imaps, has_tls);
        // A folder has one of the two copies.
        watches.push((watch_imap(folder, judge()).await.unwrap(), 1));
    }
    let mut client = client(&dovecot).await;
    let mut accepted = Vec::new();
    for index in 0..100 {
        let text =
            format!("Subject: x\r\nX-Index: {index}\r\n\r\n{}", "body\r\n".repeat(1 + 200 * index));
        let sent = client.send(&envelope(), &[&Content::new(text.as_bytes())], None).await;
        let at = Instant::now();
        assert!(
            sent.iter().all(|outcome| outcome.reply().is_some_and(|r| r.code == 250)),
            "{sent:?}"
        );
        accepted.push(at);
    }
    for (watch, copies) in watches {
        let account = account(watch, &accepted, copies).await;
        let delivery = account.finish();
        assert_eq!(delivery.delivered, 100 * u64::from(copies), "{delivery:?}");
        let strange = delivery.doubled + delivery.untold + delivery.other + delivery.unreadable;
        assert_eq!((strange, delivery.corrupted, delivery.lost), (0, 0, 0), "{delivery:?}");
    }
    assert_eq!(dovecot.complaints(&[]), Vec::<String>::new());
}

/// Takes all that is to be seen, and what else there is.
async fn account(mut watch: Watch, accepted: &[Instant], copies: u32) -> Account {
    let mut account = Account::default();
    for (index, at) in (0..).zip(accepted) {
        account.accepted(index, copies, *at);
    }
    while account.missing() > 0 {
        let next = timeout(Duration::from_secs(60), watch.next()).await;
        account.take(&next.expect("nothing new for a minute").expect("it is over"));
    }
    watch.stop();
    while let Some(seen) = watch.next().await {
        account.take(&seen);
    }
    watch.end().await.unwrap();
    account
}

/// Knows messages by their number, and their bodies by the length that this number gives them.
fn judge() -> Judge {
    Arc::new(|message| {
        let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let Some((head, body)) = text.split_once("\n\n") else { return Judged::Other };
        let index = head.lines().find_map(|line| line.strip_prefix("X-Index: "));
        let Some(Ok(index)) = index.map(str::parse::<u64>) else { return Judged::Other };
        Judged::Ours { index, sum_ok: body.lines().count() as u64 == 1 + 200 * index }
    })
}

fn envelope() -> Envelope {
    let address = |text: &str| Address::parse(text).unwrap();
    let to = ["ann@x.test", "b@x.test"].map(|to| address(to).into()).into();
    Envelope { from: Some(address("s@client.test")), to, ..Envelope::default() }
}
