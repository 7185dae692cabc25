//! A small store of Maildirs, a repository and a host's state, with the means to run backups and
//! restores on them and to compare trees byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use snapshot::backup::{self, Alarm, Options, Proof, Report, Trust};
use snapshot::choose;
use snapshot::crypt::{self, Unseal};
use snapshot::manifest::{self, Manifest};
use snapshot::progress::Progress;
use snapshot::repository::{Description, Repository};
use snapshot::state::State;
use snapshot::store::Store;
use snapshot::store::memory::Memory;
use snapshot::{restore, verify};
use tempfile::TempDir;

/// Everything but the objects.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    recipient: String,
    identity: String,
}

/// A tree as it looks to `ls -l` and `cat`: path to (content or link target, mtime ns, mode).
pub(crate) type TreeImage = BTreeMap<PathBuf, (Vec<u8>, i128, u32)>;

impl World {
    pub(crate) fn new() -> Self {
        let (recipient, identity) = crypt::generate();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vmail")).unwrap();
        Self { dir, recipient: recipient.to_string(), identity }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("vmail")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn identity(&self) -> Unseal {
        Unseal::parse(&self.identity).unwrap()
    }

    /// A folder of a mailbox, made if it is not there.
    pub(crate) fn folder(&self, mailbox: &str, folder: &str) -> PathBuf {
        let path = self.store().join(mailbox).join(folder);
        for subdir in ["cur", "new", "tmp"] {
            fs::create_dir_all(path.join(subdir)).unwrap();
        }
        path
    }

    /// Writes a message and gives its path.
    pub(crate) fn deliver(&self, mailbox: &str, name: &str, body: &[u8]) -> PathBuf {
        let path = self.folder(mailbox, "").join(name);
        fs::write(&path, body).unwrap();
        path
    }

    pub(crate) fn init(&self, objects: impl Store + 'static) {
        let description = Description::new(std::slice::from_ref(&self.recipient), false);
        Repository::init(Box::new(objects), description).unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            mailboxes: Vec::new(),
            with: Vec::new(),
            outside: backup::Outside::default(),
            trust: Trust::BaseName,
            proof: Proof::Times,
            dovecot_lock: false,
            alarm: Alarm::default(),
            rebase: false,
            dry_run: false,
            time: Timestamp::now(),
            host: "test".into(),
            threads: 1,
        }
    }

    pub(crate) fn backup(&self, objects: impl Store + 'static) -> snapshot::Result<Report> {
        self.backup_with(objects, &self.options(), None)
    }

    pub(crate) fn backup_with(
        &self,
        objects: impl Store + 'static,
        options: &Options,
        identity: Option<&Unseal>,
    ) -> snapshot::Result<Report> {
        let repository = Repository::open(Box::new(objects))?;
        let id = &repository.description().id;
        let state = State::open(&self.state(), id, &self.store())?;
        let progress = Progress::default();
        backup::run(&repository, &state, &self.store(), identity, options, &progress)
    }

    /// Restores a snapshot into a fresh folder and gives its image and the report.
    pub(crate) fn restore(
        &self,
        objects: impl Store + 'static,
        snapshot: &str,
    ) -> snapshot::Result<(TreeImage, restore::Report)> {
        let to = tempfile::tempdir().unwrap();
        let report = self.restore_to(objects, snapshot, restore::Uids::Exact, to.path())?;
        Ok((image(to.path()), report))
    }

    /// Restores a snapshot.
    pub(crate) fn restore_to(
        &self,
        objects: impl Store + 'static,
        snapshot: &str,
        uids: restore::Uids,
        to: &Path,
    ) -> snapshot::Result<restore::Report> {
        let repository = Repository::open(Box::new(objects))?;
        let manifest = choose::choose(repository.store(), snapshot, None)?.manifest;
        let options = restore::Options {
            uids: Some(uids),
            threads: 2,
            ..restore::Options::all(to.to_owned())
        };
        let (identity, progress) = (self.identity(), Progress::default());
        restore::run(&repository, &[manifest], Some(&identity), &options, &progress)
    }

    /// Restores the newest snapshot into the live store.
    pub(crate) fn restore_in_place(
        &self,
        objects: impl Store + 'static,
    ) -> snapshot::Result<restore::Report> {
        let repository = Repository::open(Box::new(objects))?;
        let manifest = choose::choose(repository.store(), "latest", None)?.manifest;
        let place = restore::Place::Live { store: self.store(), as_folder: None };
        let options = restore::Options { place, ..restore::Options::all(self.store()) };
        let (identity, progress) = (self.identity(), Progress::default());
        restore::run(&repository, &[manifest], Some(&identity), &options, &progress)
    }

    pub(crate) fn verify(&self, objects: impl Store + 'static) -> verify::Report {
        let repository = Repository::open(Box::new(objects)).unwrap();
        let ids = manifest::ids(repository.store()).unwrap();
        let read = |id: &String| Manifest::read(repository.store(), id).unwrap();
        let manifests: Vec<Manifest> = ids.iter().map(read).collect();
        let options = verify::Options {
            level: verify::Level::Content,
            sample_percent: 100.0,
            seed: 0,
            threads: 1,
        };
        let (identity, progress) = (self.identity(), Progress::default());
        verify::run(&repository, &manifests, Some(&identity), &options, &progress).unwrap()
    }

    /// The store as a restore must give it: files that are left out are not in it.
    pub(crate) fn image(&self) -> TreeImage {
        image(&self.store())
    }
}

/// The keys of a kind of object, such as `.tar.zst.age`.
pub(crate) fn keys(objects: &Arc<Memory>, ending: &str) -> Vec<String> {
    let mut keys = Vec::new();
    objects
        .list("", &mut |object| {
            if object.key.contains(ending) {
                keys.push(object.key);
            }
        })
        .unwrap();
    keys
}

pub(crate) fn image(root: &Path) -> TreeImage {
    let mut image = TreeImage::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(root).unwrap().to_owned();
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
            if meta.is_dir() {
                // Folders above the mailboxes are in no snapshot.
                let is_mailbox = path.join("cur").exists() || dir.join("cur").exists();
                image.insert(inside, (b"a folder".to_vec(), 0, if is_mailbox { mode } else { 0 }));
                dirs.push(path);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).unwrap().into_os_string();
                image.insert(inside, (target.into_encoded_bytes(), 0, 0));
            } else {
                image.insert(inside, (fs::read(&path).unwrap(), mtime, mode));
            }
        }
    }
    image
}

/// Fails with the first difference instead of two walls of bytes.
pub(crate) fn assert_same(restored: &TreeImage, expected: &TreeImage, context: &str) {
    for (path, file) in expected {
        match restored.get(path) {
            None => panic!("{context}: {} is missing", path.display()),
            Some(other) => assert!(other == file, "{context}: {} differs", path.display()),
        }
    }
    for path in restored.keys() {
        assert!(expected.contains_key(path), "{context}: {} is too much", path.display());
    }
}
