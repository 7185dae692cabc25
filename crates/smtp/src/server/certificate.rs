//! The server's certificate: given in files, or made at the start, signed by itself and gone with the server.

use std::sync::Arc;

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
        let names = vec![host.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
        let mut params = rcgen::CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, host);
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
