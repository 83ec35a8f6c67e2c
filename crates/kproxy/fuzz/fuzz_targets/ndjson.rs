//! Fuzzes a batch as lines of JSON; see `kproxy::fuzzed::ndjson` for what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kproxy::fuzzed::ndjson(data));
