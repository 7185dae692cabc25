//! A scratch Dovecot that serves restored mailboxes on loopback, with a configuration of its own. A shell between this
//! process and it ends it when this process is gone, however that comes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getegid, geteuid, kill_process_group};
use snapshot::expected::Expected;
use snapshot::hash::hex;
use snapshot::progress::Progress;

use super::files::Shown;
use super::scratch::{LOOK, Scratch};

/// A restored mailbox, as it is to be served.
pub(super) struct User {
    pub(super) mailbox: String,
    /// Below the folder that was restored into.
    path: PathBuf,
    /// What follows the path in `mail_location`.
    options: String,
    /// Whether folders are folders in folders.
    pub(super) is_nested: bool,
    /// Whether names of folders are UTF-8 on disk.
    pub(super) is_utf8: bool,
    pub(super) shown: Vec<Shown>,
}

impl User {
    pub(super) fn new(expected: &Expected, shown: Vec<Shown>) -> Self {
        let paths = || expected.folders.iter().map(|folder| folder.path.to_string_lossy());
        let is_nested = paths().any(|path| !path.is_empty() && !path.starts_with('.'));
        let is_utf8 = paths().any(|path| !path.is_ascii());
        let lists = expected.folders.iter().filter_map(|folder| folder.uidlist.as_ref());
        let is_apart = lists.into_iter().any(|list| list.path.starts_with(CONTROL));
        let mut options = String::from(":INDEX=MEMORY");
        if is_nested {
            options.push_str(":LAYOUT=fs");
        }
        if is_utf8 {
            options.push_str(":UTF-8");
        }
        if is_apart {
            options.push_str(&format!(":CONTROL={{}}/{CONTROL}"));
        }
        let (mailbox, path) = (expected.name.clone(), expected.path.clone());
        Self { mailbox, path, options, is_nested, is_utf8, shown }
    }
}

/// A running server; it ends with this.
pub(super) struct Server {
    watchdog: Child,
    home: PathBuf,
    pub(super) port: u16,
    pub(super) password: String,
}

impl Server {
    /// The user of the mailbox with this number.
    pub(super) fn user(number: usize) -> String {
        format!("u{number}")
    }

    /// The last trouble that it logged, or else its last words. Its log has a process of its own, which may be late.
    pub(super) fn complaint(&self) -> String {
        let is_trouble = |line: &&str| TROUBLE.iter().any(|word| line.contains(word));
        let deadline = Instant::now() + LOG_DELAY;
        loop {
            let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
            if let Some(line) = log.lines().rev().find(is_trouble) {
                return short(line);
            }
            if Instant::now() > deadline {
                return last_words(&self.home);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The shell ends Dovecot at the end of its input, and then itself.
        drop(self.watchdog.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if !matches!(self.watchdog.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = kill_process_group(Pid::from_child(&self.watchdog), Signal::KILL);
        let _ = self.watchdog.wait();
    }
}

/// The program, if it is one whose configuration is known here; else why not.
pub(super) fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let program = places.map(|place| place.join("dovecot")).find(|program| program.is_file());
    let program = program.ok_or("Dovecot is not installed here")?;
    let version = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    let version = version.map_err(|e| format!("{} does not run: {e}", program.display()))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if version.starts_with("2.3.") {
        return Ok(program);
    }
    Err(format!("Dovecot here is {version}, and only the configuration of 2.3 is known"))
}

/// Starts a server for `users`.
pub(super) fn serve(
    program: &Path,
    scratch: &Scratch,
    users: &[User],
    progress: &Progress,
) -> Result<Server, String> {
    let home = scratch.path().join("dovecot");
    if !is_plain(&home) {
        return Err(format!(
            "{} has characters that its configuration does not take; name another --scratch",
            home.display()
        ));
    }
    let owner = owner()?;
    let failed = |e: std::io::Error| format!("the scratch Dovecot cannot be set up: {e}");
    fs::create_dir(&home).map_err(failed)?;
    if owner.names.is_none() {
        scratch.open_way().map_err(failed)?;
        give(&scratch.mail(), owner.ids).map_err(failed)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o711)).map_err(failed)?;
    }
    let password = password().map_err(failed)?;
    let mut accounts = String::new();
    for (number, user) in users.iter().enumerate() {
        let name = Server::user(number);
        let link = home.join(&name);
        symlink(scratch.mail().join(&user.path), &link).map_err(failed)?;
        let options = user.options.replace("{}", &link.display().to_string());
        let (uid, gid) = owner.ids;
        let mail = link.display();
        accounts.push_str(&format!(
            "{name}:{{PLAIN}}{password}:{uid}:{gid}::{mail}::userdb_mail=maildir:{mail}{options}\n"
        ));
    }
    write(&home.join("accounts"), &accounts).map_err(failed)?;
    // The port is free a moment before Dovecot takes it: another process may be faster.
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match start(program, &home, &owner, &password, progress) {
            Ok(server) => return Ok(server),
            Err(e) => why = e,
        }
        if progress.check().is_err() {
            break;
        }
    }
    Err(why)
}

fn start(
    program: &Path,
    home: &Path,
    owner: &Owner,
    password: &str,
    progress: &Progress,
) -> Result<Server, String> {
    let failed = |e: std::io::Error| format!("the scratch Dovecot cannot be started: {e}");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    let port = free.map_err(failed)?.port();
    let configuration = home.join("dovecot.conf");
    write(&configuration, &self::configuration(home, owner, port)).map_err(failed)?;
    let output = File::create(home.join("output")).map_err(failed)?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "sh"]).arg(program).arg("-F").arg("-c").arg(&configuration);
    command.stdin(Stdio::piped()).process_group(0);
    command.stdout(output.try_clone().map_err(failed)?).stderr(output);
    let watchdog = command.spawn().map_err(failed)?;
    let mut server =
        Server { watchdog, home: home.to_owned(), port, password: password.to_owned() };
    let deadline = Instant::now() + START;
    while Instant::now() < deadline && progress.check().is_ok() {
        if !matches!(server.watchdog.try_wait(), Ok(None)) {
            return Err(format!("the scratch Dovecot ended: {}", last_words(home)));
        }
        if greets(port) {
            return Ok(server);
        }
        thread::sleep(LOOK);
    }
    Err(format!("the scratch Dovecot did not listen in time: {}", last_words(home)))
}

/// Whether it does more than listen, which it does also just before it gives up.
fn greets(port: u16) -> bool {
    let greeting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut start = [0; 4];
        stream.read_exact(&mut start)?;
        Ok(start)
    });
    greeting.is_ok_and(|start| &start == b"* OK")
}

/// The last line that it logged.
fn last_words(home: &Path) -> String {
    let read = |name| fs::read_to_string(home.join(name)).unwrap_or_default();
    let all = read("output") + &read("log");
    short(all.lines().last().unwrap_or("it said nothing"))
}

fn short(line: &str) -> String {
    line.chars().take(300).collect()
}

/// Whom mail and processes belong to.
struct Owner {
    ids: (u32, u32),
    /// This process's user and group, where that is not root.
    names: Option<(String, String)>,
}

/// Dovecot gives root no mail: as root the scratch copies belong to a user that no account has.
fn owner() -> Result<Owner, String> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(Owner { ids: (NOBODYS, NOBODYS), names: None });
    }
    let names = Some((named("/etc/passwd", uid.as_raw())?, named("/etc/group", gid.as_raw())?));
    Ok(Owner { ids: (uid.as_raw(), gid.as_raw()), names })
}

/// Dovecot takes no numbers.
fn named(file: &str, number: u32) -> Result<String, String> {
    let all = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let number = number.to_string();
    let is_it = |line: &&str| line.split(':').nth(2) == Some(&number);
    let name = all.lines().find(is_it).and_then(|line| line.split(':').next());
    let name =
        name.ok_or_else(|| format!("{number} has no name in {file}, which Dovecot needs"))?;
    Ok(name.to_owned())
}

fn give(folder: &Path, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        lchown(entry?.path(), Some(uid), Some(gid))?;
    }
    Ok(())
}

/// For this run alone.
fn password() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Whether a path means only itself in Dovecot's configuration.
fn is_plain(path: &Path) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    path.to_str().is_some_and(|path| path.chars().all(is_plain))
}

fn configuration(home: &Path, owner: &Owner, port: u16) -> String {
    let home = home.display();
    let users = match &owner.names {
        Some((user, group)) => format!(
            "default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n"
        ),
        // Only root reads the accounts.
        None => "service auth {\n  user = root\n}\n".to_owned(),
    };
    format!(
        r#"{users}base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols = imap
ssl = no
disable_plaintext_auth = no
listen = 127.0.0.1
mail_fsync = never
first_valid_uid = 1
first_valid_gid = 1
default_vsz_limit = 0
passdb {{
  driver = passwd-file
  args = {home}/accounts
}}
userdb {{
  driver = passwd-file
  args = {home}/accounts
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"#
    )
}

/// Ends the server at end of input, and ends when the server does.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
{
  cat <&3 >/dev/null
  # A server that just begins may not hear the first; one that hears it may wait 5 s for its own processes.
  for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do kill -TERM $server && sleep 0.5; done
  kill -KILL $server
} 2>/dev/null & reader=$!
exec 3<&-
wait $server
code=$?
kill $reader 2>/dev/null
exit $code
"#;

/// Between the numbers of accounts and those of the system.
const NOBODYS: u32 = 65_530;
const CONTROL: &str = "mailrig.outside/control";
const TROUBLE: [&str; 4] = ["Error:", "Warning:", "Fatal:", "Panic:"];
const LOG_DELAY: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;
const START: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_more_than_themselves_are_refused() {
        for (path, expected) in [
            ("/tmp/mailrig-drill-1/dovecot", true),
            ("/tmp/a b", false),
            ("/tmp/%u", false),
            ("/tmp/a:b", false),
            ("/tmp/$x", false),
            ("/tmp/a\nb", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), expected, "{path:?}");
        }
    }
}
