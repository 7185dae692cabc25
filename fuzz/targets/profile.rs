//! libFuzzer's way into [`fuzz::profile`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::profile(bytes));
