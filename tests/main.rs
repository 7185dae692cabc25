//! End-to-end tests of the binary: each runs `mailrig` as a process, as an administrator would, and
//! looks at exit code, output and files. Nothing outside a test's own folder is touched.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod bad_stores;
mod choices;
mod courier;
mod damage;
mod delivered;
mod documents;
mod doveconf;
mod dovecot;
mod dovecot_apart;
mod dovecot_lists;
mod dovecot_live;
mod dovecot_lock;
mod dovecot_restore;
mod drill;
mod env;
mod exit_codes;
mod find;
mod foreign;
mod full_disk;
mod fuzz_seeds;
mod in_place;
mod in_place_meanwhile;
mod in_place_told;
mod keys;
mod kills;
mod large;
mod ledger;
mod load;
mod locks;
mod lost_state;
mod nights;
mod outside;
mod outside_unwritable;
mod picked;
mod process;
mod recover;
mod restore_to;
mod s3;
mod said;
mod salvage;
mod serve;
#[allow(dead_code, reason = "the tests of the S3 store use the rest")]
mod servers;
mod serving;
mod store;
mod tree;
mod two_at_once;
mod with;
mod xattrs;
