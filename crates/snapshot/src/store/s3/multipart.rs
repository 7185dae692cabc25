//! Uploads in parts, for large objects. Until it is completed an upload costs money and is in no
//! listing, so every failure removes it, and `abort_stale_uploads` removes those of killed runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::Remote;
use super::failure::{Call, is_taken, status};
use super::upload::{Creation, changed, read_part};
use crate::hash::{self, Sum};
use crate::store::{Body, Data, Put, Result};

impl Remote {
    /// Uploads in parts, and again from the start when the upload came to nothing.
    pub(super) async fn put_parts(self: Arc<Self>, key: &str, body: Body) -> Result<Put> {
        let call = Call { action: "write", key };
        let body = Arc::new(body);
        for _ in 0..3 {
            match self.upload(call, &body).await? {
                Creation::Created => return Ok(Put::Created),
                Creation::Taken => {
                    return self.settle(key, body.size_bytes, body.sha256).await;
                }
                Creation::Unconditional => self.conditional.store(false, Ordering::Relaxed),
                Creation::Void => tokio::time::sleep(self.options.patience.first_wait).await,
            }
            if self.exists(key).await? {
                return self.settle(key, body.size_bytes, body.sha256).await;
            }
        }
        Err(call.unavailable(
            "the upload was removed or overtaken on the server, three times",
            "look for other runs or a rule that aborts uploads, and run again",
        ))
    }

    async fn upload(self: &Arc<Self>, call: Call<'_>, body: &Arc<Body>) -> Result<Creation> {
        let create = self
            .client
            .create_multipart_upload()
            .bucket(&self.peer.bucket)
            .key(self.full(call.key))
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        let begun = self.options.patience.retry(call, 0, async |_| {
            create.clone().send().await.map_err(|error| self.peer.failure(call, &error))
        });
        let Some(id) = begun.await?.upload_id else {
            return Err(call.denied("the server gave no upload id", "check the endpoint"));
        };
        let outcome = match self.send_parts(call, body, &id).await {
            Ok(parts) => self.complete(call, &id, parts).await,
            Err(error) => Err(error),
        };
        if !matches!(outcome, Ok(Creation::Created)) {
            // The first failure is the one to report; what abort can't remove, the next run's
            // `abort_stale_uploads` does.
            if let Err(error) = self.abort(call.key, &id).await {
                tracing::debug!(%error, "an unfinished upload stays");
            }
        }
        outcome
    }

    /// Reads the parts one after the other, on the caller's thread, and sends a few at a time.
    async fn send_parts(
        self: &Arc<Self>,
        call: Call<'_>,
        body: &Arc<Body>,
        id: &str,
    ) -> Result<Vec<CompletedPart>> {
        let part_size = self.options.part_size_bytes.max(body.size_bytes.div_ceil(PARTS_MAX));
        let mut whole = Sha256::new();
        let mut running = JoinSet::new();
        let mut parts = Vec::new();
        let mut number = 1;
        let mut offset = 0;
        while offset < body.size_bytes {
            let length = part_size.min(body.size_bytes - offset);
            let bytes = match &body.data {
                Data::Memory(bytes) => slice(bytes, offset, length),
                Data::File(file) => read_part(file, offset, length, call.key)?,
            };
            whole.update(&bytes);
            while running.len() >= self.options.parallel_parts.max(1) {
                parts.push(joined(call, running.join_next().await)?);
            }
            let remote = Arc::clone(self);
            let (key, id) = (call.key.to_owned(), id.to_owned());
            running.spawn(async move { remote.send_part(&key, &id, number, bytes).await });
            number += 1;
            offset += length;
        }
        while !running.is_empty() {
            parts.push(joined(call, running.join_next().await)?);
        }
        if Sum::from(whole.finalize()) != body.sha256 {
            return Err(changed(call.key));
        }
        parts.sort_by_key(|part| part.part_number);
        Ok(parts)
    }

    async fn send_part(
        &self,
        key: &str,
        id: &str,
        number: i32,
        bytes: Bytes,
    ) -> Result<CompletedPart> {
        let call = Call { action: "write", key };
        let sum = STANDARD.encode(hash::sha256(&bytes));
        let sent = self.options.patience.retry(call, bytes.len() as u64, async |_| {
            let request = self
                .client
                .upload_part()
                .bucket(&self.peer.bucket)
                .key(self.full(key))
                .upload_id(id)
                .part_number(number)
                .checksum_sha256(&sum)
                .body(ByteStream::from(bytes.clone()));
            request.send().await.map_err(|error| self.peer.failure(call, &error))
        });
        let e_tag = sent.await?.e_tag;
        let part = CompletedPart::builder().part_number(number).set_e_tag(e_tag);
        Ok(part.checksum_sha256(sum).build())
    }

    async fn complete(
        &self,
        call: Call<'_>,
        id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<Creation> {
        let conditional = self.conditional.load(Ordering::Relaxed);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.peer.bucket)
            .key(self.full(call.key))
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_none_match(conditional.then(|| "*".to_owned()));
        let patience = &self.options.patience;
        let completed = patience.retry(call, 0, async |_| match request.clone().send().await {
            Ok(_) => Ok(Creation::Created),
            Err(error) if is_taken(&error) => Ok(Creation::Taken),
            Err(error) if conditional && status(&error) == Some(501) => Ok(Creation::Unconditional),
            // After a 409 (another writer was at the same key) S3 wants the upload begun anew.
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(Creation::Void),
            Err(error) => Err(self.peer.failure(call, &error)),
        });
        completed.await
    }

    async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let call = Call { action: "delete", key };
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.peer.bucket)
            .key(self.full(key))
            .upload_id(id);
        let patience = &self.options.patience;
        let aborted = patience.retry(call, 0, async |_| match request.clone().send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.peer.failure(call, &error)),
        });
        aborted.await
    }

    pub(super) async fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize> {
        let call = Call { action: "list", key: "unfinished uploads" };
        let newest = SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut stale = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.peer.bucket)
                .prefix(&self.prefix)
                .set_key_marker(marker.0.clone())
                .set_upload_id_marker(marker.1.clone());
            let patience = &self.options.patience;
            let page = patience.retry(call, 0, async |_| {
                request.clone().send().await.map_err(|error| self.peer.failure(call, &error))
            });
            let page = page.await?;
            for upload in page.uploads() {
                let begun = upload.initiated().and_then(|time| SystemTime::try_from(*time).ok());
                let key = upload.key().and_then(|key| key.strip_prefix(&self.prefix));
                if let (Some(key), Some(id), Some(begun)) = (key, upload.upload_id(), begun)
                    && begun <= newest
                {
                    stale.push((key.to_owned(), id.to_owned()));
                }
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || next == marker {
                break;
            }
            marker = next;
        }
        for (key, id) in &stale {
            self.abort(key, id).await?;
        }
        Ok(stale.len())
    }
}

/// What a part's task brought; a task that panicked is our mistake and panics on.
fn joined<T>(
    call: Call<'_>,
    ended: Option<std::result::Result<Result<T>, tokio::task::JoinError>>,
) -> Result<T> {
    match ended {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Err(call.unavailable("the upload was interrupted", "run again")),
    }
}

fn slice(bytes: &[u8], offset: u64, length: u64) -> Bytes {
    let start = usize::try_from(offset).expect("an offset into memory");
    let length = usize::try_from(length).expect("a length in memory");
    Bytes::copy_from_slice(&bytes[start..start + length])
}

/// S3 takes no more parts for one object.
const PARTS_MAX: u64 = 10_000;
