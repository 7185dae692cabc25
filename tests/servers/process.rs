//! Servers as processes of a test, on loopback ports that the kernel gave. Programs are found in the cache
//! that `cargo xtask test` fills; a process dies with the test's, however that ends.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The program at `path` in the cache. `None` if `MAILRIG_TEST_SKIP` names `part` (a comma stands
/// between names): a test that was not run must never look like one that passed.
pub(crate) fn program(part: &str, path: &str) -> Option<PathBuf> {
    if is_skipped(part) {
        return None;
    }
    let program = cache().join(path);
    assert!(
        program.exists(),
        "{} is missing: run `cargo xtask test`, which installs it, \
         or leave it out with MAILRIG_TEST_SKIP={part}",
        program.display(),
    );
    Some(program)
}

/// Whether `MAILRIG_TEST_SKIP` names `part`.
pub(crate) fn is_skipped(part: &str) -> bool {
    let skipped = env::var("MAILRIG_TEST_SKIP").unwrap_or_default();
    let is_named = skipped.split(',').any(|name| name.trim() == part);
    if is_named {
        eprintln!("skipped: {part} (MAILRIG_TEST_SKIP)");
    }
    is_named
}

/// Where `cargo xtask test` puts programs and corpora.
pub(crate) fn cache() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MAILRIG_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("mailrig")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mailrig")))
        .expect("MAILRIG_CACHE, XDG_CACHE_HOME or HOME is set")
}

/// A server process; killed on drop, and by its watchdog when the test process dies.
#[derive(Debug)]
pub(crate) struct Process {
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `command` with its output in `log`. The shell in between ends it when our end of the
    /// pipe closes, which also happens when this process is killed.
    pub(crate) fn start(command: &Command, log: &Path) -> Self {
        let output = File::create(log).expect("a log file can be made");
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", WATCHDOG, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => watchdog.env(name, value),
                None => watchdog.env_remove(name),
            };
        }
        let watchdog = watchdog
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file handle can be doubled"))
            .stderr(output)
            .spawn()
            .expect("`sh` can be started");
        Self { watchdog, log: log.to_owned() }
    }

    /// Waits until something listens at `port`.
    ///
    /// # Panics
    /// With the log, if the server ends, or after a minute.
    pub(crate) fn wait_for_port(&mut self, port: u16) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until("the server listens", || {
            if self.watchdog.try_wait().expect("a child can be asked").is_some() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("the server ended; its log:\n{log}");
            }
            TcpStream::connect(address).is_ok()
        });
    }
}

/// Polls until `ready` says so.
///
/// # Panics
/// After a minute.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "waited a minute in vain until {what}");
        sleep(Duration::from_millis(20));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Reports the end of the server by its own end, and ends the server (SIGKILL) at end of input.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
{ cat <&3 >/dev/null; kill -9 $server; } 2>/dev/null & reader=$!
exec 3<&-
wait $server
code=$?
kill $reader 2>/dev/null
exit $code
"#;

/// A loopback port that was free a moment ago, and that no other test is given while this one runs. Nobody holds the
/// port itself: a server that can't bind it fails to become ready, with the reason in its log.
pub(crate) fn free_port() -> u16 {
    // A name that is bound is a claim that ends with the process, and leaves no file.
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    for _ in 0..100 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        let name = format!("mailrig-test-port-{port}");
        let name = unix::SocketAddr::from_abstract_name(name).expect("the name is short");
        if let Ok(claim) = UnixListener::bind_addr(&name) {
            CLAIMS.lock().expect("nobody panics with it").push(claim);
            return port;
        }
    }
    panic!("other tests have all ports")
}
