//! Sealing and opening with age, or neither in a repository without encryption. The host that
//! backs up needs recipients only; identities are for reading.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use age::x25519;

/// What objects are sealed to.
#[derive(Clone)]
pub enum Seal {
    /// age, to these recipients.
    Age(Vec<x25519::Recipient>),
    /// Nothing: the repository is not encrypted.
    Plain,
}

/// What opens them.
pub enum Unseal {
    /// age, with any of these identities.
    Age(Vec<Box<dyn age::Identity + Send + Sync>>),
    /// Nothing.
    Plain,
}

impl Seal {
    /// Parses `age1…` recipients.
    pub fn parse(recipients: &[String]) -> Result<Self, String> {
        let parsed: Result<Vec<_>, String> = recipients
            .iter()
            .map(|text| {
                text.parse().map_err(|e| format!("`{text}` is not an age X25519 recipient: {e}"))
            })
            .collect();
        Ok(Self::Age(parsed?))
    }

    /// A writer that seals into `output`. [`SealWriter::finish`] must be called.
    pub fn writer<W: Write>(&self, output: W) -> io::Result<SealWriter<W>> {
        match self {
            Self::Age(recipients) => {
                let recipients = recipients.iter().map(|r| r as &dyn age::Recipient);
                let encryptor =
                    age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
                Ok(SealWriter::Age(Box::new(encryptor.wrap_output(output)?)))
            }
            Self::Plain => Ok(SealWriter::Plain(output)),
        }
    }

    /// Seals a small object held in memory.
    pub fn seal(&self, bytes: &[u8]) -> Vec<u8> {
        let sealed = self.writer(Vec::with_capacity(bytes.len() + 512)).and_then(|mut writer| {
            writer.write_all(bytes)?;
            writer.finish()
        });
        sealed.expect("writing to memory succeeds, and recipients were checked when parsed")
    }
}

/// See [`Seal::writer`].
pub enum SealWriter<W: Write> {
    /// Encrypting.
    Age(Box<age::stream::StreamWriter<W>>),
    /// Passing through.
    Plain(W),
}

impl<W: Write> SealWriter<W> {
    /// Writes what is pending and gives the output back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Age(writer) => writer.finish(),
            Self::Plain(output) => Ok(output),
        }
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Age(writer) => writer.write(bytes),
            Self::Plain(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Age(writer) => writer.flush(),
            Self::Plain(output) => output.flush(),
        }
    }
}

impl Unseal {
    /// An age identity as text, `AGE-SECRET-KEY-1…`.
    pub fn parse(identity: &str) -> Result<Self, String> {
        let identity: x25519::Identity = identity.parse().map_err(str::to_owned)?;
        Ok(Self::Age(vec![Box::new(identity)]))
    }

    /// A reader of what `input` holds sealed. Fails at once if no identity fits.
    pub fn reader<'a, R: BufRead + 'a>(&self, input: R) -> Result<Box<dyn Read + 'a>, OpenError> {
        match self {
            Self::Age(identities) => {
                let decryptor = age::Decryptor::new_buffered(input).map_err(OpenError::of)?;
                let identities = identities.iter().map(|i| &**i as &dyn age::Identity);
                Ok(Box::new(decryptor.decrypt(identities).map_err(OpenError::of)?))
            }
            Self::Plain => Ok(Box::new(input)),
        }
    }

    /// As [`Unseal::reader`], beginning at byte `start` of what was sealed, without reading what
    /// lies before.
    pub fn reader_at<'a, R: BufRead + Seek + 'a>(
        &self,
        mut input: R,
        start: u64,
    ) -> Result<io::Result<Box<dyn Read + 'a>>, OpenError> {
        let seek = SeekFrom::Start(start);
        match self {
            Self::Age(identities) => {
                let decryptor = age::Decryptor::new_buffered(input).map_err(OpenError::of)?;
                let identities = identities.iter().map(|i| &**i as &dyn age::Identity);
                let mut opened = decryptor.decrypt(identities).map_err(OpenError::of)?;
                Ok(opened.seek(seek).map(|_| Box::new(opened) as Box<dyn Read>))
            }
            Self::Plain => Ok(input.seek(seek).map(|_| Box::new(input) as Box<dyn Read>)),
        }
    }
}

/// Why a sealed object does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not what was sealed.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// None of the identities is a recipient.
    #[error("is not sealed to this identity")]
    WrongIdentity,
}

impl OpenError {
    fn of(error: age::DecryptError) -> Self {
        match error {
            age::DecryptError::NoMatchingKeys => Self::WrongIdentity,
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// A fresh pair: recipient and secret, both as text.
pub fn generate() -> (x25519::Recipient, String) {
    use age::secrecy::ExposeSecret;
    let identity = x25519::Identity::generate();
    (identity.to_public(), identity.to_string().expose_secret().to_owned())
}

/// The recipient that belongs to an identity, both as text.
pub fn recipient_of(identity: &str) -> Result<String, String> {
    let identity: x25519::Identity = identity.parse().map_err(str::to_owned)?;
    Ok(identity.to_public().to_string())
}
