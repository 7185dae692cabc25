//! Asks a running server things, and tells it: over a socket in the file system that only its owner can open. One
//! request and one reply, each a line of JSON.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::counters::Counts;
use super::queue::Waiting;
use super::{PAUSE, Server};

/// What a server can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What has happened so far.
    Counts,
    /// What waits for the next server.
    Queue,
    /// To try all that waits now.
    Flush,
    /// To forget all rules for faults, and follow these.
    Rules {
        /// The rules.
        toml: String,
    },
    /// To stop, as by SIGTERM.
    Stop,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Counts`].
    Counts(Counts),
    /// To [`Request::Queue`] and [`Request::Flush`].
    Queue {
        /// Messages that wait.
        total: usize,
        /// The oldest of them.
        oldest: Vec<Waiting>,
    },
    /// To [`Request::Rules`]: how many there are now.
    Rules(usize),
    /// To [`Request::Stop`].
    Stopping,
    /// It is not.
    Error(String),
}

impl Server {
    /// Answers on a control socket until the server stops.
    pub async fn control(self: Arc<Self>, listener: UnixListener) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        // Too many open files, say: the next try would fail at once.
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    if sessions.len() >= SESSIONS_MAX {
                        sessions.join_next().await;
                    }
                    let server = Arc::clone(&self);
                    sessions.spawn(async move {
                        // Who is too slow, or goes, has no answer.
                        let _ = timeout(LIMIT, server.answer(stream)).await;
                    });
                }
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                () = self.stopped() => break,
            }
        }
        // Whoever asked for the stop is told.
        while sessions.join_next().await.is_some() {}
    }

    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = Vec::new();
        BufReader::new(read).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await?;
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => self.obey(request),
            Err(e) => Reply::Error(format!("this is no request: {e}")),
        };
        let mut reply = serde_json::to_vec(&reply)?;
        reply.push(b'\n');
        write.write_all(&reply).await
    }

    fn obey(&self, request: Request) -> Reply {
        match request {
            Request::Counts => Reply::Counts(self.counts()),
            Request::Queue => self.waiting(),
            Request::Flush => {
                let waiting = self.waiting();
                if let Some(queue) = self.queue() {
                    queue.flush();
                }
                waiting
            }
            Request::Rules { toml } => match self.faults.load(&toml) {
                Ok(count) => Reply::Rules(count),
                Err(bad) => Reply::Error(bad.to_string()),
            },
            Request::Stop => {
                self.stop();
                Reply::Stopping
            }
        }
    }

    fn waiting(&self) -> Reply {
        let mut oldest = self.queue().map(|queue| queue.list()).unwrap_or_default();
        let total = oldest.len();
        oldest.truncate(LISTED_MAX);
        // Whoever asks reads no more than so much.
        let mut recipients = 0;
        oldest.retain(|waiting| {
            recipients += waiting.to.len();
            recipients <= LISTED_RECIPIENTS_MAX
        });
        Reply::Queue { total, oldest }
    }
}

/// Asks the server whose control socket this is.
pub async fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut reply = Vec::new();
        stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply).await?;
        if reply.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server gave no answer"));
        }
        Ok(serde_json::from_slice(&reply)?)
    };
    timeout(LIMIT, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A socket in the file system, removed again with this.
#[derive(Debug)]
pub struct BoundPath(PathBuf);

impl Drop for BoundPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds a socket in the file system that whoever `mode` lets may connect to. One that a killed server left is
/// replaced, and one that somebody serves is not.
pub async fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, BoundPath)> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
    }
    let is_socket = |meta: std::fs::Metadata| {
        use std::os::unix::fs::FileTypeExt;
        meta.file_type().is_socket()
    };
    if std::fs::symlink_metadata(path).is_ok_and(|meta| !is_socket(meta)) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    // It has its mode before anybody can find it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let hidden =
        tempfile::Builder::new().prefix(".").tempdir_in(folder.unwrap_or(Path::new(".")))?;
    let made = hidden.path().join("s");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&made, path)?;
    Ok((listener, BoundPath(path.to_owned())))
}

/// For a request and its reply.
const LIMIT: Duration = Duration::from_secs(10);

const SESSIONS_MAX: usize = 16;
const REQUEST_BYTES_MAX: u64 = 1 << 20;
const REPLY_BYTES_MAX: u64 = 16 << 20;
const LISTED_MAX: usize = 1000;
const LISTED_RECIPIENTS_MAX: usize = 20_000;
