//! `mailrig drill restore`: restore a sample as an administrator would, read it again, and hold it against the snapshot.
//! Needs no scenario; writes nothing outside its scratch folder and `--out`.

mod args;
mod dovecot;
mod files;
mod imap;
mod result;
mod scratch;
mod tally;
mod text;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use snapshot::crypt::Unseal;
use snapshot::expected;
use snapshot::manifest::Manifest;
use snapshot::progress::Progress;
use snapshot::repository::Repository;

pub(crate) use self::args::RestoreArgs;
use self::dovecot::User;
use self::result::{Document, Mailbox, Rto, Word};
use self::scratch::{Restore, Scratch};
use self::tally::{At, Tally, What};
use crate::commands::load::write_whole;
use crate::commands::threads;
use crate::exit::Exit;
use crate::repository::{choose, identity, open, split_repo};
use crate::ui::Ui;

pub(crate) fn run(args: &RestoreArgs, ui: &Ui) -> Result<Exit> {
    let (location, _) = split_repo(args.repo.as_slice(), &[])?;
    let repository = open(&location, &args.s3)?;
    let mut notes = Vec::new();
    let manifest = choose(&repository, &args.snapshot, None, ui, &mut notes)?;
    let identity = identity(&args.identity, &repository)?;
    if repository.is_encrypted() && identity.is_none() {
        return Err(snapshot::Error::NoIdentity.into());
    }
    let progress = Arc::new(Progress::default());
    let stopping = Arc::clone(&progress);
    // However often somebody asks: what was started is ended, and what was restored is removed.
    crate::interrupt::on_each_signal(move |_| stopping.stop());
    let random = std::collections::hash_map::RandomState::new().hash_one(std::process::id());
    let (ids, seed) = sample(args, &repository, &manifest, identity.as_ref(), random as u32)?;
    let scratch = Scratch::new(args.scratch.as_deref(), args.keep, random)?;
    let drill = Drill {
        args,
        location,
        repository,
        manifest,
        identity,
        scratch,
        progress,
        threads: threads(),
    };
    let mut document = drill.run(&ids, ui, notes)?;
    document.seed = seed;
    if args.keep {
        let path = drill.scratch.path().display();
        document.notes.push(format!("what was restored is in {path}"));
    } else if let Err(e) = drill.scratch.remove() {
        let path = drill.scratch.path().display();
        document.notes.push(format!("{path} could not be removed: {e}; remove it by hand"));
    }
    ui.result("drill_restore", &document, || text::text(&document))?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        write_whole(&out.join("result.json"), &serde_json::to_vec_pretty(&document)?)?;
    }
    Ok(match document.verdict {
        Word::Fail => Exit::Negative,
        Word::Unknown => Exit::Inconclusive,
        Word::Pass | Word::Skipped => Exit::Done,
    })
}

/// The ids of the mailboxes to restore, and the seed if it chose them.
fn sample(
    args: &RestoreArgs,
    repository: &Repository,
    manifest: &Manifest,
    identity: Option<&Unseal>,
    random: u32,
) -> Result<(Vec<String>, Option<u32>)> {
    if let Some(name) = &args.mailbox {
        return Ok((vec![expected::id_of(repository, manifest, identity, name)?], None));
    }
    let mailboxes = manifest.mailboxes.iter().filter(|(_, catalog)| !catalog.tree);
    let mut ids: Vec<String> = mailboxes.map(|(id, _)| id.clone()).collect();
    if args.all {
        return Ok((ids, None));
    }
    let seed = args.seed.unwrap_or(random);
    let mut state = u64::from(seed);
    let wanted = ids.len().min(args.mailboxes as usize);
    for place in 0..wanted {
        let left = (ids.len() - place) as u64;
        ids.swap(place, place + (mixed(&mut state) % left) as usize);
    }
    ids.truncate(wanted);
    Ok((ids, Some(seed)))
}

/// SplitMix64: the same choice on every machine.
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

struct Drill<'a> {
    args: &'a RestoreArgs,
    location: String,
    repository: Repository,
    manifest: Manifest,
    identity: Option<Unseal>,
    scratch: Scratch,
    progress: Arc<Progress>,
    threads: usize,
}

impl Drill<'_> {
    fn run(&self, ids: &[String], ui: &Ui, mut notes: Vec<String>) -> Result<Document> {
        let mut tally = Tally::default();
        let (mut took, mut restored) = (Duration::ZERO, (0, 0));
        let jobs: Vec<Option<&str>> = match ids {
            [] => Vec::new(),
            _ if self.args.all => vec![None],
            ids => ids.iter().map(|id| Some(id.as_str())).collect(),
        };
        let count = jobs.len();
        for (number, mailbox) in (1..).zip(jobs) {
            ui.status(match mailbox {
                Some(_) => format!("restoring mailbox {number} of {count}"),
                None => format!("restoring all {} mailboxes", ids.len()),
            });
            let (elapsed, messages, bytes) = self.restore(mailbox, &mut tally)?;
            took += elapsed;
            restored = (restored.0 + messages, restored.1 + bytes);
        }
        let (mailboxes, users) = self.compare(ids, &mut tally, &mut notes)?;
        let served = self.serve(&users, ui)?;
        let age = Timestamp::now().duration_since(self.manifest.time);
        let rpo = Duration::try_from(age).unwrap_or_default();
        let totals = &self.manifest.totals;
        let rto = Rto::of(took, restored, (totals.messages, totals.bytes), self.threads);
        let mut criteria = result::of_files(&tally);
        criteria.push(result::of_server(&served));
        criteria.extend(result::of_times(rto.as_ref(), rpo, (self.args.rto, self.args.rpo)));
        let verdict = result::verdict(&criteria);
        let mut all = tally.all();
        let mut differences = tally.differences;
        if let Ok(served) = served {
            all += served.all();
            differences.extend(served.differences);
        }
        let mut document = Document {
            version: 1,
            snapshot: self.manifest.id.clone(),
            taken: self.manifest.time.to_string(),
            verdict,
            sentence: String::new(),
            seed: None,
            mailboxes,
            criteria,
            differences_more: all - differences.len() as u64,
            differences,
            rto,
            rpo_s: rpo.as_secs(),
            notes,
        };
        document.sentence = result::sentence(verdict, &document);
        Ok(document)
    }

    /// Restores one mailbox or all; what it says is missing is a difference.
    fn restore(&self, mailbox: Option<&str>, tally: &mut Tally) -> Result<(Duration, u64, u64)> {
        let Self { args, location, manifest, .. } = self;
        let restore =
            Restore { location, snapshot: &manifest.id, identity: &args.identity, s3: &args.s3 };
        let (elapsed, said) = restore.run(mailbox, &self.scratch, &self.progress)?;
        let at = At { mailbox: mailbox.unwrap_or("all mailboxes"), folder: "" };
        let wanted = "a whole restore";
        let restored = said.unwrap_or_else(|why| {
            tally.differs(at, b"", What::Mailbox, (wanted, why));
            scratch::Restored::default()
        });
        for problem in &restored.problems {
            tally.differs(at, b"", What::Mailbox, (wanted, &problem.reason));
        }
        Ok((elapsed, restored.messages, restored.bytes))
    }

    fn compare(
        &self,
        ids: &[String],
        tally: &mut Tally,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<Mailbox>, Vec<User>)> {
        let (mut mailboxes, mut users) = (Vec::new(), Vec::new());
        let root = self.scratch.mail();
        for id in ids {
            self.progress.check()?;
            let expected =
                expected::mailbox(&self.repository, &self.manifest, self.identity.as_ref(), id);
            let expected = match expected {
                Ok(expected) => expected,
                Err(e) if e.is_local_to_object() => {
                    let at = At { mailbox: id, folder: "" };
                    tally.differs(at, b"", What::Mailbox, ("a catalog", e.to_string()));
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let messages = expected.folders.iter().flat_map(|folder| &folder.messages);
            let (messages, bytes) = messages.fold((0, 0), |(n, bytes), m| (n + 1, bytes + m.size));
            mailboxes.push(Mailbox { name: expected.name.clone(), messages, bytes });
            if self.manifest.mailboxes.get(id).is_some_and(|catalog| catalog.carried) {
                let name = &expected.name;
                notes.push(format!("{name} is older than the snapshot, which took it over unread"));
            }
            let shown = files::compare(&expected, &root, tally, &self.progress)?;
            users.push(User::new(&expected, shown));
        }
        Ok((mailboxes, users))
    }

    /// Serves what was restored and asks for it again; or why that is not done.
    fn serve(&self, users: &[User], ui: &Ui) -> Result<Result<Tally, (Word, String)>> {
        if self.args.no_dovecot {
            return Ok(Err((Word::Skipped, "--no-dovecot".into())));
        }
        if users.iter().all(|user| user.shown.is_empty()) {
            return Ok(Err((Word::Skipped, "there is nothing to serve".into())));
        }
        let program = match dovecot::find() {
            Ok(program) => program,
            Err(why) => return Ok(Err((Word::Skipped, why))),
        };
        ui.status("asking a scratch Dovecot for it");
        let served = dovecot::serve(&program, &self.scratch, users, &self.progress)
            .and_then(|server| imap::compare(&server, users, &self.progress));
        self.progress.check()?;
        Ok(served.map_err(|why| (Word::Unknown, why)))
    }
}
