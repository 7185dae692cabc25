//! A repository: its description, and the names and keys of its mailboxes. Opening it needs no
//! secret; an identity is given where something must be read.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypt::{self, Seal, Unseal};
use crate::error::{Error, READ_IDENTITY, Result};
use crate::layout::{REPOSITORY, decode_name, encode_name, mailbox_key, random_hex};
use crate::store::{Body, Put, Store};

/// `repository.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Format version.
    pub repository: u32,
    /// Random id.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// `age` or `none`.
    pub encryption: Encryption,
    /// Whether the host that made it never had an identity for it.
    pub sealed: bool,
    /// Who can open the mailboxes' keys.
    pub recipients: Vec<String>,
}

impl Description {
    /// A new repository's, with a random id. No recipient means no encryption.
    pub fn new(recipients: &[String], sealed: bool) -> Self {
        Self {
            repository: VERSION,
            id: random_hex(16),
            created: Timestamp::now(),
            encryption: if recipients.is_empty() { Encryption::None } else { Encryption::Age },
            sealed,
            recipients: recipients.to_vec(),
        }
    }
}

/// How a repository is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// With age.
    Age,
    /// Not at all.
    None,
}

/// An open repository.
pub struct Repository {
    store: Box<dyn Store>,
    description: Description,
    recovery: Seal,
}

/// What `keys/` holds of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxKey {
    /// Format version.
    pub mailbox: u32,
    /// Percent-encoded name, `user@domain` where known.
    pub name: String,
    /// The mailbox's own age identity; `None` without encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// A mailbox that this run gave an id.
pub struct NewMailbox {
    /// Random id.
    pub id: String,
    /// What its objects are sealed to, as text; `None` without encryption.
    pub recipient: Option<String>,
}

impl Repository {
    /// Makes a repository at `store`.
    pub fn init(store: Box<dyn Store>, description: Description) -> Result<Self> {
        let recovery = recovery(&description)?;
        let mut json = serde_json::to_vec_pretty(&description).expect("plain data serialises");
        json.push(b'\n');
        // Looked at first: a store without conditional writes would replace it.
        let exists = || Error::AlreadyRepository { location: store.display() };
        match store.size(REPOSITORY) {
            Ok(_) => return Err(exists()),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
        if store.put_durably(REPOSITORY, Body::from_bytes(json))? == Put::Exists {
            return Err(exists());
        }
        Ok(Self { store, description, recovery })
    }

    /// Opens the repository at `store`.
    pub fn open(store: Box<dyn Store>) -> Result<Self> {
        let json = match store.get(REPOSITORY, DESCRIPTION_BYTES) {
            Ok(json) => json,
            Err(e) if e.is_not_found() => {
                return Err(Error::NotARepository { location: store.display() });
            }
            Err(e) => return Err(e.into()),
        };
        let damaged =
            |e: serde_json::Error| Error::damaged(REPOSITORY, format!("does not parse: {e}"));
        let version: Version = serde_json::from_slice(&json).map_err(damaged)?;
        if version.repository > VERSION {
            let (found, known) = (version.repository, VERSION);
            return Err(Error::TooNew { object: REPOSITORY.into(), found, known });
        }
        let description: Description = serde_json::from_slice(&json).map_err(damaged)?;
        let recovery = recovery(&description)?;
        Ok(Self { store, description, recovery })
    }

    /// The objects.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// `repository.json`.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether objects are sealed.
    pub fn is_encrypted(&self) -> bool {
        self.description.encryption == Encryption::Age
    }

    /// Gives a mailbox an id and a key of its own and stores both. The key is durable after the
    /// store's next sync.
    pub fn add_mailbox(&self, name: &[u8]) -> Result<NewMailbox> {
        let id = random_hex(16);
        let (recipient, identity) = if self.is_encrypted() {
            let (recipient, identity) = crypt::generate();
            (Some(recipient.to_string()), Some(identity))
        } else {
            (None, None)
        };
        let key = MailboxKey { mailbox: VERSION, name: encode_name(name).into_owned(), identity };
        let json = serde_json::to_vec(&key).expect("plain data serialises");
        let object = mailbox_key(&id, self.is_encrypted());
        self.store.put(&object, Body::from_bytes(self.recovery.seal(&json)))?;
        Ok(NewMailbox { id, recipient })
    }

    /// What is sealed to the recovery recipients themselves.
    pub(crate) fn recovery_seal(&self) -> &Seal {
        &self.recovery
    }

    /// What a mailbox's objects are sealed to.
    pub fn mailbox_seal(&self, recipient: Option<&str>) -> Result<Seal> {
        match recipient {
            Some(recipient) => Seal::parse(&[recipient.to_owned()]).map_err(Error::Recipient),
            None => Ok(Seal::Plain),
        }
    }

    /// Opens a mailbox's key with the recovery identity.
    pub fn open_mailbox(&self, id: &str, recovery: &Unseal) -> Result<OpenMailbox> {
        use std::io::Read;
        let object = mailbox_key(id, self.is_encrypted());
        let sealed = self.store.get(&object, KEY_BYTES)?;
        let mut json = Vec::new();
        recovery
            .reader(&sealed[..])
            .map_err(|e| Error::open(&object, e))?
            .read_to_end(&mut json)
            .map_err(|e| Error::damaged(&object, format!("does not decrypt: {e}")))?;
        let key: MailboxKey = serde_json::from_slice(&json)
            .map_err(|e| Error::damaged(&object, format!("does not parse: {e}")))?;
        let name = decode_name(&key.name)
            .ok_or_else(|| Error::damaged(&object, "has a broken name"))?
            .into_owned();
        let unseal = match &key.identity {
            Some(identity) => Unseal::parse(identity).map_err(|e| Error::damaged(&object, e))?,
            None => Unseal::Plain,
        };
        let recipient = match &key.identity {
            Some(identity) => {
                Some(crypt::recipient_of(identity).map_err(|e| Error::damaged(&object, e))?)
            }
            None => None,
        };
        Ok(OpenMailbox { id: id.to_owned(), name, unseal, recipient })
    }
}

/// A mailbox whose key was opened.
pub struct OpenMailbox {
    /// Id.
    pub id: String,
    /// Name; may not be UTF-8.
    pub name: Vec<u8>,
    /// Opens its objects.
    pub unseal: Unseal,
    /// What its objects are sealed to.
    pub recipient: Option<String>,
}

impl OpenMailbox {
    /// The name for people.
    pub fn display_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// Reads a file of age identities.
pub fn read_identity(path: &Path) -> Result<Unseal> {
    let text = std::fs::read(path).map_err(|e| Error::io(READ_IDENTITY, path, e))?;
    let invalid = |e: String| {
        Error::io(READ_IDENTITY, path, std::io::Error::other(format!("not an age identity: {e}")))
    };
    if [&b"age-encryption.org/"[..], b"-----BEGIN AGE"].iter().any(|head| text.starts_with(head)) {
        return Err(invalid("it is encrypted itself; decrypt it with `age -d` first".into()));
    }
    if text.starts_with(b"age1") {
        return Err(invalid(
            "it is the public key; the identity begins with AGE-SECRET-KEY-".into(),
        ));
    }
    let file = age::IdentityFile::from_buffer(&text[..]).map_err(|e| invalid(e.to_string()))?;
    let identities = file.into_identities().map_err(|e| invalid(e.to_string()))?;
    if identities.is_empty() {
        return Err(invalid("the file has none".into()));
    }
    let identities = identities.into_iter().map(|i| i as Box<dyn age::Identity + Send + Sync>);
    Ok(Unseal::Age(identities.collect()))
}

fn recovery(description: &Description) -> Result<Seal> {
    match description.encryption {
        Encryption::Age => Seal::parse(&description.recipients).map_err(Error::Recipient),
        Encryption::None => Ok(Seal::Plain),
    }
}

#[derive(Deserialize)]
struct Version {
    repository: u32,
}

/// The version of repositories that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;

const DESCRIPTION_BYTES: u64 = 1 << 20;
const KEY_BYTES: u64 = 1 << 16;
