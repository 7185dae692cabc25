//! Writing in one PUT; `multipart.rs` does it in parts for large objects. An object is created, never replaced,
//! where the server can promise that. A lost answer is the hard case: the second try then finds the
//! object there, and only its bytes tell whether it is ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::Remote;
use super::failure::{Call, is_taken, status};
use super::retry::random;
use crate::hash::{self, Sum};
use crate::store::{Body, Data, Error, Put, Result};

/// How one try to create an object ended.
pub(super) enum Creation {
    Created,
    /// An object was in its place.
    Taken,
    /// The server has no conditional writes (501).
    Unconditional,
    /// The upload can't be completed: it was by a try whose answer was lost, or somebody removed it,
    /// or another writer was faster.
    Void,
}

impl Remote {
    pub(super) async fn put(self: Arc<Self>, key: &str, body: Body) -> Result<Put> {
        let parts = body.size_bytes > self.options.multipart_above_bytes;
        let conditional = self.conditional.load(Ordering::Relaxed);
        // Parts in vain are costlier than a question.
        if (parts || !conditional) && self.exists(key).await? {
            return Ok(Put::Exists);
        }
        if parts { self.put_parts(key, body).await } else { self.put_whole(key, body).await }
    }

    async fn put_whole(&self, key: &str, body: Body) -> Result<Put> {
        let call = Call { action: "write", key };
        let bytes = match body.data {
            Data::Memory(bytes) => Bytes::from(bytes),
            Data::File(file) => read_part(&file, 0, body.size_bytes, key)?,
        };
        loop {
            let conditional = self.conditional.load(Ordering::Relaxed);
            let mut tries = 0;
            let sent = self.options.patience.retry(call, body.size_bytes, |number| {
                tries = number;
                self.put_once(call, bytes.clone(), &body.sha256, conditional)
            });
            match sent.await? {
                Creation::Taken if tries > 1 => {
                    return self.settle(key, body.size_bytes, body.sha256).await;
                }
                Creation::Created => return Ok(Put::Created),
                Creation::Taken => return Ok(Put::Exists),
                Creation::Unconditional | Creation::Void => {
                    self.conditional.store(false, Ordering::Relaxed);
                    if self.exists(key).await? {
                        return Ok(Put::Exists);
                    }
                }
            }
        }
    }

    async fn put_once(
        &self,
        call: Call<'_>,
        bytes: Bytes,
        sha256: &Sum,
        conditional: bool,
    ) -> Result<Creation> {
        let request = self
            .client
            .put_object()
            .bucket(&self.peer.bucket)
            .key(self.full(call.key))
            .checksum_sha256(STANDARD.encode(sha256))
            .set_if_none_match(conditional.then(|| "*".to_owned()))
            .body(ByteStream::from(bytes));
        match request.send().await {
            Ok(_) => Ok(Creation::Created),
            Err(error) if is_taken(&error) => Ok(Creation::Taken),
            Err(error) if conditional && status(&error) == Some(501) => Ok(Creation::Unconditional),
            Err(error) => Err(self.peer.failure(call, &error)),
        }
    }

    pub(super) async fn probe_conditional_create(&self) -> Result<bool> {
        let key = format!("probe/{:016x}", random());
        let call = Call { action: "write", key: &key };
        let put = async |text: &'static [u8]| {
            let sum = hash::sha256(text);
            let patience = &self.options.patience;
            let bytes = Bytes::from_static(text);
            patience.retry(call, 0, |_| self.put_once(call, bytes.clone(), &sum, true)).await
        };
        let first = put(b"first").await?;
        if matches!(first, Creation::Unconditional) {
            return Ok(false);
        }
        let second = put(b"second").await;
        // Credentials that may only create are a good idea; the small object stays then.
        match self.delete(&key).await {
            Err(Error::Denied { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        Ok(matches!(second?, Creation::Taken))
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool> {
        match self.size(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// After a try whose answer was lost: an object with our bytes is the one that we created.
    pub(super) async fn settle(&self, key: &str, size_bytes: u64, sha256: Sum) -> Result<Put> {
        let ours = self.holds(key, size_bytes, sha256).await?;
        Ok(if ours { Put::Created } else { Put::Exists })
    }
}

pub(super) fn read_part(file: &File, offset: u64, length: u64, key: &str) -> Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| changed(key))?];
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::io("write", key, source))?;
    Ok(bytes.into())
}

pub(super) fn changed(key: &str) -> Error {
    let source =
        io::Error::new(io::ErrorKind::InvalidData, "its bytes changed while they were sent");
    Error::io("write", key, source)
}
