//! The repository: object stores, packs, catalogs; backup, restore, verify. Plain data in, plain
//! data out: this crate prints nothing and reads neither arguments nor the environment, except
//! that the S3 store follows the AWS conventions for credentials.

pub mod hash;
pub mod store;
