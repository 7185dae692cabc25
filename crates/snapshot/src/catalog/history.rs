//! Reading catalogs one after the other: of a chain only what follows the one that was read last.

use super::{CatalogHead, Contents, Line, decode_head};
use crate::crypt::Unseal;
use crate::error::{Error, Result};
use crate::index::{json_lines, parse};
use crate::layout::{catalog_name, mailbox_prefix};
use crate::object::ObjectRef;
use crate::store::Store;

/// The contents of a mailbox while its catalogs are read from old to new.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) contents: Contents,
    /// The catalog that the contents are of.
    at: Option<(String, ObjectRef, CatalogHead)>,
}

impl History {
    /// Goes on to a catalog. After a failure the next one is read from its beginning.
    pub(crate) fn go_to(
        &mut self,
        store: &dyn Store,
        mailbox: &str,
        catalog: &str,
        reference: &ObjectRef,
        unseal: &Unseal,
    ) -> Result<CatalogHead> {
        let at = self.at.take();
        let is_at = |id: &str, reference: &ObjectRef| {
            at.as_ref().is_some_and(|at| at.0 == id && at.1 == *reference)
        };
        if let Some(at) = at.as_ref().filter(|_| is_at(catalog, reference)) {
            let head = at.2.clone();
            self.at = Some(at.clone());
            return Ok(head);
        }
        let key = |id: &str| format!("{}{}", mailbox_prefix(mailbox), catalog_name(id));
        let newest = reference.read(store, &key(catalog), CATALOG_BYTES)?;
        let (newest_head, _) = decode_head(&key(catalog), mailbox, &newest)?;
        let mut parent = newest_head.parent.clone();
        let mut chain = vec![(key(catalog), newest)];
        let mut is_continued = false;
        while let Some(id) = parent {
            let name = catalog_name(&id);
            let need =
                newest_head.needs.iter().find(|need| need.object == name).ok_or_else(|| {
                    Error::damaged(&key(catalog), format!("does not name its parent {id}"))
                })?;
            if chain.len() > newest_head.needs.len() {
                return Err(Error::damaged(&key(catalog), "builds on itself"));
            }
            is_continued = is_at(&id, &need.reference);
            if is_continued {
                break;
            }
            let bytes = need.reference.read(store, &key(&id), CATALOG_BYTES)?;
            parent = decode_head(&key(&id), mailbox, &bytes)?.0.parent;
            chain.push((key(&id), bytes));
        }
        if !is_continued {
            self.contents = Contents::default();
        }
        for (object, bytes) in chain.iter().rev() {
            let (_, sealed) = decode_head(object, mailbox, bytes)?;
            let mut lines = json_lines(object, sealed, unseal)?;
            let mut line = Vec::new();
            while lines.next_into(&mut line)? {
                self.contents.apply(object, parse(object, &line)?)?;
            }
        }
        self.at = Some((catalog.to_owned(), reference.clone(), newest_head.clone()));
        Ok(newest_head)
    }
}

/// Gives the lines of one catalog, without those that it builds on, to `each`.
pub(crate) fn read_lines(
    store: &dyn Store,
    mailbox: &str,
    catalog: &str,
    reference: &ObjectRef,
    unseal: &Unseal,
    mut each: impl FnMut(Line),
) -> Result<()> {
    let object = format!("{}{}", mailbox_prefix(mailbox), catalog_name(catalog));
    let bytes = reference.read(store, &object, CATALOG_BYTES)?;
    let (_, sealed) = decode_head(&object, mailbox, &bytes)?;
    let mut lines = json_lines(&object, sealed, unseal)?;
    let mut line = Vec::new();
    while lines.next_into(&mut line)? {
        each(parse(&object, &line)?);
    }
    Ok(())
}

/// The largest catalog that is read: a mailbox of some ten million messages.
const CATALOG_BYTES: u64 = 1 << 30;
