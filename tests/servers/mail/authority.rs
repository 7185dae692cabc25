//! A certificate authority of a test's own, and certificates of it as files and as our side takes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use smtp::client::Secure;
use smtp::server::Certificate;
use smtp::tls::{Identity, Tls, Trust};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "An Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// For a host, at whose address it is, or for a person's name.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params)
    }

    pub(crate) fn issue_expired(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        self.sign(params)
    }

    /// As [`Self::issue`], good until then.
    pub(crate) fn issue_until(&self, name: &str, end: SystemTime) -> Pair {
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = end.into();
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Pair { chain: vec![leaf.der().clone()], key }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Puts `authority.pem` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        fs::write(&path, pem("CERTIFICATE", self.0.der())).unwrap();
        path
    }

    /// What a client needs that trusts this authority and no other.
    pub(crate) fn secure(&self, is_implicit: bool, identity: Option<&Pair>) -> Secure {
        let identity = identity.map(Pair::identity);
        let tls = Tls::new(&Trust::Roots(vec![self.der()]), true, identity.as_ref()).unwrap();
        Secure { tls, is_implicit, server_name: "mx.test".into() }
    }
}

impl Pair {
    /// For our server.
    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::from_pem(&self.chain_pem(), &self.key_pem()).unwrap()
    }

    /// For our client.
    fn identity(&self) -> Identity {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        Identity { chain: self.chain.clone(), key }
    }

    /// Puts `certificate.pem` and `key.pem` into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("certificate.pem"), self.chain_pem()).unwrap();
        let key = folder.join("key.pem");
        fs::write(&key, self.key_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn chain_pem(&self) -> Vec<u8> {
        self.chain.iter().flat_map(|der| pem("CERTIFICATE", der)).collect()
    }

    fn key_pem(&self) -> Vec<u8> {
        pem("PRIVATE KEY", &self.key.serialize_der())
    }
}

/// In lines of 64 characters, as OpenSSL insists on.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}
