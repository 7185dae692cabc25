//! `docs/recover.sh` against repositories that the binary wrote: three nights over a store of odd
//! names, then every file compared with the store as it was: name, bytes, time, mode and owner.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The runner leaves these out where a tool of the script can't be installed.
mod needs_age_needs_jq_needs_zstd {
    use super::*;

    #[test]
    fn every_night_comes_back_from_an_encrypted_repository() {
        every_night_comes_back(&["init", "repo", "--identity-out", "identity"], "identity");
    }

    #[test]
    fn every_night_comes_back_from_an_unencrypted_repository() {
        every_night_comes_back(&["init", "repo", "--encryption", "none"], "-");
    }

    /// The first mailbox's packs get a flipped bit: the other one must come back, and the exit code
    /// must tell.
    #[test]
    fn a_damaged_mailbox_is_told_and_does_not_stop_the_others() {
        let Some(place) = Place::with_store() else { return };
        place.mailrig(&["init", "repo", "--identity-out", "identity"]);
        place.backup();
        let mailboxes = place.path("repo/mailboxes");
        let damaged = fs::read_dir(mailboxes).unwrap().map(|e| e.unwrap().path()).min().unwrap();
        for pack in fs::read_dir(damaged.join("packs")).unwrap() {
            let pack = pack.unwrap().path();
            let mut bytes = fs::read(&pack).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
        let output = place.recover("identity", "out", &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let id = damaged.file_name().unwrap().to_str().unwrap();
        assert!(text(&output.stderr).contains(&format!("mailbox {id} is not whole")), "{output:?}");
        assert_eq!(text(&output.stdout).lines().count(), 1, "{output:?}");
    }

    #[test]
    fn a_plain_tree_comes_back_with_the_times_of_its_folders() {
        let Some(place) = Place::with_store() else { return };
        place.mailrig(&["init", "repo", "--identity-out", "identity"]);
        let etc = place.path("etc/postfix");
        fs::create_dir_all(etc.join("empty")).unwrap();
        write(&etc.join("main.cf"), b"# none", 0o640, 1);
        symlink("main.cf", etc.join("link")).unwrap();
        for (seconds, folder) in [(100, ""), (200, "empty")] {
            let time = UNIX_EPOCH + Duration::new(seconds, 5);
            fs::File::open(etc.join(folder)).unwrap().set_modified(time).unwrap();
        }
        place.mailrig(&["backup", "repo", "store", "--with", "etc/postfix"]);
        let output = place.recover("identity", "out", &[]);
        assert!(output.status.success(), "{output:?}");
        let etc = etc.canonicalize().unwrap();
        let restored = place.path("out").join(etc.strip_prefix("/").unwrap());
        for name in ["", "empty", "main.cf", "link"] {
            let (a, b) = (etc.join(name), restored.join(name));
            let (a, b) = (a.symlink_metadata().unwrap(), b.symlink_metadata().unwrap());
            assert_eq!((a.mode(), a.uid(), a.gid()), (b.mode(), b.uid(), b.gid()), "{name}");
            if !a.is_symlink() {
                assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()), "{name}");
            }
        }
    }

    #[test]
    fn names_that_leave_their_place_are_refused() {
        let hostile = [
            "../evil",
            "%2e%2e/evil",
            "/evil",
            "%2fevil",
            "a/../../../evil",
            "a/%2e./%2e%2e/evil",
            r"..\\x2fevil",
            "a%00",
            r"a\tb",
            r"a\u001fb",
        ];
        let Some(place) = Place::new() else { return };
        for (number, name) in hostile.iter().enumerate() {
            let repo = format!("hostile{number}");
            place.shell(&forge(&repo, name));
            let output = place.recover_from(&repo, "-", &format!("out{number}/deep"), &[]);
            assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
            assert!(text(&output.stderr).contains("refused"), "{name}: {output:?}");
        }
        assert!(!tree(place.dir.path()).keys().any(|path| path.ends_with("evil")));
        // The twin: what is not hostile passes, or the test would show nothing.
        place.shell(&forge("honest", "..evil"));
        let output = place.recover_from("honest", "-", "honest-out", &[]);
        assert!(output.status.success(), "{output:?}");
        assert!(place.path("honest-out/mailbox/..evil").is_dir());
    }
}

fn every_night_comes_back(init: &[&str], identity: &str) {
    let Some(place) = Place::with_store() else { return };
    place.mailrig(init);
    let mut nights = vec![(place.backup(), tree(&place.path("store")))];
    for night in [second_night, third_night] {
        night(&place.path(ALICE));
        nights.push((place.backup(), tree(&place.path("store"))));
    }
    let (newest, _) = nights.last().unwrap();
    // The deltas of two nights become one.
    assert_eq!(place.longest_chain(newest), 2, "a full catalog with a delta on it");
    for (out, id, (_, store)) in [
        ("latest", &[][..], &nights[2]),
        ("second", &[nights[1].0.as_str()], &nights[1]),
        ("first", &[nights[0].0.as_str()], &nights[0]),
    ] {
        let output = place.recover(identity, out, id);
        assert!(output.status.success(), "{output:?}");
        assert_same(&tree(&place.path(out)), store);
    }
}

/// Two mailboxes with everything that a name, a folder or a file can be.
fn first_night(mailbox: &Path) {
    for folder in ["", ".Sent", ".Empty", ".Gone", ".Back"] {
        make_folder(&mailbox.join(folder), 0o700);
    }
    make_folder(&mailbox.join(OsStr::from_bytes(b".odd \xff%41\\x41\n-")), 0o750);
    // Enough of them that a night's change is small beside a full catalog.
    for number in 0..150_u64 {
        let content = format!("Subject: {number}\n\n{}", mailbox.display());
        let name = format!("cur/17000{number:05}.M{number}P{}.host:2,S", number * 7919);
        write(&mailbox.join(name), content.as_bytes(), 0o600, number);
    }
    let odd: [&[u8]; 12] = [
        b"new\nline",
        b"newline at the end\n",
        b"\xff\xfe\x80",
        b"back\\slash\\n",
        b"per%41cent%",
        b"-rf",
        b" spaces  at ends ",
        b"$(id)`id`\"'*?",
        b"tab\ttab",
        b"\x1f\x7f\x01",
        b"uml\xc3\xa4ut",
        b"|&;<>~#!{}",
    ];
    for (number, name) in (0..).zip(odd) {
        let name = [b"cur/", name, b":2,FS"].concat();
        let path = mailbox.join(OsStr::from_bytes(&name));
        write(&path, &name, 0o640, 1_000_000 + number);
    }
    write(&mailbox.join("cur/:2,S"), b"no base name", 0o600, 3);
    write(&mailbox.join("new/17.zero"), b"", 0o600, 4);
    write(&mailbox.join("cur/msg.a:2,"), b"two messages with one base name", 0o600, 5);
    write(&mailbox.join("new/msg.a"), b"and other contents", 0o640, 6);
    write(&mailbox.join(".Gone/cur/1.gone:2,S"), b"goes with its folder", 0o600, 7);
    write(&mailbox.join(".Gone/maildirfolder"), b"", 0o600, 8);
    write(&mailbox.join(".Back/cur/1.old:2,S"), b"must not come back with its folder", 0o600, 9);
    write(&mailbox.join(".Sent/cur/1.copy:2,S"), b"no base name", 0o400, 10);
    write(&mailbox.join("dovecot-uidlist"), b"3 V1 N2\n1 :17.zero\n", 0o600, 11);
    write(&mailbox.join("1970"), b"before the epoch", 0o600, 0);
    let before = UNIX_EPOCH - Duration::new(86_400, 250_000_000);
    fs::File::options()
        .write(true)
        .open(mailbox.join("1970"))
        .unwrap()
        .set_modified(before)
        .unwrap();
    symlink("/nowhere/../a b%\n", mailbox.join(".dovecot.sieve")).unwrap();
}

/// Expunged, delivered, seen, flagged; a folder goes, another is made anew.
fn second_night(mailbox: &Path) {
    fs::remove_dir_all(mailbox.join(".Gone")).unwrap();
    fs::remove_dir_all(mailbox.join(".Back")).unwrap();
    fs::remove_file(mailbox.join("cur/1700000001.M1P7919.host:2,S")).unwrap();
    fs::rename(mailbox.join("new/17.zero"), mailbox.join("cur/17.zero:2,S")).unwrap();
    let (old, new) = ("cur/1700000002.M2P15838.host:2,S", "cur/1700000002.M2P15838.host:2,FS");
    fs::rename(mailbox.join(old), mailbox.join(new)).unwrap();
    write(&mailbox.join(".Sent/new/2.new"), b"Subject: new\n\nmail", 0o600, 12);
    write(&mailbox.join("dovecot-uidlist"), b"3 V1 N3\n1 :17.zero\n2 :2.new\n", 0o600, 13);
}

fn third_night(mailbox: &Path) {
    make_folder(&mailbox.join(".Back"), 0o700);
    write(&mailbox.join(".Back/cur/2.new:2,S"), b"of the new folder", 0o600, 14);
    fs::remove_file(mailbox.join("new/msg.a")).unwrap();
    fs::remove_file(mailbox.join(".dovecot.sieve")).unwrap();
    write(&mailbox.join(".dovecot.sieve"), b"keep;", 0o600, 15);
}

fn make_folder(folder: &Path, mode: u32) {
    for dir in ["cur", "new", "tmp", ""] {
        let dir = folder.join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Writes a file `seconds` and some nanoseconds into 2017.
fn write(path: &Path, content: &[u8], mode: u32, seconds: u64) {
    fs::write(path, content).unwrap();
    let time: SystemTime = UNIX_EPOCH + Duration::new(1_500_000_000 + seconds, 123_456_789);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A bash script that makes a repository with one folder called `name`, a JSON string's inside.
fn forge(repo: &str, name: &str) -> String {
    format!(
        r#"mkdir -p {repo}/snapshots {repo}/mailboxes/1/catalogs && cd {repo}
echo '{{"repository":1,"encryption":"none"}}' >repository.json
{{ echo '{{"catalog":1,"mailbox":"1","parent":null,"needs":[]}}'
  {{ echo '{{"kind":"mailbox","path":"mailbox","messages":0,"bytes":0}}'
    echo '{{"kind":"folder","path":"{name}","maildir":false,"mode":"0700","uid":0,"gid":0}}'
  }} | zstd -q; }} >mailboxes/1/catalogs/2
sha256=$(sha256sum <mailboxes/1/catalogs/2)
echo '{{"snapshot":1,"mailboxes":{{"1":{{"catalog":"2","sha256":"'${{sha256%% *}}'"}}}}}}' |
  zstd -q >snapshots/20261121T031500Z-00000000.json.zst"#
    )
}

/// A file, folder or link: mode, owner, group, and for files time and content.
type Entry = (u32, u32, u32, Option<(i64, i64)>, Vec<u8>);

/// Everything below `root` but the folders that lead to mailboxes: a snapshot does not have them.
fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = fs::symlink_metadata(&path).unwrap();
            let (time, content) = if meta.is_symlink() {
                (None, fs::read_link(&path).unwrap().into_os_string().into_vec())
            } else if meta.is_dir() {
                dirs.push(path.clone());
                (None, Vec::new())
            } else {
                (Some((meta.mtime(), meta.mtime_nsec())), fs::read(&path).unwrap())
            };
            let inside = path.strip_prefix(root).unwrap();
            if inside.components().count() > 2 {
                let entry = (meta.mode(), meta.uid(), meta.gid(), time, content);
                entries.insert(inside.to_owned(), entry);
            }
        }
    }
    entries
}

fn assert_same(restored: &BTreeMap<PathBuf, Entry>, store: &BTreeMap<PathBuf, Entry>) {
    for path in restored.keys().chain(store.keys()) {
        assert_eq!(restored.get(path), store.get(path), "{}", path.display());
    }
    assert!(store.len() > 300, "the store has two mailboxes in it");
}

/// A test's folder; commands run in it.
struct Place {
    dir: tempfile::TempDir,
}

const ALICE: &str = "store/example.org/alice";

impl Place {
    /// `None` if a tool is missing and said to be: a test that was not run must not look like one
    /// that passed.
    fn new() -> Option<Self> {
        let skipped = std::env::var("MAILRIG_TEST_SKIP").unwrap_or_default();
        for tool in ["age", "jq", "tar", "zstd"] {
            if skipped.split(',').any(|name| name.trim() == tool) {
                eprintln!("skipped: {tool} (MAILRIG_TEST_SKIP)");
                return None;
            }
            assert!(
                Command::new(tool).arg("--version").output().is_ok(),
                "{tool} is missing: run `cargo xtask test`, which installs it, or leave it out \
                 with MAILRIG_TEST_SKIP={tool}"
            );
        }
        Some(Self { dir: tempfile::tempdir().unwrap() })
    }

    fn with_store() -> Option<Self> {
        let place = Self::new()?;
        for mailbox in [ALICE, "store/example.org/bob"] {
            first_night(&place.path(mailbox));
        }
        Some(place)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn mailrig(&self, args: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_mailrig"))
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("MAILRIG_REPO")
            .env("MAILRIG_STATE", self.path("state"))
            .output()
            .unwrap();
        assert!(output.status.success(), "mailrig {args:?}: {output:?}");
        output
    }

    /// Backs the store up; gives the snapshot's id. Ids sort by second, so the next one is waited for.
    fn backup(&self) -> String {
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let output = self.mailrig(&["backup", "repo", "store"]);
        let now = second();
        while second() == now {
            std::thread::sleep(Duration::from_millis(10));
        }
        let id = text(&output.stdout).lines().find_map(|line| line.strip_prefix("snapshot"));
        id.unwrap().trim().to_owned()
    }

    fn recover(&self, identity: &str, out: &str, id: &[&str]) -> Output {
        self.recover_from("repo", identity, out, id)
    }

    fn recover_from(&self, repo: &str, identity: &str, out: &str, id: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recover.sh");
        let output = Command::new(script)
            .args([repo, identity, out])
            .args(id)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let left = fs::read_dir(self.path(out)).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.as_bytes().starts_with(b".recover")).collect();
        assert!(left.is_empty(), "the script leaves {left:?} behind");
        output
    }

    fn shell(&self, script: &str) -> Output {
        let mut shell = Command::new("bash");
        let output = shell.args(["-ec", script]).current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output
    }

    /// The most catalogs that a mailbox of the snapshot is read from, counted with stock tools.
    fn longest_chain(&self, id: &str) -> usize {
        let script = format!(
            r#"zstd -dc repo/snapshots/{id}.json.zst | jq -r '.mailboxes | to_entries[] |
                "repo/mailboxes/\(.key)/catalogs/\(.value.catalog)"' |
              while read -r catalog; do
                head -n1 $catalog | jq '[.needs[] | select(.object | startswith("catalogs/"))] | length'
              done"#
        );
        let parents = self.shell(&script);
        let parents = text(&parents.stdout).lines().map(|line| line.parse::<usize>().unwrap());
        1 + parents.max().unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
