//! libFuzzer's way into [`fuzz::catalog`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::catalog(bytes));
