//! No space at the repository, and none at the place to restore to: a clear sentence, and after
//! space was made the next run completes. Needs root for file systems of a known size.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env::{Env, text};
use crate::servers::is_skipped;
use crate::store::noise;
use crate::tree::Tree;

/// A small file system in memory.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where the tests are told to skip this.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
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

    fn resize(&self, size: &str) {
        self.run(&["mount", "-o", &format!("remount,size={size}")]);
    }

    fn run(&self, words: &[&str]) {
        let status = Command::new(words[0]).args(&words[1..]).arg(&self.0).status().unwrap();
        assert!(status.success(), "{words:?} {}", self.0.display());
    }

    fn path(&self) -> &Path {
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
