//! An Exim of a test's own: it takes mail for `x.test` and keeps it in Maildirs, or hands all of it on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::authority::Authority;
use super::jail::{Home, Jail};
use super::process::{Process, free_port, program};

pub(crate) struct Exim {
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

impl Exim {
    /// `None` where the tests are told to skip Exim. All its mail goes on to a port, if there is one.
    pub(crate) fn start(onward: Option<u16>) -> Option<Self> {
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
        command.arg("-C").arg(&configuration);
        write_command(&home, &command);
        command.arg("-bdf");
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(port);
        Some(Self { port, tls_port, authority, _process: process, home })
    }

    pub(crate) fn mail(&self) -> PathBuf {
        self.home.path().join("mail")
    }

    /// A `PATH` with an `exim` that is this one.
    pub(crate) fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.home.path().join("bin").display())
    }

    /// Its log of messages.
    pub(crate) fn log(&self) -> PathBuf {
        self.home.path().join("logs/main")
    }

    /// How many lines of it hold this.
    pub(crate) fn said(&self, words: &str) -> usize {
        let log = fs::read_to_string(self.log()).unwrap();
        log.lines().filter(|line| line.contains(words)).count()
    }

    /// Whether something went wrong that has nothing to do with any message.
    pub(crate) fn has_panicked(&self) -> bool {
        self.home.path().join("logs/panic").exists()
    }
}

/// Writes a command's words into a script that takes more of them.
fn write_command(home: &Home, command: &Command) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")));
    let words: Vec<String> = quoted.collect();
    fs::create_dir(home.path().join("bin")).unwrap();
    let script = home.write("bin/exim", &format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")));
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
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
log_selector = +millisec +tls_resumption
pid_file_path = {home}/pid
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
local_interfaces = 127.0.0.1
keep_environment =
host_lookup =
smtp_accept_max_per_host = 0
smtp_accept_max = 200
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
