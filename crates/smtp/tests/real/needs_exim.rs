//! Exim: BDAT and TLS by other hands (GnuTLS), and the mechanisms that it has itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use smtp::Outcome;
use smtp::client::Protocol;
use smtp::sasl::Mechanism;
use smtp::server::Verdict;

use super::jail::{Home, Jail};
use super::letters::{Letter, arrived, letters};
use super::suite::{
    Peer, at, connect, extensions, external, handshakes, mechanisms, send, transactions,
};
use crate::authority::Authority;
use crate::process::{Process, free_port, program};
use crate::scripted::options;
use crate::world::{Plan, World, envelope, eventually};

struct Exim {
    port: u16,
    tls_port: u16,
    authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

impl Exim {
    /// `None` where the tests are told to skip Exim. All its mail goes on to a port, if there is one.
    fn start(onward: Option<u16>) -> Option<Self> {
        let installed = program("exim", "exim/usr/sbin/exim4")?;
        let home = Home::new();
        // It starts itself again as a user who need not be able to look into the cache folder.
        let program = home.path().join("exim");
        fs::copy(installed, &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new();
        authority.issue("mx.test").write(home.path());
        let key = home.path().join("key.pem");
        chown(key, Some(EXIM), Some(EXIM)).unwrap();
        authority.write(home.path());
        home.folder("mail", EXIM);
        home.folder("spool", EXIM);
        home.folder("logs", EXIM);
        let [port, tls_port] = [free_port(), free_port()];
        let configuration = configuration(home.path(), &program, [port, tls_port], onward);
        let configuration = home.write("configuration", &configuration);
        let jail = Jail::default().users(&home, &[("Debian-exim", EXIM)]);
        let mut command = jail.command(&program);
        command.arg("-C").arg(&configuration).arg("-bdf");
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(port);
        Some(Self { port, tls_port, authority, _process: process, home })
    }

    fn peer(&self, port: u16) -> Peer {
        let mail = self.home.path().join("mail");
        Peer { endpoint: at(port), protocol: Protocol::Esmtp, mail }
    }

    /// How many lines of its log of messages hold this.
    fn said(&self, words: &str) -> usize {
        let log = fs::read_to_string(self.home.path().join("logs/main")).unwrap();
        log.lines().filter(|line| line.contains(words)).count()
    }
}

#[tokio::test]
async fn letters_arrive() {
    let Some(exim) = Exim::start(None) else { return };
    let offered = transactions(&exim.peer(exim.port)).await;
    assert!(offered.pipelining && offered.chunking && offered.eight_bit_mime, "{offered:?}");
    assert!(!exim.home.path().join("logs/panic").exists());
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_understood() {
    let Some(exim) = Exim::start(None) else { return };
    extensions(&exim.peer(exim.port)).await;
}

/// It uses BDAT (`K` in its log), also for a message that all its recipients were refused.
#[tokio::test]
async fn letters_that_it_hands_on_arrive_as_they_were_sent() {
    let world = World::start(Plan::default()).await;
    let Some(exim) = Exim::start(Some(world.address().port())) else { return };
    let mut client = connect(&at(exim.port), &options(true, Protocol::Esmtp)).await;
    let mut letters = letters("handed on");
    // Our server takes no more than this here.
    letters.retain(|letter| letter.bytes.len() < 200_000);
    for letter in &letters {
        let to = ["nobody@x.test", "a@x.test", "b@x.test"];
        let outcomes = send(&mut client, &envelope(&to), letter).await;
        assert!(outcomes.iter().all(Outcome::is_accepted), "{outcomes:?}");
        let outcomes = send(&mut client, &envelope(&to[..1]), letter).await;
        assert!(outcomes[0].is_accepted(), "{outcomes:?}");
    }
    client.quit().await;
    let count = letters.len();
    eventually("handed on or refused", 2 * count, || exim.said("Completed")).await;
    let letters: Vec<&Letter> = letters.iter().collect();
    for mailbox in ["a", "b"] {
        arrived(&world.mail().join(mailbox), &letters).await;
    }
    assert_eq!(exim.said("** nobody@x.test"), 2 * count);
    assert_eq!(exim.said(" K C=\"250"), 2 * count);
    assert!(!exim.home.path().join("logs/panic").exists());
    let events = world.stop().await;
    assert_eq!(events.iter().filter(|event| event.outcome == Verdict::Accepted).count(), count);
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism() {
    let Some(exim) = Exim::start(None) else { return };
    for (port, is_implicit) in [(exim.port, false), (exim.tls_port, true)] {
        let peer = exim.peer(port);
        let tls = exim.authority.secure(is_implicit, None);
        let expected = [Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];
        mechanisms(&peer, &tls, &expected, |_| "secret".to_owned()).await;
        external(&peer, is_implicit, &exim.authority).await;
        handshakes(&peer, is_implicit, &exim.authority, true).await;
    }
    for (authenticator, count) in [("cram", 2), ("login", 2), ("plain", 2 + 4), ("external", 4)] {
        assert_eq!(exim.said(&format!("A={authenticator}:ann")), count, "{authenticator}");
    }
    assert!(!exim.home.path().join("logs/panic").exists());
}

fn configuration(
    home: &Path,
    program: &Path,
    [port, tls_port]: [u16; 2],
    onward: Option<u16>,
) -> String {
    let (known, router, onward) = match onward {
        Some(port) => ("*", "onward", port),
        None => ("a : b", "here", 0),
    };
    let (home, program) = (home.display(), program.display());
    format!(
        r#"exim_path = {program}
primary_hostname = mx.test
spool_directory = {home}/spool
log_file_path = {home}/logs/%s
pid_file_path = {home}/pid
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
local_interfaces = 127.0.0.1
keep_environment =
host_lookup =
smtp_accept_max_per_host = 0
message_size_limit = 4M
dsn_advertise_hosts = *
deliver_drop_privilege
tls_certificate = {home}/certificate.pem
tls_privatekey = {home}/key.pem
tls_verify_certificates = {home}/authority.pem
tls_try_verify_hosts = *
tls_advertise_hosts = *
tls_resumption_hosts = *
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}}}
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  deny
    !domains = x.test
  deny
    !local_parts = {known}
  accept

begin routers
onward:
  driver = manualroute
  condition = ${{if eq {{{router}}}{{onward}}}}
  domains = x.test
  transport = onward
  route_list = * 127.0.0.1
  self = send
here:
  driver = accept
  local_parts = a : b
  transport = maildir

begin transports
onward:
  driver = smtp
  port = {onward}
  allow_localhost
maildir:
  driver = appendfile
  directory = {home}/mail/$local_part_data
  maildir_format

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq {{$auth2}}{{ann}}}} {{eq {{$auth3}}{{secret}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and {{{{eq {{$auth1}}{{ann}}}} {{eq {{$auth2}}{{secret}}}}}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq {{$auth1}}{{ann}} {{secret}} fail}}
  server_set_id = $auth1
external:
  driver = external
  public_name = EXTERNAL
  server_param2 = ${{certextract {{subject,CN}} {{$tls_in_peercert}}}}
  server_condition = ${{if and {{{{bool {{$tls_in_certificate_verified}}}} {{eq {{$auth2}}{{ann}}}}}}}}
  server_set_id = $auth2
"#
    )
}

/// The user whom it was compiled to run as.
const EXIM: u32 = 5001;
