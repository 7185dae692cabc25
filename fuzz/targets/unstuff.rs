//! libFuzzer's way into [`fuzz::unstuff`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::unstuff(bytes));
