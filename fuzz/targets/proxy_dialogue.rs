//! libFuzzer's way into [`fuzz::proxy_dialogue`]; see `cargo xtask fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::proxy_dialogue(bytes));
