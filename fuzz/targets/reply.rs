//! libFuzzer's way into [`fuzz::reply`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::reply(bytes));
