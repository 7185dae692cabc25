//! libFuzzer's way into [`fuzz::histogram_log`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::histogram_log(bytes));
