//! libFuzzer's way into [`fuzz::mail_log`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::mail_log(bytes));
