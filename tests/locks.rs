//! A restore that has to wait for the mail server's lock says on its status line for whom and how
//! long, and ends when it is told to; what it has not begun is as it was.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::env::{Env, text};
use crate::in_place::furnish;
use crate::tree::Tree;

/// A wide terminal: what is written to it, and its other side for a process.
fn terminal() -> (Receiver<Vec<u8>>, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 250, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    let (send, receive) = channel();
    thread::spawn(move || {
        let (mut master, mut chunk) = (File::from(master), [0; 4096]);
        while let Ok(got @ 1..) = master.read(&mut chunk) {
            let _ = send.send(chunk[..got].to_vec());
        }
    });
    (receive, slave.into())
}

/// Waits until this was shown; gives all until then.
#[track_caller]
fn shown(screen: &Receiver<Vec<u8>>, wanted: &str) -> String {
    let mut all = Vec::new();
    while let Ok(more) = screen.recv_timeout(Duration::from_secs(60)) {
        all.extend(more);
        let text = String::from_utf8_lossy(&all);
        if text.contains(wanted) {
            return text.into_owned();
        }
    }
    panic!("`{wanted}` was not shown: {}", String::from_utf8_lossy(&all));
}

#[test]
fn a_wait_for_the_servers_lock_is_told_and_ends_on_a_signal() {
    for (holder, words) in
        [("4711:elsewhere", "4711:elsewhere, who has the lock of "), ("", "the lock of ")]
    {
        let env = Env::plain();
        let alice = furnish(&env);
        env.backup(&[]).expect(0);
        alice.remove("cur/1600000002.M2P1.host:2,FSab");
        alice.message("dovecot-uidlist.lock", holder.as_bytes());
        let before = Tree::read(&env.path("store"));
        let (screen, slave) = terminal();
        let store = env.path("store");
        let arguments =
            ["restore", env.repo(), "latest", "--in-place", text(&store), "--uids", "keep"];
        let mut command = env.command();
        command.args(arguments).env("TERM", "xterm").stdout(Stdio::null()).stderr(slave);
        let mut child = command.spawn().unwrap();
        drop(command);
        let list = alice.path("dovecot-uidlist").display().to_string();
        let line = shown(&screen, &format!(" for {words}{list}"));
        assert!(line.contains("waiting "), "{line}");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        shown(&screen, "interrupted");
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(fs::read_to_string(alice.path("dovecot-uidlist.lock")).unwrap(), holder);
        assert_eq!(Tree::read(&env.path("store")).differences(&before), [""; 0]);
        alice.remove("dovecot-uidlist.lock");
        let output = env.run(&arguments).expect(0);
        assert!(output.stdout.contains("with 1 message "), "{output}");
    }
}
