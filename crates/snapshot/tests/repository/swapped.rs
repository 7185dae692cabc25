//! An owner swaps a folder of his for a link to what only root may read, while root backs it up: at the
//! moment when it has been listed, and nothing of it is read. What he must not see has the same names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapshot::backup::{Incident, Options, Outside, Report};
use snapshot::store::memory::Memory;

use super::hook::on_listed;
use super::world::{TreeImage, World};

const ALICE: &str = "example.org/alice/Maildir";
const SECRET: &[u8] = b"3 V1 N2 Gsecret\n";

struct Scene {
    world: World,
    objects: Arc<Memory>,
    options: Options,
}

impl Scene {
    /// Mailboxes, control files and a plain tree, all with a folder `.A`, and a copy of each elsewhere
    /// with other contents.
    fn new() -> Self {
        let (world, objects) = (World::new(), Arc::new(Memory::default()));
        world.init(Arc::clone(&objects));
        world.deliver("example.net/bob", "cur/1.m", b"of bob\n");
        let base = world.dir.path();
        for (root, content) in [("", &b"3 V1 N2 Gtheirs\n"[..]), ("secret", SECRET)] {
            for (place, files) in [
                (format!("vmail/{ALICE}"), &["cur/1.m", "dovecot-uidlist"][..]),
                ("control/alice".into(), &["dovecot-uidlist"]),
                ("etc".into(), &["main.cf"]),
            ] {
                let place = base.join(root).join(place);
                for file in ["", ".A"].iter().flat_map(|d| files.iter().map(move |f| (d, f))) {
                    let path = place.join(file.0).join(file.1);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, content).unwrap();
                }
            }
        }
        for dir in ["new", "tmp", ".A/new"] {
            fs::create_dir_all(base.join("vmail").join(ALICE).join(dir)).unwrap();
        }
        let control = Some(format!("{}/control/%n", base.display()).parse().unwrap());
        let outside = Outside { control, ..Outside::default() };
        let options = Options { outside, with: vec![base.join("etc")], ..world.options() };
        Self { world, objects, options }
    }

    /// When a folder was listed, puts a link to its copy in the place of `part`; once.
    fn swap_when_listed(&self, listed: &str, part: &str) {
        let base = self.world.dir.path().to_owned();
        let (listed, part) = (base.join(listed), PathBuf::from(part));
        let mut is_done = false;
        on_listed(self.world.dir.path(), move |now| {
            if !is_done && base.join(now) == listed {
                is_done = true;
                fs::rename(base.join(&part), base.join("away")).unwrap();
                symlink(base.join("secret").join(&part), base.join(&part)).unwrap();
            }
        });
    }

    fn backup(&self) -> Report {
        let time = jiff::Timestamp::now();
        let options = Options { time, ..self.options.clone() };
        self.world.backup_with(Arc::clone(&self.objects), &options, None).unwrap()
    }

    fn restored(&self) -> TreeImage {
        self.world.restore(Arc::clone(&self.objects), "latest").unwrap().0
    }
}

fn is_told(report: &Report, part: &str) -> bool {
    let is_problem = |incident| matches!(incident, Incident::Unreadable | Incident::NotFollowed);
    let names = |text: &str| text.contains(part.trim_start_matches("vmail/"));
    report.is_incomplete
        && report.incidents.iter().any(|entry| {
            let reason = entry.reason.as_deref().unwrap_or("");
            is_problem(entry.incident)
                && (names(&entry.path) || names(reason))
                && reason.contains("link")
        })
}

fn assert_no_secret(image: &TreeImage, context: &str) {
    // A link outside a mailbox is kept as one: where it leads is no secret.
    let has_secret = |content: &[u8]| content.ends_with(SECRET);
    let leaked = image.iter().filter(|(_, (content, ..))| has_secret(content));
    let leaked: Vec<_> = leaked.map(|(path, _)| path).collect();
    assert!(leaked.is_empty(), "{context}: {leaked:?}");
}

/// What was listed, and what of it becomes a link then.
const SWAPS: [(&str, &str); 8] = [
    ("vmail/example.org/alice/Maildir/.A", "vmail/example.org/alice/Maildir/.A"),
    ("vmail/example.org/alice/Maildir/.A", "vmail/example.org/alice/Maildir/.A/cur"),
    ("vmail/example.org/alice/Maildir/.A", "vmail/example.org/alice/Maildir"),
    ("vmail/example.org/alice/Maildir", "vmail/example.org/alice/Maildir/cur"),
    ("vmail/example.org/alice/Maildir", "vmail/example.org/alice"),
    ("control/alice", "control/alice/.A"),
    ("control/alice", "control/alice"),
    ("etc", "etc/.A"),
];

#[test]
fn what_a_link_leads_to_that_took_a_folders_place_is_not_read_and_the_run_says_so() {
    for (listed, part) in SWAPS {
        let scene = Scene::new();
        scene.swap_when_listed(listed, part);
        let report = scene.backup();
        assert!(is_told(&report, part), "{part}: {:?}", report.incidents);
        assert_no_secret(&scene.restored(), part);
    }
}

/// A night on which everything is read again, over what an earlier one has.
#[test]
fn what_was_known_of_the_folder_stays_in_the_snapshots() {
    for (listed, part) in SWAPS {
        let mut scene = Scene::new();
        assert!(!scene.backup().is_incomplete);
        let before = scene.restored();
        scene.options.trust = snapshot::backup::Trust::Nothing;
        scene.swap_when_listed(listed, part);
        let report = scene.backup();
        assert!(is_told(&report, part), "{part}: {:?}", report.incidents);
        let after = scene.restored();
        assert_no_secret(&after, part);
        let files = |image: &TreeImage| -> Vec<(PathBuf, Vec<u8>)> {
            let files = image.iter().map(|(path, (content, ..))| (path.clone(), content.clone()));
            files.collect()
        };
        assert_eq!(files(&after), files(&before), "{part}");
        // The next night finds the link. What lies outside a mailbox has it as a link then.
        let report = scene.backup();
        assert_no_secret(&scene.restored(), part);
        let is_link_kept = !Path::new(part).starts_with("vmail");
        assert!(report.is_incomplete != is_link_kept, "{part}: {:?}", report.incidents);
    }
}
