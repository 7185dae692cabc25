//! Maildir: names, flags, folders, listings and what goes with a delivery. A live server may rename
//! every file at any moment, so nothing here treats a path as an identity: a message is its base
//! name.

mod control;
mod deliver;
mod discover;
mod dotlock;
mod error;
mod foreign;
mod keywords;
mod lister;
mod listing;
mod name;
pub mod nofollow;
mod open;
mod pattern;
mod print;
mod tree;
mod uidlist;
mod utf7;
mod xattr;

pub use control::{Layout, control_dir};
pub use deliver::{fresh_base, move_new};
pub use discover::{
    Discovery, MailboxDir, PARTIAL, Reach, find_mailboxes, leads_to_mail, mailbox_name,
};
pub use dotlock::Dotlock;
pub use error::{Error, Result};
pub use foreign::{Foreign, Format};
pub use keywords::{Keywords, translate};
pub use lister::{Lister, Proof};
pub use listing::{Entry, FileKind, Listing, Subdir};
pub use name::{base_name, flags, is_unique_name};
pub use open::{OpenMessage, Opened, Opener, open_file};
pub use pattern::{Pattern, PatternError};
pub use print::{DirPrint, FolderPrint, TICK, nanoseconds};
pub use tree::{
    Attributes, Folder, KeptFile, KeptKind, OUTSIDE, Scope, Tree, read_files, read_tree,
};
pub use uidlist::{UidRecord, Uidlist};
pub use utf7::{decode_utf7, encode_utf7};
pub use xattr::{Xattrs, is_kept_xattr};
