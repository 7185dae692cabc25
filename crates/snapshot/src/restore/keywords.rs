//! The snapshot's file of keywords, read before anything is written: the letters in the names of
//! messages mean nothing without it.

use std::io;

use super::Run;
use super::inplace::Item;
use super::plan::PackPlan;
use super::report::Missing;
use crate::error::{Error, Result};
use crate::place::Proof;
use crate::repository::OpenMailbox;

impl Run<'_> {
    /// The snapshot's file of keywords; one that is lost has none.
    pub(super) fn keywords(
        &self,
        mailbox: &OpenMailbox,
        pack: &PackPlan,
        item: &Item,
    ) -> Result<Vec<u8>> {
        match self.content(mailbox, pack, item.member) {
            Err(e) if e.is_local_to_object() => {
                let path = item.target.dir.join(&item.target.name);
                let reason = format!("{}: {e}: its keywords are dropped", path.display());
                self.report.problem(&mailbox.display_name(), Missing::NOTHING, reason);
                Ok(Vec::new())
            }
            done => done,
        }
    }

    /// One member of a pack, of bounded size.
    fn content(&self, mailbox: &OpenMailbox, pack: &PackPlan, member: u32) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut read = |size: u64, entry: &mut dyn io::Read| {
            if size > CONTENT_BYTES {
                return Err(Error::damaged(&pack.key, "has a file of keywords of absurd size"));
            }
            content.clear();
            entry.read_to_end(&mut content).map_err(|e| Error::damaged(&pack.key, e))?;
            Ok(())
        };
        let opened = self.opened(mailbox, pack);
        let mut give = |_: u32, size: u64, entry: &mut dyn io::Read| read(size, entry);
        let failure = match opened.members(&[member], &mut give) {
            Err(e) if e.is_local_to_object() => e,
            done => return done.map(|()| content),
        };
        let mut give = |_: u32, size: u64, proof: &mut Proof<'_>| {
            let done = read(size, proof);
            proof.finish().and(done)
        };
        match opened.proven_members(&[member], &mut give) {
            Ok(lost) if lost.is_empty() => Ok(content),
            Ok(_) => Err(failure),
            Err(e) if e.is_local_to_object() => Err(failure),
            Err(e) => Err(e),
        }
    }
}

/// The largest file of 26 keywords that is taken for one.
const CONTENT_BYTES: u64 = 1 << 20;
