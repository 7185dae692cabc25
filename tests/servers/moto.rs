//! moto, the AWS imitation in Python: good at AWS's words for errors. It checks no signature unless
//! told to with [`Moto::require_auth`], and keeps everything in memory.

use std::process::Command;

use super::process::{Process, free_port, program};
use super::{Access, BUCKET, http};

/// A running `moto_server` with an empty bucket.
#[derive(Debug)]
pub(crate) struct Moto {
    pub(crate) access: Access,
    pub(crate) port: u16,
    _process: Process,
    pub(crate) folder: tempfile::TempDir,
}

impl Moto {
    /// Over plain HTTP; `None` where the tests are told to skip moto.
    pub(crate) fn start() -> Option<Self> {
        let moto = Self::listen(&[], "http", tempdir())?;
        let created = http(moto.port, &format!("PUT /{BUCKET} HTTP/1.1\r\nContent-Length: 0"));
        assert!(created.starts_with("HTTP/1.1 200"), "no bucket: {created}");
        Some(moto)
    }

    /// Over TLS with a certificate that nobody signed, and without a bucket.
    pub(crate) fn start_tls() -> Option<Self> {
        Self::listen(&["--ssl"], "https", tempdir())
    }

    /// Over TLS with a certificate of the authority in `authority.pem` in its folder, no bucket.
    pub(crate) fn start_tls_signed() -> Option<Self> {
        let python = program("moto", "moto-5.2.5/bin/python")?;
        let folder = tempdir();
        let made = Command::new(python)
            .args(["-c", MAKE_CERTIFICATES])
            .current_dir(folder.path())
            .status()
            .expect("Python can be started");
        assert!(made.success(), "no certificates");
        let path = |name| folder.path().join(name).display().to_string();
        let (certificate, key) = (path("server.pem"), path("server.key"));
        Self::listen(&["--ssl-cert", &certificate, "--ssl-key", &key], "https", folder)
    }

    /// From now on only access keys that moto knows are let in, and their signatures are checked.
    pub(crate) fn require_auth(&self) {
        let request = "POST /moto-api/reset-auth HTTP/1.1\r\nContent-Length: 1\r\n\r\n0";
        let answer = http(self.port, request);
        assert!(answer.contains("200 OK"), "{answer}");
    }

    fn listen(arguments: &[&str], scheme: &str, folder: tempfile::TempDir) -> Option<Self> {
        let program = program("moto", "moto-5.2.5/bin/moto_server")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
        let mut process = Process::start(&command, &folder.path().join("log"));
        process.wait_for_port(port);
        let access = Access {
            endpoint: format!("{scheme}://127.0.0.1:{port}"),
            region: "us-east-1",
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        Some(Self { access, port, _process: process, folder })
    }
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// An authority, and a certificate of it for 127.0.0.1 that is valid for a day. moto itself needs
/// the `cryptography` package, so it is there.
const MAKE_CERTIFICATES: &str = r#"
import datetime, ipaddress
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)

def make(name, signer, signer_key, is_authority):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(is_authority, None), True)
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .sign(signer_key or key, hashes.SHA256())
    )
    return subject, key, certificate.public_bytes(serialization.Encoding.PEM)

name, key, authority = make("test authority", None, None, True)
_, server_key, server = make("127.0.0.1", name, key, False)
open("authority.pem", "wb").write(authority)
open("server.pem", "wb").write(server)
open("server.key", "wb").write(server_key.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
))
"#;
