//! Fuzzes a batch of length-prefixed records; see `kproxy::fuzzed::prefixed` for what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kproxy::fuzzed::prefixed(data));
