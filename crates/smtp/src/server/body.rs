//! A message's bytes while they arrive: in memory as long as they are few, in a file without a name when they
//! are many, so that a thousand slow senders of large messages take disk and not memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::deliver::one_line;
use super::dialogue::Answer;

/// Where the bytes of a message are kept while they come.
#[derive(Debug, Clone)]
pub(super) enum Room {
    /// Nowhere: they are counted and dropped.
    Nowhere,
    /// In memory, all of them.
    Memory,
    /// In memory while they are few, then in a file in this folder.
    Spool(PathBuf),
}

/// A message that arrives, or has arrived.
#[derive(Debug)]
pub(super) struct Body {
    memory: Vec<u8>,
    file: Option<Arc<File>>,
    /// Size in bytes, of what is kept and of what is not.
    size_bytes: u64,
    size_bytes_max: u64,
    room: Room,
    /// Why it cannot be kept.
    broken: Option<io::Error>,
}

impl Body {
    /// An empty one.
    pub(super) fn new(size_bytes_max: u64, room: Room) -> Self {
        let memory = Vec::new();
        Self { memory, file: None, size_bytes: 0, size_bytes_max, room, broken: None }
    }

    /// One that is there already.
    pub(super) fn whole(memory: Vec<u8>) -> Self {
        let size_bytes = memory.len() as u64;
        let (size_bytes_max, room) = (size_bytes, Room::Memory);
        Self { memory, file: None, size_bytes, size_bytes_max, room, broken: None }
    }

    /// What was kept in [`Room::Memory`].
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.memory
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Why it is not taken, if so. Then its bytes are read and dropped.
    pub(super) fn objection(&self) -> Option<Answer> {
        if self.is_too_large() {
            return Some(Answer::new(552, "5.3.4 message too large"));
        }
        let broken = self.broken.as_ref()?;
        Some(Answer::new(452, format!("4.3.1 no room for the message: {}", one_line(broken))))
    }

    fn is_too_large(&self) -> bool {
        self.size_bytes > self.size_bytes_max
    }

    /// At most so many bytes of its beginning; blocks.
    pub(super) fn head(&self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        if let Some(file) = &self.file {
            let mut file: &File = file;
            file.seek(SeekFrom::Start(0))?;
            file.take(bytes_max).read_to_end(&mut head)?;
        }
        self.memory.as_slice().take(bytes_max - head.len() as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Where the next bytes go; to be followed by [`Body::settle`].
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// Takes account of what was added to the `before` bytes of [`Body::space`], and makes room.
    pub(super) async fn settle(&mut self, before: usize) {
        self.size_bytes += (self.memory.len() - before) as u64;
        let is_kept = !matches!(self.room, Room::Nowhere);
        if self.is_too_large() || !is_kept || self.broken.is_some() {
            self.memory.clear();
            self.file = None;
            return;
        }
        let Room::Spool(spool) = &self.room else { return };
        if self.memory.len() < MEMORY_BYTES {
            return;
        }
        let spool = spool.clone();
        if let Err(e) = self.write_out(spool).await {
            tracing::error!("a message cannot be kept in the spool while it comes: {e}");
            self.broken = Some(e);
        }
    }

    async fn write_out(&mut self, spool: PathBuf) -> io::Result<()> {
        let (memory, file) = (std::mem::take(&mut self.memory), self.file.take());
        let written = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(tempfile::tempfile_in(spool)?),
            };
            (&*file).write_all(&memory)?;
            io::Result::Ok((file, memory))
        });
        let (file, mut memory) = written.await.map_err(io::Error::other)??;
        memory.clear();
        (self.file, self.memory) = (Some(file), memory);
        Ok(())
    }

    /// Writes all of it; blocks.
    pub(super) fn copy(&self, to: &mut impl Write) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut file: &File = file;
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut file, to)?;
        }
        to.write_all(&self.memory)
    }
}

/// Most messages are smaller.
const MEMORY_BYTES: usize = 128 * 1024;
