//! TLS for clients: whom to trust, and whether sessions are resumed. A handshake that nobody asked to
//! be short is full, because a server's work for strangers is what is measured.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

/// Whom a client trusts.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The certificate authorities of the system.
    System,
    /// These authorities and no others.
    Roots(Vec<CertificateDer<'static>>),
    /// The server's own certificate, whatever name it has, by its SHA-256.
    Pinned([u8; 32]),
    /// Anybody. For tests: whoever is in between reads along.
    Anybody,
}

/// A certificate of our own, for EXTERNAL.
#[derive(Debug)]
pub struct Identity {
    /// The chain, our own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has no authorities.
    #[error("the system has no certificate authorities{0}; name some, or install ca-certificates")]
    NoRoots(String),
    /// A PEM file without any.
    #[error("there is no certificate in it (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// Not PEM.
    #[error("it is no PEM file: {0}")]
    Pem(String),
    /// A certificate or key is none.
    #[error("{0}")]
    Certificate(#[from] rustls::Error),
}

/// The certificates of a PEM file, at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(TlsError::Pem(e.to_string())),
    }
}

/// Ready for handshakes; cheap to clone. Sessions are resumed between its clones.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// For handshakes of TLS 1.2 and 1.3.
    pub fn new(
        trust: &Trust,
        is_resuming: bool,
        identity: Option<&Identity>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::System => builder.with_root_certificates(system_roots()?),
            Trust::Roots(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(root.clone())?;
                }
                builder.with_root_certificates(store)
            }
            Trust::Pinned(sha256) => {
                let verifier = OneOrAny { pinned: Some(*sha256), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::Anybody => {
                let verifier = OneOrAny { pinned: None, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match identity {
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key())?
            }
            None => builder.with_no_client_auth(),
        };
        if !is_resuming {
            config.resumption = Resumption::disabled();
        }
        Ok(Self(Arc::new(config)))
    }

    /// The client's side of a handshake over a connection, for protocols that others speak. The server's certificate
    /// must have this name.
    pub async fn connect<S>(&self, server_name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.config()).connect(name, stream).await
    }

    /// The same at a later time: whether certificates will still be good then.
    pub fn ahead(&self, by: Duration) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.time_provider = Arc::new(Ahead(by));
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(Duration);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now) + self.0))
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some of any system's are too old to be read.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
        return Err(TlsError::NoRoots(why));
    }
    Ok(store)
}

/// Takes one certificate, or each; but its owner must prove to have the key.
#[derive(Debug)]
struct OneOrAny {
    pinned: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OneOrAny {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let sha256: [u8; 32] = Sha256::digest(end_entity).into();
        if self.pinned.is_none_or(|pinned| pinned == sha256) {
            return Ok(ServerCertVerified::assertion());
        }
        let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(rustls::Error::General(format!("the server has another certificate, SHA-256 {hex}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
