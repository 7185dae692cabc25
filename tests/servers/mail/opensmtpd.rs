//! An OpenSMTPD of a test's own: it takes mail for `x.test` and keeps it in Maildirs.

use std::fs;
use std::path::{Path, PathBuf};

use super::authority::Authority;
use super::jail::{Home, Jail, OWNER};
use super::process::{Process, free_port, program};

pub(crate) struct OpenSmtpd {
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) authority: Authority,
    /// Ends before its folder goes.
    _process: Process,
    home: Home,
}

impl OpenSmtpd {
    /// `None` where the tests are told to skip OpenSMTPD.
    pub(crate) fn start() -> Option<Self> {
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

    pub(crate) fn mail(&self) -> PathBuf {
        self.home.path().join("mail")
    }

    /// What it says of messages and of itself.
    pub(crate) fn log(&self) -> PathBuf {
        self.home.path().join("output")
    }

    /// Lines of its log that tell of trouble.
    pub(crate) fn complaints(&self) -> Vec<String> {
        // At its start it looks for a folder that another of its processes is about to make.
        self.home.complaints("output", &["warn", "fatal"], &["purge_task"])
    }

    /// Whether its TLS works: 6.8 cannot sign with OpenSSL 3 (OpenSMTPD's issue 1171), as in Debian 12.
    pub(crate) fn has_tls(&self) -> bool {
        let output = fs::read_to_string(self.log()).unwrap();
        !output.contains("OpenSMTPD 6.8.")
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
