//! libFuzzer's way into [`fuzz::scenario`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::scenario(bytes));
