//! Dovecot delivers, into Maildirs and for IMAP: what it accepted is seen by every watcher, each copy once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use load::deliver::{Account, Folder, Judge, Judged, Place, Watch, watch_imap, watch_maildir};
use rustix::process::{getegid, geteuid};
use sha2::{Digest, Sha256};
use smtp::client::{Client, Endpoint, Limits, Options, Protocol};
use smtp::tls::{Tls, Trust};
use smtp::{Address, Content, Envelope};
use tokio::time::timeout;

use crate::process::{Process, free_port, is_skipped};

struct Dovecot {
    imap_port: u16,
    imaps_port: u16,
    /// Its certificate's SHA-256.
    sha256: [u8; 32],
    /// Ends before its folder goes.
    _process: Process,
    home: tempfile::TempDir,
}

impl Dovecot {
    /// `None` where the tests are told to skip Dovecot.
    fn start() -> Option<Self> {
        if is_skipped("dovecot") {
            return None;
        }
        let program = Path::new("/usr/sbin/dovecot");
        assert!(
            program.exists() && Path::new("/usr/lib/dovecot/imap").exists(),
            "dovecot-core or dovecot-imapd is missing: run `cargo xtask test`, which installs them, or leave it out \
             with MAILRIG_TEST_SKIP=dovecot"
        );
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = home.path().join("mail");
        fs::create_dir(&store).unwrap();
        chown(&store, Some(owner().0), Some(owner().1)).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        write_pem(&home.path().join("certificate.pem"), "CERTIFICATE", certificate.der());
        write_pem(&home.path().join("key.pem"), "PRIVATE KEY", &key.serialize_der());
        let (imap_port, imaps_port) = (free_port(), free_port());
        let path = home.path().join("dovecot.conf");
        fs::write(&path, configuration(home.path(), imap_port, imaps_port)).unwrap();
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(&path);
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(imap_port);
        let sha256 = Sha256::digest(certificate.der()).into();
        Some(Self { imap_port, imaps_port, sha256, _process: process, home })
    }

    fn store(&self) -> PathBuf {
        self.home.path().join("mail")
    }

    fn folder(&self, is_imaps: bool, has_tls: bool) -> Folder {
        let (scheme, port) =
            if is_imaps { ("imaps", self.imaps_port) } else { ("imap", self.imap_port) };
        let tls = has_tls.then(|| Tls::new(&Trust::Pinned(self.sha256), false, None).unwrap());
        Folder {
            place: Place::parse(&format!("{scheme}://a%40x.test@127.0.0.1:{port}")).unwrap(),
            password: "secret".into(),
            tls,
            interval: Duration::from_millis(20),
        }
    }

    async fn client(&self) -> Client {
        let limit = Duration::from_secs(60);
        let limits = Limits {
            connect: limit,
            tls: limit,
            banner: limit,
            command: limit,
            data: limit,
            write: limit,
            end: limit,
            quit: limit,
        };
        let options = Options {
            protocol: Protocol::Lmtp,
            hello: "client.test".into(),
            pipelining: true,
            chunking: false,
            proxy: None,
            tls: None,
            auth: None,
            is_plaintext_allowed: false,
            limits,
        };
        let endpoint = Endpoint::Unix(self.home.path().join("lmtp"));
        Client::connect(&endpoint, &options).await.unwrap()
    }
}

#[tokio::test]
async fn every_copy_that_dovecot_accepts_is_seen_once_wherever_it_is_looked_for() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut watches = vec![(watch_maildir(&dovecot.store(), judge()).await.unwrap(), 2)];
    for (is_imaps, has_tls) in [(false, false), (false, true), (true, true)] {
        let folder = dovecot.folder(is_imaps, has_tls);
        // A folder has one of the two copies.
        watches.push((watch_imap(folder, judge()).await.unwrap(), 1));
    }
    let mut client = dovecot.client().await;
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
    let to = ["a@x.test", "b@x.test"].map(|to| address(to).into()).into();
    Envelope { from: Some(address("s@client.test")), to, ..Envelope::default() }
}

fn write_pem(path: &Path, kind: &str, der: &[u8]) {
    let text = BASE64.encode(der);
    let lines =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    let lines: String = lines.collect();
    fs::write(path, format!("-----BEGIN {kind}-----\n{lines}-----END {kind}-----\n")).unwrap();
}

/// Whose the mail is: as root, a user's whom the system does not know.
fn owner() -> (u32, u32) {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() { (5000, 5000) } else { (user.as_raw(), group.as_raw()) }
}

fn configuration(home: &Path, imap_port: u16, imaps_port: u16) -> String {
    let (home, (uid, gid)) = (home.display(), owner());
    let users = if geteuid().is_root() {
        String::new()
    } else {
        let name = std::env::var("USER").expect("USER is set");
        format!("default_internal_user = {name}\ndefault_login_user = {name}\n")
    };
    format!(
        r#"{users}base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols = imap lmtp
ssl = yes
ssl_cert = <{home}/certificate.pem
ssl_key = <{home}/key.pem
listen = 127.0.0.1
mail_location = maildir:{home}/mail/%d/%n/Maildir
mail_home = {home}/home/%u
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
postmaster_address = postmaster@x.test
default_vsz_limit = 0
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
}}
"#
    )
}
