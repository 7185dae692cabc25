//! The repository: object stores, packs, catalogs; backup, restore, verify. Plain data in, plain
//! data out: this crate prints nothing and reads neither arguments nor the environment, except
//! that the S3 store follows the AWS conventions for credentials.

pub mod backup;
pub mod catalog;
pub mod contents;
pub mod crypt;
pub mod error;
pub mod hash;
pub mod headers;
pub mod incidents;
pub mod index;
pub mod layout;
pub mod manifest;
pub mod message_id;
pub mod object;
pub mod pack;
pub mod progress;
pub mod repository;
pub mod restore;
pub mod state;
pub mod store;
pub mod verify;

pub use error::{Error, Result};
