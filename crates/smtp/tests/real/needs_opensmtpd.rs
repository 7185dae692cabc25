//! OpenSMTPD, which has neither PIPELINING nor BDAT.

use std::fs;
use std::path::Path;

use smtp::Phase;
use smtp::client::{Client, Options, Protocol};
use smtp::sasl::Mechanism;

use super::jail::{Home, Jail, OWNER};
use super::suite::{Peer, at, extensions, handshakes, mechanisms, transactions};
use crate::authority::Authority;
use crate::process::{Process, free_port, program};
use crate::scripted::options;

struct OpenSmtpd {
    port: u16,
    tls_port: u16,
    authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

impl OpenSmtpd {
    /// `None` where the tests are told to skip OpenSMTPD.
    fn start() -> Option<Self> {
        let program = program("opensmtpd", "opensmtpd/usr/sbin/smtpd")?;
        let helpers = program.ancestors().nth(2).unwrap().join("libexec");
        let home = Home::new();
        let authority = Authority::new();
        authority.issue("mx.test").write(home.path());
        home.folder("mail", OWNER);
        // Where it was compiled to have its queue, its socket and its empty folder.
        let [spool, run, lib] = ["spool", "run", "lib"].map(|name| home.folder(name, 0));
        fs::create_dir_all(lib.join("opensmtpd/empty")).unwrap();
        let [port, tls_port] = [free_port(), free_port()];
        let configuration = configuration(home.path(), [port, tls_port]);
        let configuration = home.write("configuration", &configuration);
        let users = [("opensmtpd", 5001), ("opensmtpq", 5002), ("mail-owner", OWNER)];
        let jail = Jail::default()
            .users(&home, &users)
            .bind(&spool, "/var/spool")
            .bind(&run, "/run")
            .bind(&lib, "/var/lib")
            .bind(&helpers, "/usr/libexec");
        let mut command = jail.command(&program);
        command.arg("-d").arg("-f").arg(&configuration);
        let mut process = Process::start(&command, &home.path().join("output"));
        process.wait_for_port(port);
        Some(Self { port, tls_port, authority, _process: process, home })
    }

    fn peer(&self, port: u16) -> Peer {
        let mail = self.home.path().join("mail");
        Peer { endpoint: at(port), protocol: Protocol::Esmtp, mail }
    }

    /// Whether its TLS works: 6.8 cannot sign with OpenSSL 3 (OpenSMTPD's issue 1171), as in Debian 12.
    fn has_tls(&self) -> bool {
        let output = fs::read_to_string(self.home.path().join("output")).unwrap();
        !output.contains("OpenSMTPD 6.8.")
    }
}

#[tokio::test]
async fn letters_arrive() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    let offered = transactions(&opensmtpd.peer(opensmtpd.port)).await;
    assert!(!offered.pipelining && !offered.chunking && offered.dsn, "{offered:?}");
    // At its start it looks for a folder that another of its processes is about to make.
    let complaints = opensmtpd.home.complaints("output", &["warn", "fatal"], &["purge_task"]);
    assert_eq!(complaints, [""; 0]);
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_understood() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    extensions(&opensmtpd.peer(opensmtpd.port)).await;
}

#[tokio::test]
async fn who_submits_is_known_by_every_mechanism_or_nothing_is_said_without_tls() {
    let Some(opensmtpd) = OpenSmtpd::start() else { return };
    for (port, is_implicit) in [(opensmtpd.port, false), (opensmtpd.tls_port, true)] {
        let peer = opensmtpd.peer(port);
        let tls = opensmtpd.authority.secure(is_implicit, None);
        if opensmtpd.has_tls() {
            let expected = [Mechanism::Plain, Mechanism::Login];
            mechanisms(&peer, &tls, &expected, |_| "secret".to_owned()).await;
            handshakes(&peer, is_implicit, &opensmtpd.authority, false).await;
        } else {
            let options = Options { tls: Some(tls), ..options(true, Protocol::Esmtp) };
            let refused = Client::connect(&peer.endpoint, &options).await.err().unwrap();
            assert!(refused.phase == Phase::Tls, "{refused}");
        }
    }
}

fn configuration(home: &Path, [port, tls_port]: [u16; 2]) -> String {
    let home = home.display();
    format!(
        r#"smtp max-message-size "4M"
pki mx.test cert "{home}/certificate.pem"
pki mx.test key "{home}/key.pem"
table people {{ "a@x.test" = mail-owner, "b@x.test" = mail-owner }}
table accounts {{ ann = "{SECRET}" }}
listen on 127.0.0.1 port {port} tls pki mx.test auth-optional <accounts> hostname mx.test
listen on 127.0.0.1 port {tls_port} smtps pki mx.test auth-optional <accounts> hostname mx.test
action keep maildir "{home}/mail/%{{rcpt.user}}" virtual <people>
match from any for domain "x.test" action keep
"#
    )
}

/// `secret`, as crypt(3) has it.
const SECRET: &str = "$6$abcdefgh$\
    ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";
