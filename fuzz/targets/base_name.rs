//! libFuzzer's way into [`fuzz::base_name`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::base_name(bytes));
