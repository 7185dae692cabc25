//! `mailrig serve` as a process of a test, on ports that the kernel gave.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::env::{Env, text, wait_until};
use crate::process::Running;

/// A server that listens.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) ready: Value,
}

impl Serving {
    pub(crate) fn start(env: &Env, name: &str, arguments: &[&str]) -> Self {
        let path = env.path(&format!("{name}.ready"));
        let _ = fs::remove_file(&path);
        let own = ["serve", "--json", "--ready", text(&path)];
        let mut running = env.start(&[&own[..], arguments].concat());
        let mut is_over = false;
        wait_until("the server listens", || {
            is_over = running.child.try_wait().unwrap().is_some();
            is_over || path.exists()
        });
        if is_over {
            panic!("the server does not listen: {}", running.wait());
        }
        let ready = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        Self { running, ready }
    }

    /// The address that it serves SMTP on.
    pub(crate) fn address(&self) -> String {
        self.ready["listening"][0]["address"].as_str().unwrap().to_owned()
    }

    /// What it says that it did.
    pub(crate) fn stop(self) -> Value {
        self.running.signal(Signal::TERM);
        self.running.wait().expect(0).json()
    }
}
