//! A Dovecot of a test's own: LMTP on a Unix socket and on TCP, submission, IMAP, and what it knows of users for others to ask.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use rustix::process::geteuid;
use sha2::Sha256;
use smtp::sasl::Mechanism;

use super::authority::Authority;
use super::jail::{Home, OWNER};
use super::process::{Process, free_port, is_skipped};
use super::programs::{Ran, must, run};

pub(crate) struct Dovecot {
    pub(crate) lmtp_port: u16,
    pub(crate) imap_port: u16,
    pub(crate) imaps_port: u16,
    pub(crate) submission_port: u16,
    pub(crate) submissions_port: u16,
    pub(crate) authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

impl Dovecot {
    /// `None` where the tests are told to skip Dovecot. What is submitted goes to `onward`, a port.
    pub(crate) fn start(onward: u16) -> Option<Self> {
        if is_skipped("dovecot") {
            return None;
        }
        let (program, parts) = (Path::new("/usr/sbin/dovecot"), Path::new("/usr/lib/dovecot"));
        assert!(
            program.exists()
                && ["imap", "lmtp", "submission"].iter().all(|part| parts.join(part).exists()),
            "Dovecot or its IMAP, LMTP or submission is missing: run `cargo xtask test`, which installs them, \
             or leave it out with MAILRIG_TEST_SKIP=dovecot"
        );
        let home = Home::new();
        let authority = Authority::new();
        authority.issue("mx.test").write(home.path());
        authority.write(home.path());
        let [lmtp_port, imap_port, imaps_port] = [free_port(), free_port(), free_port()];
        let [submission_port, submissions_port] = [free_port(), free_port()];
        home.folder("mail", owner().0);
        std::fs::create_dir_all(home.path().join("keys/default/HS256")).unwrap();
        home.write("keys/default/HS256/default", &BASE64.encode(TOKEN_KEY));
        home.write("tokens", &tokens(home.path()));
        home.write("people", "a::::::\nann::::::\nb::::::\nbroken::::::\n");
        home.write("accounts", "ann:{PLAIN}secret\n");
        let ports = [lmtp_port, imap_port, imaps_port, submission_port, submissions_port, onward];
        let configuration = home.write("dovecot.conf", &configuration(home.path(), ports));
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(&configuration);
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(lmtp_port);
        Some(Self {
            lmtp_port,
            imap_port,
            imaps_port,
            submission_port,
            submissions_port,
            authority,
            _process: process,
            home,
        })
    }

    pub(crate) fn lmtp_socket(&self) -> PathBuf {
        self.home.path().join("lmtp")
    }

    pub(crate) fn auth_socket(&self) -> PathBuf {
        self.home.path().join("auth")
    }

    pub(crate) fn mail(&self) -> PathBuf {
        self.home.path().join("mail")
    }

    /// What `doveadm fetch` tells of the one message with a subject in a Maildir of others, which is its from then on.
    pub(crate) async fn fetch(&self, mailbox: &Path, what: &str, subject: &str) -> Ran {
        if geteuid().is_root() {
            must(&["chown", "-R", "5000:5000", &mailbox.display().to_string()]).await;
        }
        let configuration = self.home.path().join("dovecot.conf").display().to_string();
        let location = format!("mail_location=maildir:{}", mailbox.display());
        let doveadm = ["doveadm", "-c", &configuration, "-o", &location, "-f", "pager"];
        let search = ["fetch", "-u", "a", what, "mailbox", "INBOX", "HEADER", "Subject", subject];
        run(&[&doveadm[..], &search].concat()).await
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// What it says that it took by LMTP: for whom, and the Message-ID.
    pub(crate) fn saved(&self) -> Vec<(String, String)> {
        let log = self.log();
        let saved = |line: &str| {
            let line = line.strip_suffix(": saved mail to INBOX")?;
            let (start, id) = line.split_once(": msgid=")?;
            let user = start.split_once("lmtp(")?.1.split([')', '@']).next()?;
            Some((user.to_owned(), id.to_owned()))
        };
        log.lines().filter_map(saved).collect()
    }

    /// Lines of its log that tell of trouble.
    pub(crate) fn complaints(&self, expected: &[&str]) -> Vec<String> {
        self.home.complaints("log", &["Error:", "Warning:", "Fatal:", "Panic:"], expected)
    }
}

/// All that it has with a secret, as the client sorts them.
pub(crate) const MECHANISMS: [Mechanism; 8] = [
    Mechanism::ScramSha256,
    Mechanism::ScramSha1,
    Mechanism::OauthBearer,
    Mechanism::Xoauth2,
    Mechanism::CramMd5,
    Mechanism::DigestMd5,
    Mechanism::Plain,
    Mechanism::Login,
];

/// What lets `ann` in.
pub(crate) fn secret(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::OauthBearer | Mechanism::Xoauth2 => token(),
        _ => "secret".to_owned(),
    }
}

/// A JSON Web Token for `ann` that does not expire while anybody lives who could mind.
fn token() -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"HS256","typ":"JWT","kid":"default"}"#);
    let claims = part(r#"{"sub":"ann","iat":1700000000,"exp":4000000000}"#);
    let signed = format!("{head}.{claims}");
    let mut mac = Hmac::<Sha256>::new_from_slice(TOKEN_KEY).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn tokens(home: &Path) -> String {
    format!(
        "introspection_mode = local\n\
         local_validation_key_dict = fs:posix:prefix={}/keys/\n\
         username_attribute = sub\n",
        home.display()
    )
}

/// Who has the mail, and what to say of Dovecot's own users: as root mail has an owner that no account has.
fn owner() -> (u32, String) {
    let user = geteuid();
    if user.is_root() {
        return (OWNER, String::new());
    }
    let name = std::env::var("USER").expect("USER is set");
    (user.as_raw(), format!("default_internal_user = {name}\ndefault_login_user = {name}\n"))
}

fn configuration(
    home: &Path,
    [lmtp, imap, imaps, submission, submissions, onward]: [u16; 6],
) -> String {
    let (home, (owner, users)) = (home.display(), owner());
    format!(
        r#"{users}base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
hostname = mx.test
protocols = imap lmtp submission
listen = 127.0.0.1
ssl = yes
ssl_cert = <{home}/certificate.pem
ssl_key = <{home}/key.pem
ssl_ca = <{home}/authority.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_username_from_cert = yes
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 oauthbearer xoauth2 external
auth_failure_delay = 0
mail_location = maildir:{home}/mail/%n
mail_home = {home}/homes/%n
mail_uid = {owner}
mail_gid = {owner}
first_valid_uid = 1
first_valid_gid = 1
postmaster_address = postmaster@x.test
default_vsz_limit = 0
submission_relay_host = 127.0.0.1
submission_relay_port = {onward}
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {home}/tokens
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
passdb {{
  driver = passwd-file
  args = username_format=%n {home}/accounts
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {home}/people
  default_fields = uid={owner} gid={owner}
}}
service anvil {{
  chroot =
  # Who failed does not have to wait.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {home}/auth {{
    mode = 0666
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = {submissions}
    ssl = yes
  }}
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
protocol lmtp {{
  mail_plugins =
}}
"#
    )
}

const TOKEN_KEY: &[u8] = b"nobody needs to guess this one";
