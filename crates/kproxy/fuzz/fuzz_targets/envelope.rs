//! Fuzzes the document of the shared produce API; see `kproxy::fuzzed::envelope` for what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kproxy::fuzzed::envelope(data));
