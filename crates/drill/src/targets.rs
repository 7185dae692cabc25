//! One drill at a time on one target, and none over the rests of another: a file for each target, locked by whoever
//! drills, that names the run. A run that was killed leaves the file, and stands in the way until it is recovered.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::journal::hash;
use crate::lock::lock;

/// Targets that are ours until this is dropped.
#[derive(Debug)]
pub struct Held(Vec<(PathBuf, File)>);

/// Why a target cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// Another drill runs there.
    #[error("another drill runs on {target}: {run}")]
    Busy {
        /// The target.
        target: String,
        /// The folder of its run.
        run: String,
    },
    /// One that was killed is not undone.
    #[error(
        "an earlier drill on {target} was not undone: run `mailrig drill recover {run}` first; if that folder is \
         gone, see for yourself that all is as it was, and remove {}",
        file.display()
    )]
    Unfinished {
        /// The target.
        target: String,
        /// The folder of its run.
        run: String,
        /// What stands in the way.
        file: PathBuf,
    },
    /// No file for it.
    #[error("cannot lock {target} in {}: {error}", dir.display())]
    Io {
        /// The target.
        target: String,
        /// Where.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Takes all targets for the run in `run_dir`, or none. `is_clean` tells of a run whether nothing of it is left.
pub fn hold(
    dir: &Path,
    targets: &[String],
    run_dir: &Path,
    is_clean: impl Fn(&Path) -> bool,
) -> Result<Held, NotHeld> {
    let mut held = Held(Vec::new());
    for target in targets {
        let failed =
            |error: io::Error| NotHeld::Io { target: target.clone(), dir: dir.to_owned(), error };
        fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join(format!("{}.target", &hash(target.as_bytes())[..32]));
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(failed)?;
        let mut text = String::new();
        let read = |file: &mut File, text: &mut String| file.read_to_string(text).map_err(failed);
        if !lock(&file).map_err(failed)? {
            read(&mut file, &mut text)?;
            return Err(NotHeld::Busy { target: target.clone(), run: text.trim().to_owned() });
        }
        read(&mut file, &mut text)?;
        let before = text.trim();
        if !before.is_empty() && !is_clean(Path::new(before)) {
            let (target, run) = (target.clone(), before.to_owned());
            return Err(NotHeld::Unfinished { target, run, file: path });
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| {
            writeln!(file, "{}", run_dir.display())?;
            file.sync_all()
        });
        written.map_err(failed)?;
        held.0.push((path, file));
    }
    Ok(held)
}

/// Strikes out what a run that was killed has held, and which is undone now: its folder may go. Others stay.
pub fn forget(dir: &Path, run_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let mut file = File::options().read(true).open(&path)?;
        let mut text = String::new();
        let is_free = lock(&file)?;
        file.read_to_string(&mut text)?;
        if is_free && Path::new(text.trim()) == run_dir {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Held {
    /// Everything is as it was: whoever comes next need not look.
    pub fn release(self) {
        for (path, file) in self.0 {
            // A file that stays says where the run is, which is clean.
            let _ = fs::remove_file(path);
            drop(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_for_one_at_a_time_and_for_none_over_the_rests_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let targets = ["127.0.0.1:25".to_owned(), "/srv/mail".to_owned()];
        let take =
            |run: &str, is_clean: bool| hold(dir.path(), &targets, Path::new(run), |_| is_clean);
        let first = take("/run1", true).unwrap();
        let busy = take("/run2", true).unwrap_err().to_string();
        assert_eq!(busy, "another drill runs on 127.0.0.1:25: /run1");
        // As after a kill: the lock is gone, the file is not.
        drop(first);
        let unfinished = take("/run2", false).unwrap_err().to_string();
        assert!(unfinished.contains("mailrig drill recover /run1"), "{unfinished}");
        let second = take("/run2", true).unwrap();
        forget(dir.path(), Path::new("/run2")).unwrap();
        assert!(take("/run3", true).unwrap_err().to_string().contains("another drill runs"));
        drop(second);
        forget(dir.path(), Path::new("/run3")).unwrap();
        assert!(take("/run3", false).unwrap_err().to_string().contains("recover /run2"));
        forget(dir.path(), Path::new("/run2")).unwrap();
        take("/run3", false).unwrap().release();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
