//! Maildir: names, flags, folders and listings. Reads only; a live server may rename every file at
//! any moment, so nothing here treats a path as an identity: a message is its base name.

mod control;
mod discover;
mod error;
mod foreign;
mod listing;
mod name;
mod open;
mod pattern;
mod tree;
mod uidlist;
mod xattr;

pub use control::{Layout, control_dir};
pub use discover::{Discovery, MailboxDir, find_mailboxes};
pub use error::{Error, Result};
pub use foreign::{Foreign, Format};
pub use listing::{DirPrint, Entry, FileKind, FolderPrint, Lister, Listing, Subdir};
pub use name::{base_name, flags, is_unique_name};
pub use open::{OpenMessage, Opened, Opener, open_file};
pub use pattern::{Pattern, PatternError};
pub use tree::{
    Attributes, Folder, KeptFile, KeptKind, OUTSIDE, Scope, Tree, leads_to_mail, read_files,
    read_tree,
};
pub use uidlist::{UidRecord, Uidlist};
pub use xattr::{Xattrs, is_kept_xattr};
