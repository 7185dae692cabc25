//! Reading, listing and deleting. An answer counts only when all of its bytes are here: a connection
//! that breaks in the middle of a body is a failed attempt like any other.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use sha2::{Digest, Sha256};

use super::Remote;
use super::failure::{Call, status};
use crate::hash::Sum;
use crate::store::{Error, Object, Result};

impl Remote {
    pub(super) async fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        let call = Call { action: "read", key };
        let patience = &self.options.patience;
        patience
            .retry(call, limit_bytes, async |_| {
                let answer = self.begin(call, None).await?;
                let size_bytes = length(call, &answer)?;
                if size_bytes > limit_bytes {
                    return Err(Error::TooLarge { key: key.to_owned(), size_bytes, limit_bytes });
                }
                self.collect(call, answer.body, size_bytes).await
            })
            .await
    }

    pub(super) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let call = Call { action: "read", key };
        let truncated = || Error::Truncated { key: key.to_owned() };
        let Some(wanted) = range.end.checked_sub(range.start) else {
            return Err(truncated());
        };
        if wanted == 0 {
            // S3 has no empty range, and the contract still asks where the object ends.
            let size = self.size(key).await?;
            return if range.start <= size { Ok(Vec::new()) } else { Err(truncated()) };
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let patience = &self.options.patience;
        patience
            .retry(call, wanted, async |_| {
                let answer = match self.begin(call, Some(&header)).await {
                    Err(Error::Denied { reason, .. }) if reason == OUT_OF_RANGE => {
                        return Err(truncated());
                    }
                    begun => begun?,
                };
                let start = format!("bytes {}-", range.start);
                if !answer.content_range().is_some_and(|given| given.starts_with(&start)) {
                    return Err(call.denied(
                        format!("{} ignores byte ranges", self.peer.endpoint),
                        "use a server that has them: restores read small parts of large objects",
                    ));
                }
                let given = length(call, &answer)?;
                if given < wanted {
                    return Err(truncated());
                }
                if given > wanted {
                    return Err(call.denied("the server gave another byte range", NOT_S3));
                }
                self.collect(call, answer.body, given).await
            })
            .await
    }

    pub(super) async fn size(&self, key: &str) -> Result<u64> {
        let call = Call { action: "read", key };
        let patience = &self.options.patience;
        patience
            .retry(call, 0, async |_| {
                let request = self.client.head_object().bucket(&self.peer.bucket);
                match request.key(self.full(key)).send().await {
                    Ok(answer) => answer
                        .content_length()
                        .and_then(|length| u64::try_from(length).ok())
                        .ok_or_else(|| call.denied("the server tells no size", NOT_S3)),
                    // The answer to a HEAD has no body and thus no reason; a GET tells it.
                    Err(error) if matches!(status(&error), Some(301 | 400 | 403)) => {
                        self.begin(call, Some("bytes=0-0")).await?;
                        Err(self.peer.failure(call, &error))
                    }
                    Err(error) => Err(self.peer.failure(call, &error)),
                }
            })
            .await
    }

    /// Whether the object is there with exactly these bytes.
    pub(super) async fn holds(&self, key: &str, size_bytes: u64, sha256: Sum) -> Result<bool> {
        let call = Call { action: "read", key };
        let patience = &self.options.patience;
        patience
            .retry(call, size_bytes, async |_| {
                let answer = match self.begin(call, None).await {
                    Err(error) if error.is_not_found() => return Ok(false),
                    begun => begun?,
                };
                if length(call, &answer)? != size_bytes {
                    return Ok(false);
                }
                let mut hash = Sha256::new();
                self.pieces(call, answer.body, size_bytes, |piece| hash.update(piece)).await?;
                Ok(Sum::from(hash.finalize()) == sha256)
            })
            .await
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Object),
    ) -> Result<()> {
        let shown = if prefix.is_empty() { "the repository" } else { prefix };
        let call = Call { action: "list", key: shown };
        let mut token: Option<String> = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.peer.bucket)
                .prefix(self.full(prefix))
                .set_start_after(after.map(|after| self.full(after)))
                .set_continuation_token(token.clone());
            let page = self
                .options
                .patience
                .retry(call, 0, async |_| {
                    request.clone().send().await.map_err(|e| self.peer.failure(call, &e))
                })
                .await?;
            for row in page.contents() {
                // A folder that a web console made is an empty object named like the prefix.
                let key = row.key().and_then(|key| key.strip_prefix(&self.prefix));
                if let Some(key) = key.filter(|key| !key.is_empty()) {
                    let size_bytes = row.size().and_then(|size| u64::try_from(size).ok());
                    each(Object { key: key.to_owned(), size_bytes: size_bytes.unwrap_or(0) });
                }
            }
            let next = page.next_continuation_token;
            if next.is_none() {
                return match page.is_truncated {
                    Some(true) => Err(call.denied("the listing breaks off", NOT_S3)),
                    _ => Ok(()),
                };
            }
            if next == token {
                return Err(call.denied("the listing has no end", NOT_S3));
            }
            token = next;
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let call = Call { action: "delete", key };
        let request = self.client.delete_object().bucket(&self.peer.bucket).key(self.full(key));
        let patience = &self.options.patience;
        let deleted = patience.retry(call, 0, async |_| match request.clone().send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.peer.failure(call, &error)),
        });
        match deleted.await {
            Err(error) if error.is_not_found() => Ok(()),
            settled => settled,
        }
    }

    /// Sends a GET and waits until the body begins.
    async fn begin(&self, call: Call<'_>, range: Option<&str>) -> Result<GetObjectOutput> {
        let request = self.client.get_object().bucket(&self.peer.bucket).key(self.full(call.key));
        let request = request.set_range(range.map(str::to_owned)).send();
        let answer = async {
            request.await.map_err(|error| match status(&error) {
                Some(416) => call.denied(OUT_OF_RANGE, NOT_S3),
                _ => self.peer.failure(call, &error),
            })
        };
        self.options.patience.in_time(call, 0, answer).await
    }

    async fn collect(&self, call: Call<'_>, body: ByteStream, size_bytes: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        self.pieces(call, body, size_bytes, |piece| bytes.extend_from_slice(piece)).await?;
        Ok(bytes)
    }

    /// Hands on a body of exactly `size_bytes` piece by piece.
    async fn pieces(
        &self,
        call: Call<'_>,
        mut body: ByteStream,
        size_bytes: u64,
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        let patience = &self.options.patience;
        let all = async {
            let mut seen = 0;
            loop {
                let next = async { body.try_next().await.map_err(|_| call.cut_short()) };
                let Some(piece) = patience.in_time(call, 0, next).await? else {
                    return if seen == size_bytes { Ok(()) } else { Err(call.cut_short()) };
                };
                seen += piece.len() as u64;
                if seen > size_bytes {
                    return Err(call.denied("the server sent more than it announced", NOT_S3));
                }
                each(&piece);
            }
        };
        patience.in_time(call, size_bytes, all).await
    }
}

fn length(call: Call<'_>, answer: &GetObjectOutput) -> Result<u64> {
    answer
        .content_length()
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| call.denied("the server tells no size", NOT_S3))
}

const OUT_OF_RANGE: &str = "the range lies behind the end";
const NOT_S3: &str = "check the endpoint, and what stands in between: a proxy, a cache";
