//! Writing packs: messages as members of a tar, the tar cut into independent zstd frames, the
//! frames sealed with age. Members are numbered in order and named by their numbers; what they are
//! is in the index. A pack larger than memory should hold is spooled to an unlinked file.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::crypt::{Seal, SealWriter};
use crate::hash::{Sum, hex};
use crate::headers::Headers;
use crate::index::{IndexMember, SectionHead};
use crate::layout::random_hex;
use crate::store::{Body, Data};

/// A finished pack, ready to be stored, and its section of an index.
#[derive(Debug)]
pub struct FinishedPack {
    /// Random id.
    pub id: String,
    /// The sealed pack.
    pub pack: Body,
    /// What an index says of it: one zstd frame, to be sealed together with others.
    pub section: Vec<u8>,
    /// Number of members.
    pub members: u32,
    /// Length of the tar in bytes, before compression.
    pub raw_bytes: u64,
}

/// Chooses zstd's level for a frame of so many bytes.
pub type Levels<'l> = &'l dyn Fn(usize) -> i32;

/// A pack being written.
pub struct PackWriter {
    id: String,
    raw: Vec<u8>,
    /// Where members end in `raw`.
    member_ends: Vec<usize>,
    /// Bytes of tar after which the frame in work ends.
    frame_bytes: usize,
    compressor: zstd::bulk::Compressor<'static>,
    output: SealWriter<Spool>,
    compressed_bytes: u64,
    raw_bytes: u64,
    frames: Vec<(u64, u64)>,
    index: Vec<u8>,
    members: u32,
}

impl PackWriter {
    /// Starts a pack. Large ones spool to `spool_dir`.
    pub fn new(seal: &Seal, spool_dir: &Path) -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(0)?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        Ok(Self {
            id: random_hex(8),
            raw: Vec::new(),
            member_ends: Vec::new(),
            frame_bytes: FRAME_BYTES,
            compressor,
            output: seal.writer(Spool::new(spool_dir))?,
            compressed_bytes: 0,
            raw_bytes: 0,
            frames: Vec::new(),
            index: Vec::new(),
            members: 0,
        })
    }

    /// Adds a member that is in memory; gives its number.
    pub fn add(
        &mut self,
        bytes: &[u8],
        sum: Sum,
        headers: Headers,
        levels: Levels<'_>,
    ) -> io::Result<u32> {
        self.begin_member(bytes.len() as u64)?;
        self.raw.extend_from_slice(bytes);
        self.end_member(bytes.len() as u64, sum, headers, levels)
    }

    /// Adds a member by reading exactly `size_bytes` that hash to `sum`; fails if they do not. The
    /// pack is useless after a failure.
    pub fn add_from(
        &mut self,
        input: &mut dyn Read,
        size_bytes: u64,
        sum: Sum,
        headers: Headers,
        levels: Levels<'_>,
    ) -> Result<u32, AddError> {
        self.begin_member(size_bytes).map_err(AddError::Output)?;
        let mut hasher = Sha256::new();
        let mut left = size_bytes;
        let mut chunk = vec![0; 1 << 20];
        while left > 0 {
            let take = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            input.read_exact(&mut chunk[..take]).map_err(AddError::Input)?;
            hasher.update(&chunk[..take]);
            self.raw.extend_from_slice(&chunk[..take]);
            left -= take as u64;
            if self.raw.len() >= self.frame_bytes {
                self.flush_frame(levels).map_err(AddError::Output)?;
            }
        }
        if sum != <Sum>::from(hasher.finalize()) {
            return Err(AddError::Input(io::Error::other("it changed while it was read")));
        }
        self.end_member(size_bytes, sum, headers, levels).map_err(AddError::Output)
    }

    /// Whether the pack has reached the size at which a new one should be begun.
    pub fn is_full(&self) -> bool {
        self.compressed_bytes >= PACK_BYTES
    }

    /// Seals the pack.
    pub fn finish(mut self, levels: Levels<'_>) -> io::Result<FinishedPack> {
        // Two empty blocks end a tar.
        self.raw.resize(self.raw.len() + 2 * BLOCK, 0);
        self.flush_frame(levels)?;
        let pack = self.output.finish()?.into_body()?;
        let head = SectionHead {
            pack: self.id.clone(),
            members: self.members,
            raw: self.raw_bytes,
            frames: self.frames,
        };
        let mut section = serde_json::to_vec(&head)?;
        section.push(b'\n');
        section.extend_from_slice(&self.index);
        self.compressor.set_compression_level(INDEX_LEVEL)?;
        let section = self.compressor.compress(&section)?;
        let (members, raw_bytes) = (self.members, self.raw_bytes);
        Ok(FinishedPack { id: self.id, pack, section, members, raw_bytes })
    }

    fn begin_member(&mut self, size_bytes: u64) -> io::Result<()> {
        if self.members >= MEMBERS_MAX {
            return Err(io::Error::other("too many members in one pack"));
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("{:07}", self.members))?;
        header.set_size(size_bytes);
        header.set_mode(0o600);
        header.set_cksum();
        self.raw.extend_from_slice(header.as_bytes());
        Ok(())
    }

    fn end_member(
        &mut self,
        size: u64,
        sum: Sum,
        headers: Headers,
        levels: Levels<'_>,
    ) -> io::Result<u32> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.raw.resize(self.raw.len() + padding as usize, 0);
        self.member_ends.push(self.raw.len());
        let number = self.members;
        self.members += 1;
        serde_json::to_writer(&mut self.index, &IndexMember { sha256: hex(&sum), size, headers })?;
        self.index.push(b'\n');
        if self.raw.len() >= self.frame_bytes {
            self.flush_frame(levels)?;
        }
        Ok(number)
    }

    fn flush_frame(&mut self, levels: Levels<'_>) -> io::Result<()> {
        let mut raw = std::mem::take(&mut self.raw);
        let member_ends = std::mem::take(&mut self.member_ends);
        self.write_frames(&raw, &member_ends, levels)?;
        raw.clear();
        self.raw = raw;
        Ok(())
    }

    /// Writes `raw` as one frame, or as several if it does not compress to a frame's size.
    fn write_frames(&mut self, raw: &[u8], ends: &[usize], levels: Levels<'_>) -> io::Result<()> {
        self.compressor.set_compression_level(levels(raw.len()))?;
        let frame = self.compressor.compress(raw)?;
        // What comes next is probably of the same kind.
        let wanted = raw.len().saturating_mul(FRAME_COMPRESSED_BYTES) / frame.len().max(1);
        self.frame_bytes = wanted.clamp(FRAME_COMPRESSED_BYTES, FRAME_BYTES);
        if frame.len() > FRAME_COMPRESSED_MAX
            && let Some((half, at)) = halves(raw.len(), ends)
        {
            self.write_frames(&raw[..at], &ends[..half], levels)?;
            let rest: Vec<usize> = ends[half..].iter().map(|end| end - at).collect();
            return self.write_frames(&raw[at..], &rest, levels);
        }
        self.output.write_all(&frame)?;
        self.compressed_bytes += frame.len() as u64;
        self.raw_bytes += raw.len() as u64;
        self.frames.push((self.compressed_bytes, self.raw_bytes));
        Ok(())
    }
}

/// Where to cut a frame in two: the number of members before the cut, and its place. `None` if it
/// has one member.
fn halves(length: usize, ends: &[usize]) -> Option<(usize, usize)> {
    let cuts = &ends[..ends.len().saturating_sub(1)];
    let last = cuts.len().checked_sub(1)?;
    let half = cuts.partition_point(|end| *end < length / 2).min(last);
    Some((half + 1, cuts[half]))
}

/// Why a member could not be added.
#[derive(Debug)]
pub enum AddError {
    /// Its content could not be read, or is not what it was.
    Input(io::Error),
    /// The pack could not be written.
    Output(io::Error),
}

/// Collects sealed bytes: in memory, or in an unlinked file when they become many.
struct Spool {
    dir: PathBuf,
    memory: Vec<u8>,
    file: Option<std::fs::File>,
    size_bytes: u64,
    hasher: Sha256,
}

impl Spool {
    fn new(dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { dir, memory: Vec::new(), file: None, size_bytes: 0, hasher: Sha256::new() }
    }

    fn into_body(self) -> io::Result<Body> {
        let data = match self.file {
            Some(mut file) => {
                file.write_all(&self.memory)?;
                Data::File(file)
            }
            None => Data::Memory(self.memory),
        };
        Ok(Body { data, size_bytes: self.size_bytes, sha256: self.hasher.finalize().into() })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.extend_from_slice(bytes);
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        if self.memory.len() > SPOOL_BYTES {
            if self.file.is_none() {
                self.file = Some(tempfile::tempfile_in(&self.dir)?);
            }
            if let Some(file) = &mut self.file {
                file.write_all(&self.memory)?;
                self.memory.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// tar's unit.
pub const BLOCK: usize = 512;

/// A frame is closed at the first member's end beyond this many bytes of tar.
const FRAME_BYTES: usize = 8 << 20;

/// What a frame of mail that hardly compresses should have when compressed: about what one message
/// costs to read.
const FRAME_COMPRESSED_BYTES: usize = 5 << 19;

/// A larger frame of several members is divided.
const FRAME_COMPRESSED_MAX: usize = 13 << 18;

/// A pack is closed at the first frame's end beyond this size: small enough for one request and to
/// be held in memory, large enough that requests cost nothing.
const PACK_BYTES: u64 = 12 << 20;

/// What a member number can count in its name; far beyond any pack.
const MEMBERS_MAX: u32 = 9_999_999;

/// Sealed bytes kept in memory before they go to a file.
const SPOOL_BYTES: usize = 32 << 20;

/// Indexes are small and read often.
const INDEX_LEVEL: i32 = 6;
