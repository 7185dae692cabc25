//! A folder for a server, and namespaces in which it finds users and folders where it was compiled to look for them. The
//! namespaces end with the test, and all that the server started with them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{panicking, sleep};
use std::time::Duration;

/// The owner of mail, whom the system does not know.
pub(crate) const OWNER: u32 = 5000;

/// The number of a user whom the system has.
pub(crate) fn user_id(name: &str) -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut users = fields.filter(|fields| fields[0] == name);
    users.next().unwrap_or_else(|| panic!("there is no user {name}"))[2].parse().unwrap()
}

/// A server's files. Each user may look into it, because servers have users of their own.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        let path = tempfile::tempdir().unwrap().keep();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder in it, which belongs to a user and his group.
    pub(crate) fn folder(&self, name: &str, owner: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The lines of a log that have one of these words and none of those.
    pub(crate) fn complaints(&self, log: &str, words: &[&str], expected: &[&str]) -> Vec<String> {
        let log = fs::read(self.0.join(log)).unwrap();
        let log = String::from_utf8_lossy(&log);
        let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
        let is_trouble = |line: &&str| has(line, words) && !has(line, expected);
        log.lines().filter(is_trouble).map(str::to_owned).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in ["output", "log"].iter().filter(|_| panicking()) {
            let log = fs::read(self.0.join(name)).unwrap_or_default();
            let lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
            let last = lines[lines.len().saturating_sub(30)..].join(&b'\n');
            eprintln!("--- the server's {name}\n{}", String::from_utf8_lossy(&last));
        }
        // What was killed may write until it is gone.
        for _ in 0..250 {
            match fs::remove_dir_all(&self.0) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    sleep(Duration::from_millis(20));
                }
                _ => return,
            }
        }
    }
}

/// What a server sees instead of the system's.
#[derive(Default)]
pub(crate) struct Jail(Vec<(PathBuf, &'static str)>);

impl Jail {
    /// `to` is what lies at `from`.
    pub(crate) fn bind(mut self, from: &Path, to: &'static str) -> Self {
        self.0.push((from.to_owned(), to));
        self
    }

    /// Users whom the system does not have, each with a group of his number.
    pub(crate) fn users(self, home: &Home, users: &[(&str, u32)]) -> Self {
        let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mut group = fs::read_to_string("/etc/group").unwrap();
        for (name, number) in users {
            passwd += &format!("{name}:x:{number}:{number}::/:/bin/sh\n");
            group += &format!("{name}:x:{number}:\n");
        }
        let (passwd, group) = (home.write("passwd", &passwd), home.write("group", &group));
        self.bind(&passwd, "/etc/passwd").bind(&group, "/etc/group")
    }

    /// A command that runs a program in it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        // The shell is the first process: some servers shed the signal that tells of their parent's death.
        let mut script = String::new();
        for (from, to) in &self.0 {
            script += &format!("mount --bind '{}' '{to}' && ", from.display());
        }
        script += "{ \"$@\" & wait $!; }";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", &script, "sh"]).arg(program);
        command
    }
}
