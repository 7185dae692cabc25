//! Network namespaces of a test, joined by a bridge: a server of ours and several machines, as far as the network tells.
//! They end with the processes in them, and those with the test, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::env::{Env, text, wait_until};
use crate::process::Running;
use crate::servers::process::is_skipped;

/// A network of its own with so many machines.
pub(super) struct Apart(Child);

impl Apart {
    /// `None` where the tests are told to skip this. The server's machine is [`SERVER`].
    pub(super) fn new(machines: u32) -> Option<Self> {
        if is_skipped("namespaces") {
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "sh", "-ec", NETWORK, "sh", &machines.to_string()]);
        // It ends with its input: at the end of the test, or of the test's process.
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line, "ready\n",
            "namespaces need root; leave the test out with MAILRIG_TEST_SKIP=namespaces"
        );
        Some(Self(holder))
    }

    /// A command on a machine, from 1 on; 0 is the server's.
    pub(super) fn command(&self, env: &Env, machine: u32, program: &[&str]) -> Command {
        let mut command = env.command();
        let mailrig = command.get_program().to_owned();
        let holder = self.0.id().to_string();
        command = env.isolated(Command::new("nsenter"));
        command.args(["--target", &holder, "--mount", "--net"]);
        if machine > 0 {
            command.args(["ip", "netns", "exec", &format!("m{machine}")]);
        }
        // Nothing here forks: a signal to the process is one to the program.
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        match program {
            [] => command.arg(mailrig),
            program => command.args(program),
        };
        command
    }

    /// `mailrig` on a machine.
    pub(super) fn start(&self, env: &Env, machine: u32, arguments: &[&str]) -> Running {
        let mut command = self.command(env, machine, &[]);
        command.args(arguments);
        Running::start(command)
    }

    /// `mailrig serve` on the server's machine, and where it listens.
    pub(super) fn serve(&self, env: &Env, arguments: &[&str]) -> (Running, String) {
        let ready = env.path("apart.ready");
        let listen = format!("{SERVER}:0");
        let own = ["serve", "--json", "--smtp", &listen, "--ready", text(&ready)];
        let running = self.start(env, 0, &[&own[..], arguments].concat());
        wait_until("the server listens", || ready.exists());
        let ready: Value = serde_json::from_str(&fs::read_to_string(&ready).unwrap()).unwrap();
        let address = ready["listening"][0]["address"].as_str().unwrap().to_owned();
        (running, address)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Where the server is. Another network than anybody's: it is not loopback, and nothing leads out of it.
pub(super) const SERVER: &str = "192.0.2.1";

/// Names of namespaces are files below /run, which are this mount namespace's own.
const NETWORK: &str = "
    mount -t tmpfs tmpfs /run
    ip link set lo up
    ip link add bridge type bridge
    ip address add 192.0.2.1/24 dev bridge
    ip link set bridge up
    n=0
    while [ $n -lt $1 ]; do
        n=$((n + 1))
        ip netns add m$n
        ip link add v$n type veth peer name eth0 netns m$n
        ip link set v$n master bridge up
        ip -netns m$n address add 192.0.2.$((n + 10))/24 dev eth0
        ip -netns m$n link set eth0 up
    done
    echo ready
    exec cat >/dev/null
";
