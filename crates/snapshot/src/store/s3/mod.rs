//! A store in an S3 bucket. Calls block: an async runtime of two threads stays inside, and must not
//! be entered from another one. The bytes of a PUT go with their SHA-256, which the server checks.

mod count;
mod failure;
mod multipart;
mod options;
mod read;
mod refusal;
mod retry;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use tokio::runtime::{Builder, Runtime};

pub use self::options::{Keys, S3Options};
pub use self::retry::Patience;

use self::failure::Peer;
use super::{Body, Counters, Error, Object, Put, Requests, Result, Store};

/// Objects under a prefix of a bucket.
pub struct S3 {
    remote: Arc<Remote>,
    /// Always there until drop, which must not wait for a name lookup that hangs.
    runtime: Option<Runtime>,
}

impl S3 {
    /// Finds region and credentials, and makes a client; asks nothing of the bucket yet.
    pub fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|source| Error::io("open", bucket, source))?;
        let counters = Arc::new(Counters::default());
        let (client, peer) =
            runtime.block_on(options::connect(bucket, options, Arc::clone(&counters)))?;
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let remote = Remote {
            client,
            peer,
            prefix,
            counters,
            conditional: AtomicBool::new(true),
            options: options.clone(),
        };
        Ok(Self { remote: Arc::new(remote), runtime: Some(runtime) })
    }

    /// Says whether the server has conditional writes. Without them a put asks first whether the
    /// object is there, which leaves a gap between question and write. Assumed until said otherwise.
    pub fn set_conditional_create(&self, supported: bool) {
        self.remote.conditional.store(supported, Ordering::Relaxed);
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("the runtime lives until drop").block_on(work)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.display()).finish()
    }
}

impl Store for S3 {
    fn put(&self, key: &str, body: Body) -> Result<Put> {
        self.wait(Arc::clone(&self.remote).put(key, body))
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        self.wait(self.remote.get(key, limit_bytes))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        self.wait(self.remote.get_range(key, range))
    }

    fn size(&self, key: &str) -> Result<u64> {
        self.wait(self.remote.size(key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        self.wait(self.remote.list(prefix, None, each))
    }

    /// Does not ask for what comes before; a server that gives it all the same is put right.
    fn list_after(&self, prefix: &str, after: &str, each: &mut dyn FnMut(Object)) -> Result<()> {
        let mut each = |object: Object| {
            if object.key.as_str() > after {
                each(object);
            }
        };
        self.wait(self.remote.list(prefix, Some(after), &mut each))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.wait(self.remote.delete(key))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn requests(&self) -> Requests {
        self.remote.counters.read()
    }

    /// Whether the server refuses to replace an object when asked to. Puts one small object under
    /// `probe/` twice and removes it, so it also shows that writing is allowed.
    fn probe_conditional_create(&self) -> Result<bool> {
        self.wait(self.remote.probe_conditional_create())
    }

    /// Removes what uploads left under the prefix that were begun more than `older_than` ago and
    /// never finished (their run was killed), and tells how many. They cost money and are in no
    /// listing. The age is taken between the server's clock and this host's.
    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize> {
        self.wait(self.remote.abort_stale_uploads(older_than))
    }

    fn display(&self) -> String {
        let prefix = self.remote.prefix.trim_end_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{prefix}", self.remote.peer.bucket)
    }
}

/// The far end: what the async side needs. `read.rs`, `upload.rs` and `multipart.rs` hold its calls.
struct Remote {
    client: Client,
    peer: Peer,
    /// Empty, or ends in a slash.
    prefix: String,
    counters: Arc<Counters>,
    conditional: AtomicBool,
    options: S3Options,
}

impl Remote {
    /// The key in the bucket.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}
