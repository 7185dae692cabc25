//! What must hold of the parsers whatever they are given, a function each: the fuzzer calls them with
//! what it invents, a test of the binary with the seeds.

mod checks;

pub use checks::{
    base_name, catalog, command, drill_journal, histogram_log, mail_log, manifest, profile,
    proxy_dialogue, queue_file, reply, scenario, uidlist, unstuff,
};
