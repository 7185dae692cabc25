//! Listing a folder: `new` before `cur`, and each again if it changed meanwhile, because readdir may
//! show a file that is renamed under it twice or not at all. What never stands still is listed
//! several times, and every base name that any of the listings has is taken.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, RawDir};

use crate::nofollow;
use crate::print::{RACY, now_ns};
use crate::{DirPrint, Error, FileKind, FolderPrint, Listing, Result, Subdir};

/// Lists folders; keeps its buffer from one to the next.
pub struct Lister {
    buffer: Vec<MaybeUninit<u8>>,
    hash: RandomState,
    proof: Proof,
}

/// What shows that a directory stood still while it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Its times, which did not change.
    #[default]
    Times,
    /// A second listing with the same names: for file systems whose times tell late or nothing.
    Agreement,
}

impl Default for Lister {
    fn default() -> Self {
        Self::new(Proof::default())
    }
}

impl Lister {
    /// A lister that believes this proof.
    pub fn new(proof: Proof) -> Self {
        let buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        Self { buffer, hash: RandomState::new(), proof }
    }

    /// Lists `new`, then `cur`, each again until it stands still. What does not within a bounded
    /// number of attempts is marked unstable, and has the newest name for every base name that was seen.
    pub fn list(&mut self, folder: &Path) -> Result<Listing> {
        let proof = self.proof;
        self.both(folder, |dir, _| list_dir(dir, proof))
    }

    /// Lists once, at once. The listing is stable if the directories did not change meanwhile, and
    /// not shortly before: not since `earlier`, which was read a
    /// [`tick`](FolderPrint::tick) ago.
    pub fn list_once(&mut self, folder: &Path, earlier: Option<FolderPrint>) -> Result<Listing> {
        self.both(folder, |dir, index| attempt(dir, earlier.map(|print| print.dirs[index])))
    }

    fn both(
        &mut self,
        folder: &Path,
        mut list: impl FnMut(&mut OnDisk<'_>, usize) -> Result<Attempt>,
    ) -> Result<Listing> {
        let hash = (self.proof == Proof::Agreement).then_some(&self.hash);
        let mut one = |index, subdir| {
            let began_ns = now_ns();
            let buffer = &mut self.buffer;
            let part = list(&mut OnDisk { folder, subdir, buffer, hash }, index)?;
            let is_settled = part.is_stable && !part.print.is_younger_than(RACY, began_ns);
            Ok((part, is_settled && hash.is_none()))
        };
        let (new, is_new_settled) = one(0, Subdir::New)?;
        let (cur, is_cur_settled) = one(1, Subdir::Cur)?;
        let mut listing = cur.files;
        listing.hidden.extend_from_slice(&new.files.hidden);
        listing.hidden.sort_unstable();
        listing
            .append(&new.files, new.files.entries())
            .map_err(|e| Error::new("list", folder, e))?;
        listing.print = FolderPrint { dirs: [new.print, cur.print] };
        listing.is_unstable = !(new.is_stable && cur.is_stable);
        listing.is_settled = is_new_settled && is_cur_settled;
        listing.digest = self.hash.hash_one((new.digest, cur.digest));
        Ok(listing)
    }
}

/// One listing of one directory.
struct Attempt {
    files: Listing,
    print: DirPrint,
    is_stable: bool,
    digest: u64,
}

/// A directory that can be listed and waited for.
trait Directory {
    fn print(&mut self) -> Result<DirPrint>;
    /// The files, sorted, and a digest of their names and inodes.
    fn read(&mut self) -> Result<(Listing, u64)>;
    fn now_ns(&self) -> i64;
    fn wait(&mut self, tick: Duration);
    fn failed(&self, reason: io::Error) -> Error;
}

fn list_dir(dir: &mut impl Directory, proof: Proof) -> Result<Attempt> {
    let mut attempts = 0;
    let mut earlier: Option<Attempt> = None;
    loop {
        let mut print = None;
        if (1..=WAITS).contains(&attempts) {
            let earlier = dir.print()?;
            dir.wait(earlier.tick());
            print = Some(earlier);
        }
        let mut listed = attempt(dir, print)?;
        if proof == Proof::Agreement {
            listed.is_stable = earlier.as_ref().is_some_and(|e| e.digest == listed.digest);
        }
        if listed.is_stable {
            return Ok(listed);
        }
        if let Some(earlier) = &earlier {
            listed.files.absorb(&earlier.files).map_err(|e| dir.failed(e))?;
        }
        attempts += 1;
        if attempts == ATTEMPTS {
            return Ok(listed);
        }
        earlier = Some(listed);
    }
}

fn attempt(dir: &mut impl Directory, earlier: Option<DirPrint>) -> Result<Attempt> {
    let print = dir.print()?;
    let is_old = earlier == Some(print) || !print.is_young(dir.now_ns());
    let (files, digest) =
        if print == DirPrint::default() { (Listing::default(), 0) } else { dir.read()? };
    let is_stable = is_old && dir.print()? == print;
    Ok(Attempt { files, print, is_stable, digest })
}

/// A folder's `new` or `cur`.
struct OnDisk<'l> {
    folder: &'l Path,
    subdir: Subdir,
    buffer: &'l mut Vec<MaybeUninit<u8>>,
    /// Only where digests are compared.
    hash: Option<&'l RandomState>,
}

impl OnDisk<'_> {
    fn read_all(&mut self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = nofollow::open(&self.folder.join(self.subdir.name()), flags, Mode::empty())?;
        let mut entries = RawDir::new(dir, self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // NFS has messages that are deleted and still open as dot files of its own.
            if matches!(name, b"." | b"..") || name.starts_with(b".nfs") {
                continue;
            }
            if name.starts_with(b".") {
                listing.hidden.push((self.subdir, name.to_vec()));
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile | FileType::Unknown => FileKind::File,
                FileType::Symlink => FileKind::Other("a symbolic link"),
                FileType::Directory => FileKind::Other("a folder"),
                FileType::Fifo => FileKind::Other("a FIFO"),
                FileType::Socket => FileKind::Other("a socket"),
                _ => FileKind::Other("a device"),
            };
            listing.push(self.subdir, name, entry.ino(), kind)?;
        }
        listing.sort();
        Ok(listing)
    }
}

impl Directory for OnDisk<'_> {
    fn print(&mut self) -> Result<DirPrint> {
        DirPrint::read(self.folder, self.subdir)
    }

    fn read(&mut self) -> Result<(Listing, u64)> {
        let listing = self.read_all().map_err(|e| self.failed(e))?;
        let names = || listing.entries().iter().map(|entry| (listing.name(entry), entry.ino));
        let digest = self.hash.map_or(0, |hash| {
            let mut hasher = hash.build_hasher();
            names().for_each(|name| name.hash(&mut hasher));
            hasher.finish()
        });
        Ok((listing, digest))
    }

    fn now_ns(&self) -> i64 {
        now_ns()
    }

    fn wait(&mut self, tick: Duration) {
        std::thread::sleep(tick);
    }

    fn failed(&self, reason: io::Error) -> Error {
        Error::new("list", &self.folder.join(self.subdir.name()), reason)
    }
}

/// How often a directory is listed until it has stood still.
const ATTEMPTS: u32 = 10;

/// Before how many of them a tick is waited: a folder that was merely young is old then.
const WAITS: u32 = 3;

const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::print::{COARSE_TICK, TICK};

    /// A directory whose every reading is written down: names with inodes, and whether it changed
    /// while it was read. The last one stands for all that come later.
    struct Fake {
        readings: Vec<(Vec<(&'static str, u64)>, bool)>,
        read: usize,
        waits: usize,
        mtime_ns: i64,
        now_ns: i64,
        /// What its times are multiples of.
        unit_ns: i64,
    }

    impl Fake {
        fn new(age: Duration, readings: &[(&[(&'static str, u64)], bool)]) -> Self {
            let now_ns = 1_000_700_000_001;
            let mtime_ns = now_ns - age.as_nanos() as i64;
            let readings = readings.iter().map(|(names, moves)| (names.to_vec(), *moves)).collect();
            Self { readings, read: 0, waits: 0, mtime_ns, now_ns, unit_ns: 1 }
        }

        /// The files' names and whether the listing was stable.
        fn list(&mut self, proof: Proof) -> (Vec<String>, bool) {
            let listed = list_dir(self, proof).unwrap();
            let name = |entry| String::from_utf8_lossy(listed.files.name(entry)).into_owned();
            (listed.files.entries().iter().map(name).collect(), listed.is_stable)
        }
    }

    impl Directory for Fake {
        fn print(&mut self) -> Result<DirPrint> {
            let time_ns = self.mtime_ns - self.mtime_ns % self.unit_ns;
            Ok(DirPrint { dev: 1, ino: 1, mtime_ns: time_ns, ctime_ns: time_ns })
        }

        fn read(&mut self) -> Result<(Listing, u64)> {
            let (names, moves) = &self.readings[self.read.min(self.readings.len() - 1)];
            let mut listing = Listing::default();
            for (name, ino) in names {
                listing.push(Subdir::Cur, name.as_bytes(), *ino, FileKind::File).unwrap();
            }
            listing.sort();
            self.read += 1;
            self.now_ns += 1_000_000;
            if *moves {
                self.mtime_ns = self.now_ns;
            }
            Ok((listing, names.iter().map(|(name, ino)| name.len() as u64 * 7 + ino).sum()))
        }

        fn now_ns(&self) -> i64 {
            self.now_ns
        }

        fn wait(&mut self, tick: Duration) {
            self.waits += 1;
            self.now_ns += tick.as_nanos() as i64;
        }

        fn failed(&self, reason: io::Error) -> Error {
            Error::new("list", Path::new("fake"), reason)
        }
    }

    const OLD: Duration = Duration::from_secs(60);

    #[test]
    fn a_directory_that_stands_still_is_listed_once_and_not_waited_for() {
        let mut dir = Fake::new(OLD, &[(&[("1.a", 1)], false), (&[], false)]);
        assert_eq!(dir.list(Proof::Times), (vec!["1.a".into()], true));
        assert_eq!((dir.read, dir.waits), (1, 0));
    }

    /// The first reading misses a file that was renamed in the clock tick of the change before, so
    /// that the times do not show it. The same readings in an older directory are believed.
    #[test]
    fn a_change_within_the_tick_of_the_one_before_is_not_missed() {
        let readings: [(&[_], _); 2] = [(&[("1.a", 1)], false), (&[("1.a", 1), ("2.b", 2)], false)];
        let mut dir = Fake::new(TICK / 10, &readings);
        assert_eq!(dir.list(Proof::Times), (vec!["1.a".into(), "2.b".into()], true));
        assert_eq!((dir.read, dir.waits), (2, 1));
        let mut dir = Fake::new(OLD, &readings);
        assert_eq!(dir.list(Proof::Times).0.len(), 1);
        // A clock that is behind the file system's makes every time one to come.
        let mut dir = Fake::new(TICK / 10, &readings);
        dir.mtime_ns = i64::MAX;
        assert_eq!(dir.list(Proof::Times), (vec!["1.a".into(), "2.b".into()], true));
    }

    /// Its last change was some ticks ago, and the file system tells the second of it.
    #[test]
    fn where_times_are_whole_seconds_a_change_within_the_second_is_not_missed() {
        let readings: [(&[_], _); 3] =
            [(&[("1.a", 1)], true), (&[("1.a", 1)], true), (&[("1.a", 1), ("2.b", 2)], false)];
        let mut dir = Fake::new(TICK * 4, &readings);
        dir.unit_ns = 1_000_000_000;
        assert_eq!(dir.list(Proof::Times), (vec!["1.a".into(), "2.b".into()], true));
        assert!(dir.waits > 0);
        // The same readings where the second is over, and where nothing says that it counts.
        let still: [(&[_], _); 2] = [(&[("1.a", 1)], false), (&[("1.a", 1), ("2.b", 2)], false)];
        for (age, unit_ns) in [(COARSE_TICK, 1_000_000_000), (TICK * 4, 1)] {
            let mut dir = Fake::new(age, &still);
            dir.unit_ns = unit_ns;
            assert_eq!(dir.list(Proof::Times).0.len(), 1);
            assert_eq!(dir.waits, 0);
        }
    }

    #[test]
    fn a_directory_that_never_stands_still_gives_all_that_was_ever_seen_under_its_newest_name() {
        let readings: [(&[_], _); 3] = [
            (&[("1.a:2,", 1), ("2.b:2,", 2), ("4.d", 4)], true),
            (&[("1.a:2,S", 1), ("3.c:2,", 3), ("4.d", 5)], true),
            (&[("2.b:2,S", 2), ("5.e", 6), ("5.e:2,S", 7)], true),
        ];
        let mut dir = Fake::new(OLD, &readings);
        let (names, is_stable) = dir.list(Proof::Times);
        // 4.d became another file meanwhile; 5.e are two at once.
        let newest = ["1.a:2,S", "2.b:2,S", "3.c:2,", "4.d", "5.e", "5.e:2,S"];
        assert_eq!((names, is_stable), (newest.map(str::to_owned).to_vec(), false));
        assert_eq!((dir.read, dir.waits), (ATTEMPTS as usize, WAITS as usize));
    }

    /// The times say that nothing changed, and are wrong.
    #[test]
    fn without_trust_in_times_two_listings_must_agree() {
        let readings: [(&[_], _); 3] = [
            (&[("1.a", 1)], false),
            (&[("1.a", 1), ("2.b", 2)], false),
            (&[("1.a", 1), ("2.b:2,S", 2)], false),
        ];
        let mut dir = Fake::new(OLD, &readings);
        assert_eq!(dir.list(Proof::Agreement), (vec!["1.a".into(), "2.b:2,S".into()], true));
        assert_eq!(dir.read, 4);
        let mut dir = Fake::new(OLD, &readings);
        assert_eq!(dir.list(Proof::Times).0, ["1.a"]);
    }

    #[test]
    fn dot_files_are_no_messages_and_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (subdir, names) in [("new", ["1.a", ".b"]), ("cur", [".nfs0001", ".a:2,S"])] {
            std::fs::create_dir(folder.path().join(subdir)).unwrap();
            for name in names {
                std::fs::write(folder.path().join(subdir).join(name), "x").unwrap();
            }
        }
        let listing = Lister::default().list(folder.path()).unwrap();
        assert_eq!(listing.entries().len(), 1);
        let hidden = [(Subdir::New, b".b".to_vec()), (Subdir::Cur, b".a:2,S".to_vec())];
        assert_eq!(listing.hidden, hidden);
    }

    #[test]
    fn every_message_is_listed_while_all_are_renamed_as_fast_as_possible() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for subdir in ["new", "cur"] {
            std::fs::create_dir(path.join(subdir)).unwrap();
        }
        let bases: BTreeSet<String> = (0..3000).map(|i| format!("{i}.message")).collect();
        for base in &bases {
            std::fs::write(path.join("new").join(base), "").unwrap();
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut names: Vec<String> = bases.iter().map(|b| format!("new/{b}")).collect();
                for round in 0.. {
                    for (base, name) in bases.iter().zip(&mut names) {
                        let next = format!("cur/{base}:2,{}", ["", "S", "FS"][round % 3]);
                        std::fs::rename(path.join(&*name), path.join(&next)).unwrap();
                        *name = next;
                        if is_done.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            });
            let mut lister = Lister::default();
            let listed = [(); 3].map(|()| {
                let listing = lister.list(path).unwrap();
                let base = |entry| String::from_utf8_lossy(listing.base(entry)).into_owned();
                listing.entries().iter().map(base).collect::<BTreeSet<_>>().len()
            });
            is_done.store(true, Ordering::Relaxed);
            assert_eq!(listed, [bases.len(); 3]);
        });
        let listing = Lister::default().list(path).unwrap();
        assert!(!listing.is_unstable && listing.entries().len() == bases.len());
    }
}
