//! The server's certificate: given in files, or made at the start, signed by itself and gone with the server.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::{TlsAcceptor, rustls};

/// A certificate and its key.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// No PEM, or nothing of it in there.
    #[error("the {0}: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// There is no certificate.
    #[error("it has no certificate")]
    Empty,
    /// It does not go with its key, or cannot be used.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// None could be made.
    #[error("{0}")]
    Made(#[from] rcgen::Error),
}

impl Certificate {
    /// One for a name that it signs itself.
    pub fn self_signed(host: &str) -> Result<Self, BadCertificate> {
        Self::signed(parameters(&[host, "localhost", "127.0.0.1", "::1"])?)
    }

    /// The same for other names and addresses, the first of which is its subject, and good at these times only, in
    /// whole seconds.
    pub fn self_signed_for(
        names: &[&str],
        times: Range<SystemTime>,
    ) -> Result<Self, BadCertificate> {
        let mut params = parameters(names)?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Duration::from_secs(since.as_secs())
        };
        params.not_before = epoch + seconds(times.start);
        params.not_after = epoch + seconds(times.end);
        Self::signed(params)
    }

    fn signed(params: rcgen::CertificateParams) -> Result<Self, BadCertificate> {
        let key = rcgen::KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Self { chain: vec![made.der().clone()], key })
    }

    /// Of a chain and a key in PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadCertificate> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|e| BadCertificate::Pem("certificate", e))?;
        if chain.is_empty() {
            return Err(BadCertificate::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| BadCertificate::Pem("key", e))?;
        Ok(Self { chain, key })
    }

    /// The SHA-256 of the certificate itself, by which clients can pin it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.chain.first().map_or(&[][..], |first| first)).into()
    }

    /// The certificate itself.
    pub fn der(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// Ready for handshakes of TLS 1.2 and 1.3.
    pub fn acceptor(self) -> Result<TlsAcceptor, BadCertificate> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn parameters(names: &[&str]) -> Result<rcgen::CertificateParams, rcgen::Error> {
    let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(all)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, names.first().copied().unwrap_or(""));
    Ok(params)
}
