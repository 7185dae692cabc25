//! moto, the AWS imitation in Python: good at AWS's words for errors. It checks no signature unless
//! told to with [`Moto::require_auth`], and keeps everything in memory.

use std::process::Command;

use super::{Access, BUCKET, Process, free_port, http, program};

/// A running `moto_server` with an empty bucket.
#[derive(Debug)]
pub(crate) struct Moto {
    pub(crate) access: Access,
    pub(crate) port: u16,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Moto {
    /// Over plain HTTP; `None` where the tests are told to skip moto.
    pub(crate) fn start() -> Option<Self> {
        let moto = Self::listen(&[], "http")?;
        let created = http(moto.port, &format!("PUT /{BUCKET} HTTP/1.1\r\nContent-Length: 0"));
        assert!(created.starts_with("HTTP/1.1 200"), "no bucket: {created}");
        Some(moto)
    }

    /// Over TLS with a certificate that nobody signed, and without a bucket.
    pub(crate) fn start_tls() -> Option<Self> {
        Self::listen(&["--ssl"], "https")
    }

    /// From now on only access keys that moto knows are let in, and their signatures are checked.
    pub(crate) fn require_auth(&self) {
        let request = "POST /moto-api/reset-auth HTTP/1.1\r\nContent-Length: 1\r\n\r\n0";
        let answer = http(self.port, request);
        assert!(answer.contains("200 OK"), "{answer}");
    }

    fn listen(arguments: &[&str], scheme: &str) -> Option<Self> {
        let program = program("moto", "moto-5.2.5/bin/moto_server")?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
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
        Some(Self { access, port, _process: process, _folder: folder })
    }
}
