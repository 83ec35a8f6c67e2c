//! Fuzzes the query of a request; see `kproxy::fuzzed::query` for what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kproxy::fuzzed::query(data));
