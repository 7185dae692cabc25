//! The repository: object stores, packs, catalogs; backup, restore, verify. Plain data in, plain
//! data out: this crate prints nothing and reads neither arguments nor the environment, except
//! that the S3 store follows the AWS conventions for credentials.

pub mod backup;
pub mod catalog;
pub mod choose;
pub mod compare;
pub mod contents;
pub mod crypt;
mod dotlock;
pub mod error;
pub mod expected;
pub mod find;
pub mod hash;
pub mod headers;
pub mod incidents;
pub mod index;
pub mod layout;
pub mod manifest;
pub mod message;
pub mod message_id;
mod named;
mod nearest;
pub mod object;
pub mod pack;
mod parallel;
mod place;
pub mod progress;
pub mod repository;
pub mod restore;
pub mod state;
pub mod store;
pub mod tag;
pub mod verify;
mod window;
pub mod xattrs;

pub use error::{Error, Result};
