//! libFuzzer's way into [`fuzz::queue_file`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::queue_file(bytes));
