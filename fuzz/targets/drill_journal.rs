//! libFuzzer's way into [`fuzz::drill_journal`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::drill_journal(bytes));
