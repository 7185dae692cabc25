//! No space at the repository, and none at the place to restore to: a clear sentence, and after
//! space was made the next run completes. Needs root for file systems of a known size.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env::{Env, text};
use crate::servers::process::is_skipped;
use crate::store::noise;
use crate::tree::Tree;

/// A small file system in memory.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where the tests are told to skip this.
    pub(crate) fn mount(at: PathBuf, size: &str) -> Option<Self> {
        if is_skipped("tmpfs") {
            return None;
        }
        assert!(
            rustix::process::geteuid().is_root(),
            "mounting needs root; leave it out with MAILRIG_TEST_SKIP=tmpfs"
        );
        std::fs::create_dir(&at).unwrap();
        let tmpfs = Self(at);
        tmpfs.run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "mailrig-test"]);
        Some(tmpfs)
    }

    pub(crate) fn resize(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    fn remount(&self, options: &str) {
        self.run(&["mount", "-o", &format!("remount,{options}")]);
    }

    fn run(&self, words: &[&str]) {
        let status = Command::new(words[0]).args(&words[1..]).arg(&self.0).status().unwrap();
        assert!(status.success(), "{words:?} {}", self.0.display());
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn fill(env: &Env) {
    for number in 0..8 {
        let mailbox = env.store().mailbox(&format!("example.org/user{number}/Maildir"));
        mailbox.message("cur/1600000000.M1.host:2,S", &noise(number, 500_000));
    }
}

/// The runner leaves these out where what they need is not there.
mod needs_tmpfs {
    use super::*;

    #[test]
    fn a_full_repository_ends_the_run_and_space_lets_the_next_one_complete() {
        let env = Env::new();
        let repo = env.path("disk/repo");
        // The test's folder goes after what is mounted in it.
        let env = env.at(text(&repo));
        let Some(disk) = Tmpfs::mount(env.path("disk"), "2m") else { return };
        env.init(&[]).expect(0);
        env.store().mailbox("example.org/user0/Maildir").fill("", 3, 1);
        let first = env.backup(&["--json"]).expect(0).json();
        let before = Tree::read(&env.path("store"));
        fill(&env);
        let output = env.backup(&[]).expect(1);
        assert!(output.stderr.starts_with("error: write mailboxes/"), "{output}");
        let end = ": no space left at the repository\nhint: free space there and run again: what is \
                   stored is kept and not uploaded twice\n";
        assert!(output.stderr.ends_with(end), "{output}");

        env.restore(first["snapshot"].as_str().unwrap(), "first").expect(0);
        before.assert_restored(&env.path("first"));
        let stored = env.keys(".tar.");
        assert!(stored.len() > 1, "nothing was stored before the disk was full");
        disk.resize("20m");
        env.backup(&[]).expect(0);
        assert_eq!(env.keys(".tar.").len(), 1 + 8, "what was there was stored again");
        env.restore("latest", "to").expect(0);
        Tree::read(&env.path("store")).assert_restored(&env.path("to"));
        env.run(&["verify", env.repo(), "--level", "content"]).expect(0);
    }

    #[test]
    fn a_full_target_ends_the_restore_and_space_lets_the_next_one_complete() {
        let env = Env::encrypted();
        fill(&env);
        env.backup(&[]).expect(0);
        let Some(disk) = Tmpfs::mount(env.path("disk"), "2m") else { return };
        let output = env.restore("latest", "disk/to").expect(1);
        let start = format!("error: write {}/to/example.org/user", disk.path().display());
        assert!(output.stderr.starts_with(&start), "{output}");
        let end = ": No space left on device (os error 28)\nhint: free space there and run again\n";
        assert!(output.stderr.ends_with(end), "{output}");
        disk.resize("20m");
        // Whole mailboxes of the first try stand; the rest is restored beside them.
        std::fs::remove_dir_all(disk.path().join("to")).unwrap();
        env.restore("latest", "disk/to").expect(0);
        Tree::read(&env.path("store")).assert_restored(&disk.path().join("to"));
    }

    #[test]
    fn a_full_or_read_only_store_ends_a_restore_in_place_and_the_next_one_completes() {
        let env = Env::plain();
        fill(&env);
        env.backup(&[]).expect(0);
        let whole = Tree::read(&env.path("store"));
        let Some(disk) = Tmpfs::mount(env.path("disk"), "2m") else { return };
        let store = disk.path().display().to_string();
        let arguments = ["restore", env.repo(), "latest", "--in-place", &store];
        for _ in 0..2 {
            let output = env.run(&arguments).expect(1);
            let end =
                ": No space left on device (os error 28)\nhint: free space there and run again\n";
            assert!(output.stderr.ends_with(end), "{output}");
        }
        disk.remount("size=20m,ro");
        let output = env.run(&arguments).expect(1);
        assert!(output.stderr.ends_with(": Read-only file system (os error 30)\n"), "{output}");
        disk.remount("size=20m,rw");
        env.run(&arguments).expect(0);
        whole.assert_restored(disk.path());
        // A message too many for the space that is left, in a mailbox that is there.
        let inside = "example.org/user3/Maildir/cur/1600000000.M1.host:2,S";
        std::fs::remove_file(disk.path().join(inside)).unwrap();
        std::fs::write(disk.path().join("example.org/user4/Maildir/cur/2.x:2,S"), "x").unwrap();
        disk.resize("3900k");
        env.run(&arguments).expect(1);
        disk.resize("20m");
        std::fs::remove_file(disk.path().join("example.org/user4/Maildir/cur/2.x:2,S")).unwrap();
        env.run(&arguments).expect(0);
        whole.assert_restored(disk.path());
    }

    #[test]
    fn a_full_state_folder_ends_the_run_and_space_lets_the_next_one_complete() {
        let env = Env::encrypted();
        env.store().mailbox("example.org/alice/Maildir").fill("", 2_000, 1);
        let Some(disk) = Tmpfs::mount(env.path("disk"), "64k") else { return };
        let state = disk.path().join("state");
        let output = env.backup(&["--state", text(&state)]).expect(1);
        assert!(output.stderr.contains(text(disk.path())), "{output}");
        let end = ": No space left on device (os error 28)\nhint: free space there and run again\n";
        assert!(output.stderr.ends_with(end), "{output}");
        disk.resize("20m");
        env.backup(&["--state", text(&state)]).expect(0);
        env.restore("latest", "to").expect(0);
        Tree::read(&env.path("store")).assert_restored(&env.path("to"));
    }
}
