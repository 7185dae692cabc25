//! What several tests of `load` need.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::env::Env;
use crate::process::Output;

/// The result of a run that is judged elsewhere: a machine that is busy with other tests may make it late, which it
/// says.
#[track_caller]
pub(super) fn ended(output: &Output) -> Value {
    assert!([Some(0), Some(4), Some(6)].contains(&output.code), "{output}");
    output.json()
}

/// A folder with a message: making messages up takes long where programs are not optimised.
pub(super) fn letters(env: &Env) -> PathBuf {
    let dir = env.path("letters");
    if !dir.exists() {
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("1.eml"), "Subject: one\n\nA short letter.\n").unwrap();
    }
    dir
}
