//! Disks that are full: small ones of the lab, in memory, which this machine does not see; and what fills any disk but
//! the one with the journal, since a drill that cannot write down what it does can undo nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use load::letters::parse_bytes;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::scenario::Fill;
use crate::stack::Stack;
use crate::undo::Undo;
use crate::world::World;

/// Makes the disks of the lab.
pub(crate) async fn build(world: &World, stack: &Stack) -> Result<(), String> {
    for (name, disk) in &world.scenario.lab.disks {
        let dir = world.lab().join(name);
        let failed = |e: &dyn std::fmt::Display| format!("the disk `{name}`: {e}");
        let size = parse_bytes(&disk.size).map_err(|e| failed(&e))?;
        let inodes = disk.inodes.map_or(String::new(), |inodes| format!(",nr_inodes={inodes}"));
        let options = format!("size={size},mode=0755{inodes}");
        let options = std::ffi::CString::new(options).map_err(|e| failed(&e))?;
        fs::create_dir_all(&dir).map_err(|e| failed(&e))?;
        stack.arm("disks", Undo::Unmount { dir: dir.clone() }).await?;
        mount("mailrig-drill", &dir, "tmpfs", MountFlags::NODEV, options.as_c_str())
            .map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// What fills a disk, in a folder on it.
pub(crate) fn filler(fill: &Fill, run: &str) -> PathBuf {
    Path::new(&fill.folder).join(format!(".mailrig-drill-{run}"))
}

/// Fills the disk of a folder, until `is_over`. `journal_dir` must lie on another one.
pub(crate) fn fill(
    fill: &Fill,
    filler: &Path,
    journal_dir: &Path,
    is_over: &AtomicBool,
) -> Result<String, String> {
    let failed =
        |e: &dyn std::fmt::Display| format!("cannot fill the disk of {}: {e}", fill.folder);
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev());
    let (its, ours) = (device(Path::new(&fill.folder)), device(journal_dir));
    if its.map_err(|e| failed(&e))? == ours.map_err(|e| failed(&e))? {
        return Err(failed(
            &"the journal of the drill lies on it; choose another folder with --out",
        ));
    }
    fs::create_dir(filler).map_err(|e| failed(&e))?;
    let leave = parse_bytes(&fill.leave).map_err(|e| failed(&e))?;
    let go_on = || !is_over.load(Ordering::Relaxed);
    if fill.inodes { no_inodes(filler, leave, go_on) } else { no_bytes(filler, leave, go_on) }
        .map_err(|e| failed(&e))
}

fn no_bytes(filler: &Path, leave: u64, go_on: impl Fn() -> bool) -> std::io::Result<String> {
    let mut file = File::create(filler.join("filler"))?;
    let free = |dir: &Path| statvfs(dir).map(|facts| facts.f_bavail * facts.f_frsize);
    let mut taken = 0;
    let wanted = free(filler)?.saturating_sub(leave);
    match fallocate(&file, FallocateFlags::empty(), 0, wanted.max(1)) {
        Ok(()) => taken = wanted,
        Err(Errno::NOSPC | Errno::OPNOTSUPP) => {}
        Err(e) => return Err(e.into()),
    }
    // What is counted as free may not be all, and not every file system takes space ahead.
    let block = [0; 4096];
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
    while go_on() && (leave == 0 || free(filler)? > leave) {
        match file.write(&block) {
            Ok(written) => taken += written as u64,
            Err(e) if e.kind() == ErrorKind::StorageFull => break,
            Err(e) => return Err(e),
        }
    }
    Ok(format!("{taken} bytes taken, {} free", free(filler)?))
}

fn no_inodes(filler: &Path, leave: u64, go_on: impl Fn() -> bool) -> std::io::Result<String> {
    let mut taken = 0_u64;
    while go_on() && statvfs(filler)?.f_favail > leave && taken < MOST_FILES {
        let name = filler.join(taken.to_string());
        match OpenOptions::new().create_new(true).write(true).open(name) {
            Ok(_) => taken += 1,
            Err(e) if e.kind() == ErrorKind::StorageFull => break,
            Err(e) => return Err(e),
        }
    }
    Ok(format!("{taken} files made, {} can be", statvfs(filler)?.f_favail))
}

/// Whether something is mounted there, as this process sees it (proc(5), `mountinfo`).
pub(crate) fn is_mounted(dir: &Path) -> bool {
    let Ok(text) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let dir = dir.to_string_lossy().replace('\\', r"\134").replace(' ', r"\040");
    text.lines().any(|line| line.split(' ').nth(4) == Some(dir.as_str()))
}

/// Of one filler: a file system that has more left is too large for this.
const MOST_FILES: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_the_journal_is_never_filled() {
        let dir = tempfile::tempdir().unwrap();
        let fault = Fill { folder: dir.path().to_str().unwrap().into(), ..Fill::default() };
        let refused =
            fill(&fault, &filler(&fault, "7"), dir.path(), &AtomicBool::new(false)).unwrap_err();
        assert!(refused.contains("the journal of the drill lies on it"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
