//! A real Dovecot of a test's own: LMTP on a Unix socket, IMAP on a loopback port, Maildirs below a
//! folder. Python's `smtplib` and `imaplib` are the clients, because nobody here wrote them.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::servers::process::{Process, free_port, is_skipped};

/// A running Dovecot that serves the Maildirs `<store>/<domain>/<user>/Maildir`.
pub(crate) struct Dovecot {
    folder: PathBuf,
    port: u16,
    _process: Process,
}

impl Dovecot {
    /// `None` where the tests are told to skip Dovecot. `folder` is for its own files.
    pub(crate) fn start(folder: &Path, store: &Path) -> Option<Self> {
        Self::start_with(folder, store, "")
    }

    /// As [`Dovecot::start`], with more words in `mail_location`: `:CONTROL=/var/control/%d/%n`.
    pub(crate) fn start_with(folder: &Path, store: &Path, more: &str) -> Option<Self> {
        if is_skipped("dovecot") {
            return None;
        }
        let program = Path::new("/usr/sbin/dovecot");
        assert!(
            program.exists(),
            "{} is missing: run `cargo xtask test`, which installs it, \
             or leave it out with MAILRIG_TEST_SKIP=dovecot",
            program.display(),
        );
        fs::create_dir(folder).unwrap();
        let port = free_port();
        let config = folder.join(CONFIGURATION);
        fs::write(&config, configuration(folder, store, more, port)).unwrap();
        let mut command = Command::new(program);
        command.arg("-F").arg("-c").arg(&config);
        let mut process = Process::start(&command, &folder.join("output"));
        process.wait_for_port(port);
        Some(Self { folder: folder.to_owned(), port, _process: process })
    }

    /// Its configuration file, for `doveconf`.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.join(CONFIGURATION)
    }

    /// Delivers each file to the mailbox beside it.
    pub(crate) fn deliver(&self, letters: &[(PathBuf, &str)]) {
        let lines = letters.iter().map(|(path, to)| format!("{to} {}\n", path.display()));
        let list = self.folder.join("letters");
        fs::write(&list, lines.collect::<String>()).unwrap();
        let socket = self.folder.join("lmtp").display().to_string();
        self.client(&["deliver", &socket, list.to_str().unwrap()]);
    }

    /// Gives messages flags and keywords, makes folders, moves and deletes, as a client would.
    pub(crate) fn use_mailbox(&self, user: &str) {
        self.client(&["use", &self.port.to_string(), user]);
    }

    /// All that IMAP tells of a mailbox: of each folder UIDVALIDITY, and of each message UID,
    /// flags and keywords, INTERNALDATE, and SHA-256 of its bytes.
    pub(crate) fn dump(&self, user: &str) -> Value {
        let output = self.client(&["dump", &self.port.to_string(), user]);
        serde_json::from_str(&output).unwrap()
    }

    /// Lines of its log that tell of trouble.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("log")).unwrap();
        assert!(log.contains("starting up"), "the log is not where it should be");
        let is_trouble = |line: &&str| {
            ["Error:", "Warning:", "Fatal:", "Panic:"].iter().any(|word| line.contains(word))
        };
        log.lines().filter(is_trouble).map(str::to_owned).collect()
    }

    /// A client that gives these commands, each of which must succeed.
    pub(crate) fn command(&self, user: &str, commands: &[&str]) {
        self.client(&[&["command", &self.port.to_string(), user], commands].concat());
    }

    /// A client that keeps `count` messages of a mailbox moving; `client` is its number.
    pub(crate) fn churn(&self, user: &str, client: u32, count: u32) -> Client {
        let port = self.port.to_string();
        Client::start(python(&["churn", &port, user, &client.to_string(), &count.to_string()]))
    }

    /// A client that has INBOX open and waits for news.
    pub(crate) fn idle(&self, user: &str) -> Client {
        Client::start(python(&["idle", &self.port.to_string(), user]))
    }

    /// A client that has INBOX open and asks again for what it saw.
    pub(crate) fn hold(&self, user: &str) -> Client {
        Client::start(python(&["hold", &self.port.to_string(), user]))
    }

    fn client(&self, arguments: &[&str]) -> String {
        let mut command = python(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (code, complaint) = (output.status, text(&output.stderr));
        assert!(code.success(), "{arguments:?}: {code}\n{complaint}\n{}", log());
        text(&output.stdout)
    }
}

/// A client at work, told when by lines on its stdin; ends with that, or with this.
pub(crate) struct Client {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut client = Self { child, said };
        assert_eq!(client.hear(), "ready");
        client
    }

    /// From now on it acts, and what is there is accounted for.
    pub(crate) fn open(&mut self) {
        assert_eq!(self.ask("open"), "open");
    }

    /// It rests; its account of the time since it was opened.
    pub(crate) fn close(&mut self) -> Value {
        serde_json::from_str(&self.ask("close")).unwrap()
    }

    /// What it answers to a line.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.hear()
    }

    fn hear(&mut self) -> String {
        self.said.next().expect("the client ended; what it said stands above").unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["230", "python3", "-c", include_str!("imap.py")]).args(arguments);
    command
}

/// As root, mail belongs to a user of its own and Dovecot's processes to its usual ones; else all
/// of it to the present user.
fn configuration(folder: &Path, store: &Path, more: &str, port: u16) -> String {
    let (folder, store) = (folder.display(), store.display());
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let (users, uid, gid) = if user.is_root() {
        (String::new(), VMAIL, VMAIL)
    } else {
        let name = std::env::var("USER").expect("USER is set");
        let users = format!("default_internal_user = {name}\ndefault_login_user = {name}\n");
        (users, user.as_raw(), group.as_raw())
    };
    format!(
        r#"{users}base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
listen = 127.0.0.1
mail_location = maildir:{store}/%d/%n/Maildir{more}
mail_home = {folder}/home/%u
mail_fsync = never
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
lmtp_save_to_detail_mailbox = no
postmaster_address = postmaster@example.org
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
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
protocol lmtp {{
  mail_plugins =
}}
"#
    )
}

/// A user of mail that no account has.
pub(crate) const VMAIL: u32 = 5000;

const CONFIGURATION: &str = "dovecot.conf";
