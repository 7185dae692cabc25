//! Garage, a real distributed S3 server, as one node or as three that replicate each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, free_port, program, wait_until};
use super::{Access, BUCKET};

/// A running Garage with an empty bucket.
#[derive(Debug)]
pub(crate) struct Garage {
    pub(crate) access: Access,
    program: PathBuf,
    /// Dropped first: processes end before their folder goes.
    nodes: Vec<Node>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Node {
    config: PathBuf,
    process: Option<Process>,
    s3_port: u16,
    /// `hex@host:port`.
    id: String,
}

impl Garage {
    /// One node; `None` where the tests are told to skip Garage.
    pub(crate) fn start() -> Option<Self> {
        Self::with_nodes(1)
    }

    /// Three nodes, each holding every object; an object is acknowledged by two of them.
    pub(crate) fn start_three() -> Option<Self> {
        Self::with_nodes(3)
    }

    /// Kills one node with SIGKILL. The first is the one that [`Access::endpoint`] names.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// Runs the `garage` command against the first node and returns what it printed.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        run(&self.program, &self.nodes[0].config, arguments)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn with_nodes(count: usize) -> Option<Self> {
        let program = program("garage", "garage-2.5.0/bin/garage")?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let nodes: Vec<Node> =
            (0..count).map(|number| Node::start(&program, folder.path(), number, count)).collect();
        let config = &nodes[0].config;
        let ask = |arguments: &[&str]| run(&program, config, arguments);
        for node in &nodes[1..] {
            ask(&["node", "connect", &node.id]).expect("nodes reach each other");
        }
        for node in &nodes {
            ask(&["layout", "assign", "-z", "here", "-c", "1GB", short(&node.id)]).expect("layout");
        }
        ask(&["layout", "apply", "--version", "1"]).expect("the layout can be applied");
        // A new layout reaches all nodes a moment later; until then keys and buckets are refused.
        wait_until("Garage makes a bucket", || ask(&["bucket", "create", BUCKET]).is_ok());
        ask(&["key", "import", "--yes", KEY_ID, SECRET]).expect("a key can be imported");
        ask(&["bucket", "allow", "--read", "--write", "--key", KEY_ID, BUCKET]).expect("allowed");
        let endpoint = format!("http://127.0.0.1:{}", nodes[0].s3_port);
        let access =
            Access { endpoint, region: "garage", id: KEY_ID.into(), secret: SECRET.into() };
        Some(Self { access, program, nodes, _folder: folder })
    }
}

impl Node {
    /// Configures and starts one of `count` nodes, and waits until it listens.
    fn start(program: &Path, folder: &Path, number: usize, count: usize) -> Self {
        let home = folder.join(format!("node{number}"));
        fs::create_dir(&home).expect("a folder can be made");
        let (config, s3_port) = (home.join("garage.toml"), free_port());
        fs::write(&config, configuration(&home, s3_port, count)).expect("a file can be written");
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).arg("server").env("RUST_LOG", "garage=warn");
        let mut process = Process::start(&command, &home.join("log"));
        process.wait_for_port(s3_port);
        let id = run(program, &config, &["node", "id", "-q"]).expect("a node has an identity");
        Self { config, process: Some(process), s3_port, id: id.trim().to_owned() }
    }
}

fn configuration(home: &Path, s3_port: u16, count: usize) -> String {
    let (home, rpc_port) = (home.display(), free_port());
    format!(
        r#"metadata_dir = "{home}/meta"
data_dir = "{home}/data"
db_engine = "lmdb"
lmdb_map_size = "1G"
replication_factor = {count}
rpc_bind_addr = "127.0.0.1:{rpc_port}"
rpc_public_addr = "127.0.0.1:{rpc_port}"
rpc_secret = "{SECRET}"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{s3_port}"
root_domain = ".s3.garage.localhost"
"#
    )
}

/// The start of an id, as `garage status` prints it.
fn short(id: &str) -> &str {
    &id[..16]
}

fn run(program: &Path, config: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).arg("-c").arg(config).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const KEY_ID: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
