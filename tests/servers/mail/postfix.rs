//! A Postfix of a test's own: it takes mail for a domain and keeps it in Maildirs, or hands it on to where the test wants it.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authority::Authority;
use super::jail::{Home, Jail, OWNER, user_id};
use super::process::{Process, free_port, is_skipped};
use super::programs::must;

pub(crate) struct Postfix {
    /// For everybody, STARTTLS if they like; for those who log in, after STARTTLS; and for these, TLS from the start.
    pub(crate) port: u16,
    pub(crate) submission_port: u16,
    pub(crate) submissions_port: u16,
    pub(crate) authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

/// What it is to do, apart from the usual.
#[derive(Default)]
pub(crate) struct Task {
    /// Dovecot's socket, which knows who may log in.
    pub(crate) auth: Option<PathBuf>,
    /// The domain of `a` and `b`, if not `x.test`.
    pub(crate) domain: Option<&'static str>,
    /// Domains and where their mail goes, as in `transport(5)`.
    pub(crate) onward: Vec<(&'static str, String)>,
    /// More lines of `main.cf`.
    pub(crate) more: &'static str,
}

impl Postfix {
    /// `None` where the tests are told to skip Postfix.
    pub(crate) fn start(task: &Task) -> Option<Self> {
        if is_skipped("postfix") {
            return None;
        }
        let program = Path::new("/usr/sbin/postfix");
        assert!(
            program.exists(),
            "{} is missing: run `cargo xtask test`, which installs it, \
             or leave it out with MAILRIG_TEST_SKIP=postfix",
            program.display()
        );
        let home = Home::new();
        let authority = Authority::new();
        authority.issue("mx.test").write(home.path());
        home.folder("mail", OWNER);
        home.folder("data", user_id("postfix"));
        fs::create_dir(home.path().join("queue")).unwrap();
        let etc = home.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let [port, submission_port, submissions_port] = [free_port(), free_port(), free_port()];
        home.write("etc/main.cf", &main(home.path(), task));
        home.write("etc/master.cf", &master([port, submission_port, submissions_port]));
        let mut command = Jail::default().command(program);
        command.arg("-c").arg(&etc).arg("start-fg");
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(port);
        Some(Self { port, submission_port, submissions_port, authority, _process: process, home })
    }

    pub(crate) fn mail(&self) -> PathBuf {
        self.home.path().join("mail")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// The folder of its configuration.
    pub(crate) fn etc(&self) -> PathBuf {
        self.home.path().join("etc")
    }

    /// How many lines of its log hold this.
    pub(crate) fn said(&self, words: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap();
        log.lines().filter(|line| line.contains(words)).count()
    }

    /// Tries again and again what it could not hand on. Left to itself it waits for minutes, also whenever it comes
    /// upon a message that it is still busy with.
    pub(crate) async fn keep_trying(&self) -> Infallible {
        let etc = self.etc();
        loop {
            must(&["postqueue", "-c", etc.to_str().unwrap(), "-f"]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Lines of its log that tell of trouble. That the clock of the file system is ahead, as it finds on a busy machine and
    /// with what it put away itself, is none.
    pub(crate) fn complaints(&self, expected: &[&str]) -> Vec<String> {
        let own = ["file system clock is", "resetting file time stamps"];
        let passed_over = [expected, &own].concat();
        self.home.complaints("log", &["warning:", "error:", "fatal:", "panic:"], &passed_over)
    }
}

fn main(home: &Path, task: &Task) -> String {
    let Task { auth, domain, onward, more } = task;
    let domain = domain.unwrap_or("x.test");
    let auth = auth
        .as_ref()
        .map(|path| format!("smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n", path.display()));
    let (home, auth) = (home.display(), auth.unwrap_or_default());
    let routes: String =
        onward.iter().map(|(domain, to)| format!("{{ {domain} = {to} }} ")).collect();
    let domains: Vec<&str> = onward.iter().map(|(domain, _)| *domain).collect();
    let domains = domains.join(" ");
    let (routes, own) = match onward.len() {
        0 => (String::new(), domain),
        _ => (format!("inline:{{ {routes}}}"), ""),
    };
    format!(
        "compatibility_level = 3.6
enable_long_queue_ids = yes
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.test
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = {own}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = inline:{{ {{ a@{domain} = a/ }} {{ b@{domain} = b/ }} }}
virtual_uid_maps = static:{OWNER}
virtual_gid_maps = static:{OWNER}
relay_domains = {domains}
transport_maps = {routes}
smtpd_relay_restrictions = permit_sasl_authenticated reject_unauth_destination
smtpd_tls_chain_files = {home}/key.pem {home}/certificate.pem
smtpd_tls_security_level = may
smtp_host_lookup = native
message_size_limit = 4000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
{auth}{more}
"
    )
}

/// The services of Debian's `master.cf` that mail passes through, and their ports.
fn master([smtp, submission, submissions]: [u16; 3]) -> String {
    let member = "-o smtpd_sasl_auth_enable=yes \
                  -o smtpd_client_restrictions=permit_sasl_authenticated,reject";
    format!(
        "127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt {member}
127.0.0.1:{submissions} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes {member}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}
