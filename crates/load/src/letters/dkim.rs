//! DKIM signatures (RFC 6376 and 8463), relaxed in header and body. What a template has is hashed once; a message costs
//! one signature. Both kinds are deterministic: the same message gets the same signature.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{relaxed, template};

/// A key with the name by which receivers find its other half.
pub struct Signer {
    key: Key,
    domain: String,
    selector: String,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why nothing can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// No PEM, or of something else.
    #[error(
        "the DKIM key is no PEM file with a PRIVATE KEY; make one with \
         `openssl genpkey -algorithm ed25519` or `openssl genrsa 2048`"
    )]
    Pem,
    /// Neither RSA nor Ed25519.
    #[error("the DKIM key is neither RSA of 2048 to 8192 bits nor Ed25519, in PKCS#8")]
    Key,
    /// A domain or selector that cannot stand in DNS.
    #[error("the DKIM domain and selector are names in DNS, such as example.test and mail2026")]
    Name,
}

/// What of a template is signed, ready for any message made of it.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    body_hash: String,
    /// `:subject:mime-version` on a line of its own, after the names of our own fields.
    names: String,
    /// The fields in their canonical form.
    fields: Vec<u8>,
}

impl Signer {
    /// Takes a private key as openssl writes it.
    pub fn from_pem(pem: &str, domain: &str, selector: &str) -> Result<Self, BadSigner> {
        if !is_name(domain) || !is_name(selector) {
            return Err(BadSigner::Name);
        }
        let (label, der) = decode(pem).ok_or(BadSigner::Pem)?;
        let rsa = if label == "RSA " { RsaKeyPair::from_der } else { RsaKeyPair::from_pkcs8 };
        let key = match Ed25519KeyPair::from_pkcs8(&der) {
            Ok(key) => Key::Ed25519(Box::new(key)),
            Err(_) => Key::Rsa(Box::new(rsa(&der).map_err(|_| BadSigner::Key)?)),
        };
        let signer = Self { key, domain: domain.to_owned(), selector: selector.to_owned() };
        signer.sign(b"try").ok_or(BadSigner::Key)?;
        Ok(signer)
    }

    /// Where the public key is looked for.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The value of the TXT record that has to stand there.
    pub fn record(&self) -> String {
        match &self.key {
            Key::Ed25519(key) => {
                format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key()))
            }
            Key::Rsa(key) => {
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key());
                let key = der.map_or_else(|_| String::new(), |der| STANDARD.encode(&*der));
                format!("v=DKIM1; k=rsa; p={key}")
            }
        }
    }

    /// The record as a line of a zone file, in strings of at most 255 bytes.
    pub fn zone_line(&self) -> String {
        let mut line = format!("{}. IN TXT (", self.record_name());
        let record = self.record();
        for part in record.as_bytes().chunks(255) {
            line.push_str(&format!(" \"{}\"", String::from_utf8_lossy(part)));
        }
        line.push_str(" )");
        line
    }

    /// Appends the signature to a head that has [`OWN_FIELDS`] in their order; `seconds` since 1970
    /// is when. Without a signature if the key fails, which it did not when it was tried.
    pub(super) fn add(&self, head: &mut String, prepared: &Prepared, seconds: i64) {
        let mut signed = Vec::with_capacity(1024);
        for name in OWN_FIELDS {
            if let Some(field) = find(head.as_bytes(), name) {
                relaxed::field(field, &mut signed);
            }
        }
        signed.extend_from_slice(&prepared.fields);
        let algorithm = match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let Self { domain, selector, .. } = self;
        let Prepared { body_hash, names, .. } = prepared;
        let field = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n \
             t={seconds}; h={own}{names};\r\n bh={body_hash};\r\n b=",
            own = OWN_FIELDS.join(":"),
        );
        relaxed::field(field.as_bytes(), &mut signed);
        signed.truncate(signed.len() - 2);
        let Some(signature) = self.sign(&signed) else {
            tracing::error!("the DKIM key of {} did not sign", self.record_name());
            return;
        };
        head.push_str(&field);
        let signature = STANDARD.encode(signature);
        for (i, line) in signature.as_bytes().chunks(74).enumerate() {
            head.push_str(if i == 0 { "" } else { "\r\n  " });
            head.extend(line.iter().map(|byte| char::from(*byte)));
        }
        head.push_str("\r\n");
    }

    fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match &self.key {
            // RFC 8463: the hash is what is signed.
            Key::Ed25519(key) => Some(key.try_sign(&Sha256::digest(bytes)).ok()?.as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

impl Prepared {
    /// Hashes a template's body and takes those of its fields that are signed.
    pub(super) fn new(header: &[u8], body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        relaxed::body(body, |part| hasher.update(part));
        let (mut names, mut signed) = (String::new(), Vec::new());
        for name in TEMPLATE_FIELDS {
            if let Some(field) = find(header, name) {
                names.push_str(if names.is_empty() { "\r\n :" } else { ":" });
                names.push_str(name);
                relaxed::field(field, &mut signed);
            }
        }
        Self { body_hash: STANDARD.encode(hasher.finalize()), names, fields: signed }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.record_name())
    }
}

/// Of several the last, which is the first that a verifier takes.
fn find<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is_it = |field: &&[u8]| template::name(field).eq_ignore_ascii_case(name.as_bytes());
    template::fields(header).filter(is_it).last()
}

/// The label before `PRIVATE KEY`, and the bytes.
fn decode(pem: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("PRIVATE KEY-----")?;
    let (text, _) = rest.split_once("-----END ")?;
    let is_known = matches!(label, "" | "RSA ") && text.len() <= PEM_BYTES;
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    is_known.then(|| STANDARD.decode(text).ok().map(|der| (label, der)))?
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_letter);
    text.len() <= 253 && text.split('.').all(is_label)
}

/// What every message has of its own, and is signed.
const OWN_FIELDS: [&str; 5] = ["date", "from", "to", "message-id", "x-mailrig-load"];

const TEMPLATE_FIELDS: [&str; 6] = [
    "subject",
    "reply-to",
    "in-reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

const PEM_BYTES: usize = 64 << 10;
