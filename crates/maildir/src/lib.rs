//! Maildir: names, flags, folders and listings. Reads only; a live server may rename every file at
//! any moment, so nothing here treats a path as an identity: a message is its base name.

mod discover;
mod dotlock;
mod error;
mod lister;
mod listing;
mod name;
mod open;
mod print;
mod tree;
mod uidlist;

pub use discover::{Discovery, MailboxDir, find_mailboxes};
pub use dotlock::Dotlock;
pub use error::{Error, Result};
pub use lister::{Lister, Proof};
pub use listing::{Entry, FileKind, Listing, Subdir};
pub use name::{base_name, flags, is_unique_name};
pub use open::{OpenMessage, Opened, Opener, open_file};
pub use print::{DirPrint, FolderPrint, TICK};
pub use tree::{Attributes, Folder, KeptFile, KeptKind, Tree, leads_to_mail, read_tree};
pub use uidlist::{UidRecord, Uidlist};
